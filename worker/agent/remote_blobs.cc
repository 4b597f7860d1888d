#include "worker/agent/remote_blobs.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/status_reason.h"

namespace lathe::worker {
namespace {

using lathe::v1::UploadBlobRequest;

constexpr absl::Duration kUnaryTimeout = absl::Seconds(30);
// Blobs up to this size go in one unary call.
constexpr int64_t kSmallBytes = 1 << 20;
constexpr absl::Duration kMaxRetryDelay = absl::Seconds(5);

// A stream gets the time a slow link needs (4 MiB/s). When that is not enough, the next try goes on
// where this one stopped.
absl::Duration StreamTimeout(int64_t bytes) {
  return kUnaryTimeout + absl::Seconds(static_cast<double>(bytes) / (4 << 20));
}

absl::Status ReadAt(int fd, int64_t offset, size_t bytes, const std::string& path,
                    std::string* out) {
  out->resize(bytes);
  for (size_t done = 0; done < bytes;) {
    const ssize_t n =
        pread(fd, out->data() + done, bytes - done, static_cast<off_t>(offset) + done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return absl::ErrnoToStatus(errno, absl::StrCat("read ", path));
    if (n == 0) return absl::DataLossError(absl::StrCat(path, " has become shorter"));
    done += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

absl::StatusOr<int> OpenFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  return fd;
}

}  // namespace

absl::Status RemoteBlobs::Fetch(const std::string& digest, int64_t offset,
                                const std::function<absl::Status(absl::string_view)>& sink,
                                CancelScope* cancel) {
  // The size is not known here: a day, with the channel's keepalive to notice a dead peer.
  ServerCall call(*connection_, cancel, absl::Hours(24));
  lathe::v1::DownloadBlobRequest request;
  request.set_digest(digest);
  request.set_offset(offset);
  const auto reader = connection_->blobs().DownloadBlob(call.context(), request);
  lathe::v1::DownloadBlobResponse part;
  while (reader->Read(&part)) {
    if (absl::Status taken = sink(part.chunk()); !taken.ok()) {
      call.context()->TryCancel();
      reader->Finish().error_code();  // its status is our own cancellation
      return taken;
    }
  }
  return FromGrpc(reader->Finish());
}

absl::Status RemoteBlobs::PutSmall(const LocalBlob& blob, CancelScope* cancel) {
  ASSIGN_OR_RETURN(const int fd, OpenFile(blob.path));
  const absl::Cleanup close_it = [fd] { close(fd); };
  lathe::v1::PutBlobRequest request;
  RETURN_IF_ERROR(
      ReadAt(fd, 0, static_cast<size_t>(blob.size_bytes), blob.path, request.mutable_data()));
  request.set_digest(blob.digest);
  ServerCall call(*connection_, cancel, kUnaryTimeout);
  lathe::v1::Blob stored;
  return FromGrpc(connection_->blobs().PutBlob(call.context(), request, &stored));
}

absl::Status RemoteBlobs::UploadFrom(const LocalBlob& blob, int64_t offset, CancelScope* cancel) {
  ASSIGN_OR_RETURN(const int fd, OpenFile(blob.path));
  const absl::Cleanup close_it = [fd] { close(fd); };
  ServerCall call(*connection_, cancel, StreamTimeout(blob.size_bytes - offset));
  lathe::v1::Blob stored;
  const auto writer = connection_->blobs().UploadBlob(call.context(), &stored);
  UploadBlobRequest message;
  message.mutable_header()->set_digest(blob.digest);
  message.mutable_header()->set_size_bytes(blob.size_bytes);
  message.mutable_header()->set_offset(offset);
  bool open = writer->Write(message);
  while (open && offset < blob.size_bytes) {
    const int64_t bytes = std::min(limits::kUploadChunkBytes, blob.size_bytes - offset);
    if (absl::Status read =
            ReadAt(fd, offset, static_cast<size_t>(bytes), blob.path, message.mutable_chunk());
        !read.ok()) {
      call.context()->TryCancel();
      writer->Finish().error_code();
      return read;
    }
    open = writer->Write(message);
    offset += bytes;
  }
  if (open) writer->WritesDone();
  return FromGrpc(writer->Finish());
}

absl::Status RemoteBlobs::UploadOne(const LocalBlob& blob, CancelScope* cancel) {
  RetryDelay delay(kMaxRetryDelay);
  int64_t committed = -1;
  absl::Status last;
  for (int fruitless = 0; fruitless < kMaxFruitless; ++fruitless) {
    if (blob.size_bytes <= kSmallBytes) {
      last = PutSmall(blob, cancel);
    } else {
      ServerCall call(*connection_, cancel, kUnaryTimeout);
      lathe::v1::QueryUploadRequest request;
      lathe::v1::QueryUploadResponse response;
      request.set_digest(blob.digest);
      last = FromGrpc(connection_->blobs().QueryUpload(call.context(), request, &response));
      if (last.ok()) {
        if (response.complete()) return absl::OkStatus();
        if (response.committed_bytes() > committed) {
          fruitless = 0;
          delay.Reset();
        }
        committed = response.committed_bytes();
        last = UploadFrom(blob, committed, cancel);
      }
    }
    if (last.ok()) return last;
    if (cancel->cancelled()) return absl::CancelledError("stopped while uploading");
    // OUT_OF_RANGE: the committed size moved between the question and the upload.
    if (!IsRetryable(last) && last.code() != absl::StatusCode::kOutOfRange) break;
    if (!cancel->SleepFor(delay.Next())) return absl::CancelledError("stopped while uploading");
  }
  return WithReason(absl::Status(last.code(), absl::StrCat("upload of ", blob.path, " (",
                                                           blob.digest, "): ", last.message())),
                    ReasonOf(last));
}

absl::Status RemoteBlobs::Upload(const std::vector<LocalBlob>& blobs, CancelScope* cancel) {
  lathe::v1::FindMissingBlobsRequest request;
  for (const LocalBlob& blob : blobs) request.add_digests(blob.digest);
  lathe::v1::FindMissingBlobsResponse response;
  RetryDelay delay(kMaxRetryDelay);
  absl::Status found;
  for (int i = 0; i < kMaxFruitless; ++i) {
    ServerCall call(*connection_, cancel, kUnaryTimeout);
    found = FromGrpc(connection_->blobs().FindMissingBlobs(call.context(), request, &response));
    if (found.ok() || !IsRetryable(found)) break;
    if (!cancel->SleepFor(delay.Next())) return absl::CancelledError("stopped while uploading");
  }
  RETURN_IF_ERROR(found);
  std::set<std::string> missing(response.missing_digests().begin(),
                                response.missing_digests().end());
  for (const LocalBlob& blob : blobs) {
    if (missing.erase(blob.digest) > 0) RETURN_IF_ERROR(UploadOne(blob, cancel));
  }
  return absl::OkStatus();
}

}  // namespace lathe::worker
