#include "server/blobs/local_blob_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/digest.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "server/blobs/hash_pipe.h"

namespace lathe::server {
namespace {

absl::Status DiskError(absl::string_view what, const std::string& path, int error) {
  const std::string text = absl::StrCat(what, " ", path, ": ", std::strerror(error));
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    return WithReason(
        absl::ResourceExhaustedError(absl::StrCat(
            text, "; the server's disk is full: free space in its --data-dir, then upload again")),
        "DISK_FULL");
  }
  if (error == EACCES || error == EPERM || error == EROFS) return absl::PermissionDeniedError(text);
  return absl::InternalError(text);
}

absl::Status MakeFolder(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return DiskError("cannot make the folder", path, errno);
  return absl::OkStatus();
}

absl::Status SyncFolder(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return DiskError("cannot open the folder", path, errno);
  const bool ok = fsync(fd) == 0;
  const int error = errno;
  close(fd);
  return ok ? absl::OkStatus() : DiskError("cannot sync the folder", path, error);
}

absl::Status NotFound(const std::string& digest) {
  return WithReason(absl::NotFoundError(absl::StrCat("no blob ", digest, "; upload it first")),
                    "BLOB_NOT_FOUND");
}

class FileReader : public BlobReader {
 public:
  FileReader(int fd, int64_t size, std::string path)
      : fd_(fd), size_(size), path_(std::move(path)) {}
  ~FileReader() override { close(fd_); }
  int64_t size() const override { return size_; }
  absl::StatusOr<int64_t> Read(int64_t offset, char* buffer, int64_t buffer_bytes) override {
    while (true) {
      const ssize_t got = pread(fd_, buffer, static_cast<size_t>(buffer_bytes), offset);
      if (got >= 0) return got;
      if (errno != EINTR)
        return absl::DataLossError(absl::StrCat("cannot read ", path_, ": ", std::strerror(errno)));
    }
  }

 private:
  const int fd_;
  const int64_t size_;
  const std::string path_;
};

}  // namespace

struct LocalBlobStore::Shared {
  std::string root;
  absl::Mutex mutex;
  // The newest writer of a digest; older ones find that they are not it. `io` is held while a
  // writer touches the file, so that its successor can wait for the last touch.
  struct Current {
    int64_t id = 0;
    std::shared_ptr<absl::Mutex> io;
  };
  std::map<std::string, Current> current ABSL_GUARDED_BY(mutex);
  int64_t next_writer ABSL_GUARDED_BY(mutex) = 1;
  // Hash states of interrupted uploads, so that a resume need not read the part again.
  struct Paused {
    Sha256 sha;
    int64_t bytes = 0;
  };
  std::map<std::string, Paused> paused ABSL_GUARDED_BY(mutex);
  static constexpr size_t kMaxPaused = 1024;

  std::string BlobPath(const std::string& digest) const {
    return absl::StrCat(root, "/blobs/", digest.substr(0, 2), "/", digest);
  }
  std::string UploadPath(const std::string& digest) const {
    return absl::StrCat(root, "/uploads/", digest);
  }
};

class LocalBlobStore::Writer : public BlobWriter {
 public:
  Writer(std::shared_ptr<Shared> shared, std::string digest, int64_t size_bytes,
         Shared::Current self, int fd, Sha256 sha, int64_t have)
      : shared_(std::move(shared)),
        digest_(std::move(digest)),
        size_bytes_(size_bytes),
        self_(std::move(self)),
        fd_(fd),
        direct_fd_(open(shared_->UploadPath(digest_).c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC)),
        hash_(std::make_unique<HashPipe>(std::move(sha))),
        have_(have) {}

  ~Writer() override {
    close(fd_);
    if (direct_fd_ >= 0) close(direct_fd_);
    if (!hash_) return;
    Sha256 sha = hash_->Drain();
    absl::MutexLock lock(&shared_->mutex);
    if (!IsCurrent()) return;
    shared_->current.erase(digest_);
    if (shared_->paused.size() < Shared::kMaxPaused && !broken_) {
      shared_->paused.insert_or_assign(digest_, Shared::Paused{std::move(sha), have_});
    }
  }

  absl::Status Append(absl::string_view bytes) override {
    if (static_cast<int64_t>(bytes.size()) > size_bytes_ - have_) {
      return WithReason(
          absl::InvalidArgumentError(absl::StrCat("more than the promised ", size_bytes_,
                                                  " bytes arrived for blob ", digest_)),
          "SIZE_MISMATCH");
    }
    const absl::string_view aligned = hash_->Update(bytes);
    absl::MutexLock io(self_.io.get());
    {
      absl::MutexLock lock(&shared_->mutex);
      if (!IsCurrent()) return TakenOver();
    }
    if (const int error = WriteDirect(aligned, bytes); error != 0) return WriteFailed(error);
    while (!bytes.empty()) {
      const ssize_t wrote = pwrite(fd_, bytes.data(), bytes.size(), have_);
      if (wrote < 0) {
        if (errno == EINTR) continue;
        return WriteFailed(errno);
      }
      have_ += wrote;
      bytes.remove_prefix(static_cast<size_t>(wrote));
    }
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    if (have_ < size_bytes_) {
      return WithReason(absl::FailedPreconditionError(
                            absl::StrCat("blob ", digest_, " has ", have_, " of ", size_bytes_,
                                         " bytes; go on with UploadBlob at offset ", have_)),
                        "UPLOAD_INCOMPLETE");
    }
    const std::string partial = shared_->UploadPath(digest_);
    const std::string target = shared_->BlobPath(digest_);
    const std::string folder = target.substr(0, target.rfind('/'));
    absl::MutexLock io(self_.io.get());
    if (fdatasync(fd_) != 0) return DiskError("cannot sync", partial, errno);
    const std::string got = hash_->Drain().HexDigest();
    hash_.reset();
    absl::MutexLock lock(&shared_->mutex);
    if (!IsCurrent()) return TakenOver();
    shared_->current.erase(digest_);
    if (got != digest_) {
      unlink(partial.c_str());
      return WithReason(
          absl::InvalidArgumentError(
              absl::StrCat("the ", size_bytes_, " bytes that arrived have the digest ", got,
                           ", not ", digest_, " as promised; nothing was kept, upload them again")),
          "DIGEST_MISMATCH");
    }
    RETURN_IF_ERROR(MakeFolder(folder));
    if (rename(partial.c_str(), target.c_str()) != 0)
      return DiskError("cannot publish", target, errno);
    RETURN_IF_ERROR(SyncFolder(folder));
    return SyncFolder(absl::StrCat(shared_->root, "/blobs"));
  }

 private:
  bool IsCurrent() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(shared_->mutex) {
    const auto it = shared_->current.find(digest_);
    return it != shared_->current.end() && it->second.id == self_.id;
  }
  // Writes what it can of `bytes` from their aligned copy straight to the disk and removes it from
  // them: the page cache costs a copy and page faults, and the sync at the end waits for it all.
  // Returns errno, or 0.
  int WriteDirect(absl::string_view aligned, absl::string_view& bytes) {
    constexpr auto kBlock = static_cast<int64_t>(HashPipe::kAlignment);
    while (direct_fd_ >= 0 && have_ % kBlock == 0 && aligned.size() >= HashPipe::kAlignment) {
      const size_t whole = aligned.size() / HashPipe::kAlignment * HashPipe::kAlignment;
      const ssize_t wrote = pwrite(direct_fd_, aligned.data(), whole, have_);
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0 && errno != EINVAL) return errno;
      if (wrote > 0) {
        have_ += wrote;
        bytes.remove_prefix(static_cast<size_t>(wrote));
        aligned.remove_prefix(static_cast<size_t>(wrote));
      }
      if (wrote <= 0 || wrote % kBlock != 0) {  // this file system wants it otherwise
        close(direct_fd_);
        direct_fd_ = -1;
      }
    }
    return 0;
  }
  absl::Status WriteFailed(int error) {
    broken_ = true;
    // A part that fills the disk would stop everybody else: give its room back.
    if (ftruncate(fd_, 0) != 0) unlink(shared_->UploadPath(digest_).c_str());
    have_ = 0;
    return DiskError("cannot write", shared_->UploadPath(digest_), error);
  }
  absl::Status TakenOver() const {
    return WithReason(
        absl::AbortedError(absl::StrCat("another upload of blob ", digest_, " has taken over")),
        "UPLOAD_TAKEN_OVER");
  }

  const std::shared_ptr<Shared> shared_;
  const std::string digest_;
  const int64_t size_bytes_;
  const Shared::Current self_;
  const int fd_;
  int direct_fd_;  // past the page cache; -1 where the file system cannot
  std::unique_ptr<HashPipe> hash_;
  int64_t have_;
  bool broken_ = false;
};

LocalBlobStore::LocalBlobStore(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
LocalBlobStore::~LocalBlobStore() = default;

absl::StatusOr<std::unique_ptr<LocalBlobStore>> LocalBlobStore::Create(const std::string& root) {
  for (const char* folder : {"", "/blobs", "/uploads"}) RETURN_IF_ERROR(MakeFolder(root + folder));
  auto shared = std::make_shared<Shared>();
  shared->root = root;
  return std::unique_ptr<LocalBlobStore>(new LocalBlobStore(std::move(shared)));
}

absl::StatusOr<int64_t> LocalBlobStore::BlobSize(const std::string& digest) {
  struct stat info {};
  if (stat(shared_->BlobPath(digest).c_str(), &info) != 0) {
    if (errno == ENOENT) return NotFound(digest);
    return DiskError("cannot look at", shared_->BlobPath(digest), errno);
  }
  return info.st_size;
}

absl::StatusOr<UploadState> LocalBlobStore::QueryUpload(const std::string& digest) {
  if (Touch(digest)) {
    ASSIGN_OR_RETURN(const int64_t size, BlobSize(digest));
    return UploadState{size, true};
  }
  struct stat info {};
  if (stat(shared_->UploadPath(digest).c_str(), &info) != 0) return UploadState{};
  return UploadState{info.st_size, false};
}

absl::StatusOr<std::unique_ptr<BlobWriter>> LocalBlobStore::BeginUpload(const std::string& digest,
                                                                        int64_t size_bytes,
                                                                        int64_t offset) {
  const std::string path = shared_->UploadPath(digest);
  std::optional<Shared::Paused> paused;
  Shared::Current self{0, std::make_shared<absl::Mutex>()};
  // Held until the file is open: a successor that truncated it before would be truncated by us.
  absl::MutexLock opening(self.io.get());
  while (true) {
    const std::shared_ptr<absl::Mutex> previous = CurrentIo(digest);
    std::optional<absl::MutexLock> last_write;
    if (previous) last_write.emplace(previous.get());
    // Asked for before taking over: who comes with a wrong offset must not stop the one at work.
    struct stat info {};
    const int64_t committed = stat(path.c_str(), &info) == 0 ? info.st_size : 0;
    if (offset != 0 && offset != committed) {
      return WithReason(absl::OutOfRangeError(absl::StrCat(
                            "offset ", offset, " of blob ", digest, ": ", committed,
                            " bytes are committed; ask QueryUpload and go on from there")),
                        "WRONG_OFFSET");
    }
    absl::MutexLock lock(&shared_->mutex);
    if (const auto it = shared_->current.find(digest);
        (it == shared_->current.end() ? nullptr : it->second.io) != previous) {
      continue;  // it finished, or another came first
    }
    self.id = shared_->next_writer++;
    shared_->current[digest] = self;
    if (auto it = shared_->paused.find(digest); it != shared_->paused.end()) {
      paused = std::move(it->second);
      shared_->paused.erase(it);
    }
    break;
  }
  absl::Cleanup give_up = [this, &digest, &self] {
    absl::MutexLock lock(&shared_->mutex);
    const auto it = shared_->current.find(digest);
    if (it != shared_->current.end() && it->second.id == self.id) shared_->current.erase(it);
  };
  const int fd =
      open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | (offset == 0 ? O_TRUNC : 0), 0600);
  if (fd < 0) return DiskError("cannot open", path, errno);
  Sha256 sha;
  if (offset > 0 && paused && paused->bytes == offset) {
    sha = std::move(paused->sha);
  } else if (offset > 0) {
    std::vector<char> buffer(1 << 20);
    for (int64_t at = 0; at < offset;) {
      const ssize_t got = pread(fd, buffer.data(), buffer.size(), at);
      if (got <= 0) {
        close(fd);
        return absl::DataLossError(absl::StrCat("cannot read ", path, " again"));
      }
      sha.Update(absl::string_view(buffer.data(), static_cast<size_t>(got)));
      at += got;
    }
  }
  std::move(give_up).Cancel();
  return std::make_unique<Writer>(shared_, digest, size_bytes, self, fd, std::move(sha), offset);
}

std::shared_ptr<absl::Mutex> LocalBlobStore::CurrentIo(const std::string& digest) const {
  absl::MutexLock lock(&shared_->mutex);
  const auto it = shared_->current.find(digest);
  return it == shared_->current.end() ? nullptr : it->second.io;
}

absl::StatusOr<std::unique_ptr<BlobReader>> LocalBlobStore::Open(const std::string& digest) {
  const std::string path = shared_->BlobPath(digest);
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT) return NotFound(digest);
    return DiskError("cannot open", path, errno);
  }
  struct stat info {};
  if (fstat(fd, &info) != 0) {
    close(fd);
    return absl::DataLossError(absl::StrCat("cannot look at ", path));
  }
  posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  return std::make_unique<FileReader>(fd, info.st_size, path);
}

absl::Status LocalBlobStore::Delete(const std::string& digest) {
  if (unlink(shared_->BlobPath(digest).c_str()) != 0 && errno != ENOENT) {
    return DiskError("cannot delete", shared_->BlobPath(digest), errno);
  }
  return absl::OkStatus();
}

absl::Status LocalBlobStore::ForEach(const std::function<void(const StoredBlob&)>& fn) {
  const std::string root = absl::StrCat(shared_->root, "/blobs");
  DIR* folders = opendir(root.c_str());
  if (folders == nullptr) return DiskError("cannot list", root, errno);
  while (const dirent* folder = readdir(folders)) {
    if (folder->d_name[0] == '.') continue;
    const std::string path = absl::StrCat(root, "/", folder->d_name);
    DIR* files = opendir(path.c_str());
    if (files == nullptr) continue;
    while (const dirent* file = readdir(files)) {
      struct stat info {};
      if (!ValidateDigest(file->d_name).ok() ||
          stat(absl::StrCat(path, "/", file->d_name).c_str(), &info) != 0) {
        continue;
      }
      fn({file->d_name, info.st_size, absl::TimeFromTimespec(info.st_mtim)});
    }
    closedir(files);
  }
  closedir(folders);
  return absl::OkStatus();
}

absl::StatusOr<int> LocalBlobStore::RemoveStaleUploads(absl::Time before) {
  const std::string root = absl::StrCat(shared_->root, "/uploads");
  DIR* files = opendir(root.c_str());
  if (files == nullptr) return DiskError("cannot list", root, errno);
  int removed = 0;
  while (const dirent* file = readdir(files)) {
    struct stat info {};
    const std::string path = absl::StrCat(root, "/", file->d_name);
    if (!ValidateDigest(file->d_name).ok() || stat(path.c_str(), &info) != 0) continue;
    absl::MutexLock lock(&shared_->mutex);
    if (absl::TimeFromTimespec(info.st_mtim) < before &&
        shared_->current.count(file->d_name) == 0) {
      shared_->paused.erase(file->d_name);
      if (unlink(path.c_str()) == 0) ++removed;
    }
  }
  closedir(files);
  return removed;
}

bool LocalBlobStore::Touch(const std::string& digest) {
  return utimensat(AT_FDCWD, shared_->BlobPath(digest).c_str(), nullptr, 0) == 0;
}

}  // namespace lathe::server
