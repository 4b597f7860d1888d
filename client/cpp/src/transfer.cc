// Uploads and downloads: resumable, checked by digest.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cpp/src/mapped_file.h"
#include "client/cpp/src/stub.h"
#include "common/digest.h"
#include "common/ids.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "lathe/client.h"

namespace lathe::client {
namespace {

namespace fs = std::filesystem;

std::string NewRequestId() { return RandomIdGenerator().NewId(); }

// OK when `path` stays below its folder by its spelling.
absl::Status CheckRelative(const std::string& path) {
  const bool absolute = !path.empty() && path[0] == '/';
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    if (absolute || part == "..") {
      return absl::InvalidArgumentError(
          absl::StrCat("external data path \"", path,
                       "\" leaves the model's folder; move the file beside the model"));
    }
  }
  return absl::OkStatus();
}

// The folder a path's links lead to; "" when there is none.
fs::path RealFolder(const fs::path& file) {
  std::error_code error;
  const fs::path folder =
      fs::canonical(file.parent_path().empty() ? fs::path(".") : file.parent_path(), error);
  return error ? fs::path() : folder;
}

bool IsBelow(const fs::path& path, const fs::path& folder) {
  return !folder.empty() &&
         std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first ==
             folder.end();
}

// OK when the file that `location` names beside `model` lies in the model's folder once links are
// followed, so that a model from elsewhere cannot make its user upload other files. A cache that
// keeps all files in one folder and links to them from another is such a folder, too: the model's
// own link leads there.
absl::Status CheckInside(const fs::path& model, const std::string& location) {
  RETURN_IF_ERROR(CheckRelative(location));
  std::error_code error;
  const fs::path path = model.parent_path() / location;
  if (!fs::is_regular_file(path, error)) {
    return absl::NotFoundError(absl::StrCat(model.string(), " keeps weights in \"", location,
                                            "\", but ", path.string(),
                                            " is not there; put it beside the model"));
  }
  const fs::path real = fs::canonical(path, error);
  const fs::path real_model = fs::canonical(model, error);
  if (IsBelow(real, RealFolder(model)) || IsBelow(real, RealFolder(real_model))) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("external data path \"", location, "\" of ", model.string(),
                   " is a link out of the model's folder, to ", real.string(),
                   "; copy the file beside the model"));
}

// Writes all of `data`; RESOURCE_EXHAUSTED or INTERNAL with errno's text.
absl::Status WriteAll(int fd, absl::string_view data, const std::string& path) {
  while (!data.empty()) {
    const ssize_t wrote = write(fd, data.data(), data.size());
    if (wrote < 0) {
      if (errno == EINTR) continue;
      const std::string text = absl::StrCat("cannot write ", path, ": ", std::strerror(errno));
      return errno == ENOSPC || errno == EDQUOT ? absl::ResourceExhaustedError(text)
                                                : absl::InternalError(text);
    }
    data.remove_prefix(static_cast<size_t>(wrote));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::Blob> Client::UploadFile(const std::string& path,
                                            const TransferProgress& progress) {
  ASSIGN_OR_RETURN(const FileDigest digest, Sha256File(path));
  return UploadKnownFile(path, digest.sha256, digest.size_bytes, [&](int64_t done) {
    if (progress) progress(done, digest.size_bytes);
  });
}

absl::StatusOr<v1::Blob> Client::UploadKnownFile(const std::string& path, const std::string& digest,
                                                 int64_t size_bytes,
                                                 const std::function<void(int64_t)>& progress) {
  v1::Blob blob;
  blob.set_digest(digest);
  blob.set_size_bytes(size_bytes);
  ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  if (static_cast<int64_t>(file.view().size()) != size_bytes) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " changed while it was being uploaded"));
  }
  Backoff backoff(options_, stub_.get());
  int64_t best = -1;
  while (true) {
    v1::QueryUploadRequest query;
    query.set_digest(digest);
    ASSIGN_OR_RETURN(const v1::QueryUploadResponse state, stub_->QueryUpload(query));
    if (state.complete() && state.committed_bytes() == size_bytes) {
      progress(size_bytes);
      return blob;
    }
    // What is stored under the digest with another size is damaged: a new upload replaces it.
    const int64_t committed = state.complete() ? 0 : state.committed_bytes();
    if (committed < 0 || committed > size_bytes) {
      return absl::InternalError(absl::StrCat("the server claims to hold ", committed, " of ",
                                              size_bytes, " bytes of ", path));
    }
    if (committed > best) {
      best = committed;
      backoff.Reset();
    }
    v1::UploadHeader header;
    header.set_digest(digest);
    header.set_size_bytes(size_bytes);
    header.set_offset(committed);
    absl::string_view rest = file.view().substr(static_cast<size_t>(committed));
    const absl::StatusOr<v1::Blob> stored =
        stub_->UploadBlob(header, [&]() -> absl::StatusOr<absl::string_view> {
          const absl::string_view chunk =
              rest.substr(0, std::min<size_t>(rest.size(), limits::kUploadChunkBytes));
          progress(size_bytes - static_cast<int64_t>(rest.size()));
          rest.remove_prefix(chunk.size());
          return chunk;
        });
    if (stored.ok()) {
      progress(size_bytes);
      return stored;
    }
    if (options_.cancelled && options_.cancelled())
      return absl::CancelledError("the upload was stopped");
    // Another client may be uploading the same content: its progress is ours.
    const bool moved = stored.status().code() == absl::StatusCode::kOutOfRange ||
                       stored.status().code() == absl::StatusCode::kAborted;
    if (!IsTransient(stored.status()) && !moved) return stored;
    if (!backoff.Wait("UploadBlob", stored.status())) return stored;
  }
}

absl::StatusOr<v1::Model> Client::UploadModel(const std::string& onnx_path,
                                              const UploadModelOptions& options) {
  struct Part {
    std::string relative;
    std::string path;
    FileDigest digest;
  };
  const fs::path main(onnx_path);
  std::vector<Part> parts;
  parts.push_back({main.filename().string(), onnx_path, {}});
  ASSIGN_OR_RETURN(const std::vector<std::string> external, ExternalDataPaths(onnx_path));
  for (const std::string& location : external) {
    RETURN_IF_ERROR(CheckInside(main, location));
    const std::string relative = fs::path(location).lexically_normal().generic_string();
    // A model may spell one file in several ways: "w.bin" and "./w.bin".
    if (std::any_of(parts.begin(), parts.end(),
                    [&relative](const Part& part) { return part.relative == relative; })) {
      continue;
    }
    parts.push_back({relative, (main.parent_path() / location).string(), {}});
  }
  int64_t total = 0;
  v1::CreateModelRequest request;
  request.set_request_id(NewRequestId());
  v1::Model* model = request.mutable_model();
  model->set_display_name(options.display_name.empty() ? parts[0].relative : options.display_name);
  model->set_main_file(parts[0].relative);
  for (Part& part : parts) {
    ASSIGN_OR_RETURN(part.digest, Sha256File(part.path));
    total += part.digest.size_bytes;
    v1::ModelFile* file = model->add_files();
    file->set_path(part.relative);
    file->set_digest(part.digest.sha256);
  }
  int64_t before = 0;
  for (const Part& part : parts) {
    ASSIGN_OR_RETURN(
        const v1::Blob blob,
        UploadKnownFile(part.path, part.digest.sha256, part.digest.size_bytes, [&](int64_t done) {
          if (options.progress) options.progress(before + done, total);
        }));
    before += blob.size_bytes();
  }
  return stub_->CreateModel(request);
}

absl::StatusOr<v1::Dataset> Client::UploadDataset(const std::string& path,
                                                  const TransferProgress& progress) {
  ASSIGN_OR_RETURN(const v1::Blob blob, UploadFile(path, progress));
  v1::CreateDatasetRequest request;
  request.set_request_id(NewRequestId());
  request.mutable_dataset()->set_display_name(fs::path(path).filename().string());
  request.mutable_dataset()->set_digest(blob.digest());
  return stub_->CreateDataset(request);
}

absl::Status Client::DownloadBlob(const std::string& digest, const std::string& path,
                                  const DownloadOptions& options) {
  RETURN_IF_ERROR(ValidateDigest(digest));
  std::error_code error;
  if (!options.overwrite && fs::exists(path, error)) {
    return absl::AlreadyExistsError(absl::StrCat(path, " exists already"));
  }
  v1::QueryUploadRequest query;
  query.set_digest(digest);
  ASSIGN_OR_RETURN(const v1::QueryUploadResponse state, stub_->QueryUpload(query));
  const int64_t total = state.complete() ? state.committed_bytes() : 0;

  const std::string partial = absl::StrCat(path, ".", digest.substr(0, 12), ".part");
  const int fd = open(partial.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot write ", path, ": ", std::strerror(errno)));
  }
  struct Closer {
    int fd;
    ~Closer() { close(fd); }
  } closer{fd};

  // What an earlier attempt left is hashed, so that only the rest is fetched.
  Sha256 sha;
  int64_t have = 0;
  std::vector<char> buffer(static_cast<size_t>(limits::kUploadChunkBytes));
  for (ssize_t got; (got = pread(fd, buffer.data(), buffer.size(), have)) > 0; have += got) {
    sha.Update(absl::string_view(buffer.data(), static_cast<size_t>(got)));
  }
  if (lseek(fd, have, SEEK_SET) < 0)
    return absl::InternalError(absl::StrCat("cannot seek in ", partial));

  Backoff backoff(options_, stub_.get());
  while (true) {
    v1::DownloadBlobRequest request;
    request.set_digest(digest);
    request.set_offset(have);
    absl::Status local;
    const absl::Status status = stub_->DownloadBlob(request, [&](absl::string_view chunk) {
      local = WriteAll(fd, chunk, partial);
      if (!local.ok()) return false;
      sha.Update(chunk);
      have += static_cast<int64_t>(chunk.size());
      backoff.Reset();
      if (options.progress) options.progress(have, std::max(have, total));
      return true;
    });
    if (!local.ok()) return local;
    if (status.ok()) break;
    if (options_.cancelled && options_.cancelled())
      return absl::CancelledError("the download was stopped");
    if (!IsTransient(status) || !backoff.Wait("DownloadBlob", status)) {
      if (have == 0 || status.code() == absl::StatusCode::kOutOfRange) unlink(partial.c_str());
      return status;
    }
  }
  if (sha.HexDigest() != digest) {
    unlink(partial.c_str());
    return absl::DataLossError(absl::StrCat("what arrived for ", path, " does not have the digest ",
                                            digest, "; try again"));
  }
  if (rename(partial.c_str(), path.c_str()) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot write ", path, ": ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> Client::DownloadModel(const std::string& model_name,
                                                               const std::string& path,
                                                               const DownloadOptions& options) {
  ASSIGN_OR_RETURN(const v1::Model model, GetModel(model_name));
  std::error_code error;
  fs::path main(path);
  if (path.empty() || path.back() == '/' || fs::is_directory(main, error)) {
    main /= fs::path(model.main_file()).filename();
  }
  if (!main.parent_path().empty()) fs::create_directories(main.parent_path(), error);
  std::vector<std::string> written(1);
  int64_t before = 0;
  for (const v1::ModelFile& file : model.files()) {
    RETURN_IF_ERROR(CheckRelative(file.path()));  // a server is not trusted with paths
    const bool is_main = file.path() == model.main_file();
    const fs::path target = is_main ? main : main.parent_path() / file.path();
    if (!target.parent_path().empty()) fs::create_directories(target.parent_path(), error);
    DownloadOptions part = options;
    part.progress = [&](int64_t done, int64_t) {
      if (options.progress) options.progress(before + done, model.total_bytes());
    };
    RETURN_IF_ERROR(DownloadBlob(file.digest(), target.string(), part));
    before += file.size_bytes();
    if (is_main) {
      written[0] = target.string();
    } else {
      written.push_back(target.string());
    }
  }
  return written;
}

}  // namespace lathe::client
