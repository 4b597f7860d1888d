#include "worker/agent/blob_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/digest.h"
#include "common/file_error.h"
#include "common/log.h"
#include "common/status_macros.h"

namespace lathe::worker {
namespace {

absl::Status WriteAll(int fd, absl::string_view bytes, const std::string& digest) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      return FileError(errno, absl::StrCat("write blob ", digest, " to the worker's cache folder"));
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

}  // namespace

BlobCache::BlobCache(std::string folder, int64_t limit_bytes, BlobSource* source)
    : folder_(std::move(folder)), limit_bytes_(limit_bytes), source_(source) {}

BlobCache::Pin::~Pin() { cache_->Unpin(digest_); }

std::string BlobCache::Pin::path() const { return cache_->PathOf(digest_); }

void BlobCache::Unpin(const std::string& digest) {
  absl::MutexLock lock(&mutex_);
  --entries_.at(digest).pins;
  MakeRoom(0);
}

int64_t BlobCache::total_bytes() const {
  absl::MutexLock lock(&mutex_);
  return total_bytes_;
}

void BlobCache::MakeRoom(int64_t wanted_bytes) {
  for (auto it = use_order_.begin();
       it != use_order_.end() && total_bytes_ > limit_bytes_ - wanted_bytes;) {
    const std::string digest = *it;
    Entry& entry = entries_.at(digest);
    ++it;
    if (entry.pins > 0) continue;
    unlink(PathOf(digest).c_str());
    total_bytes_ -= entry.size_bytes;
    use_order_.erase(entry.use);
    entries_.erase(digest);
  }
}

void BlobCache::EvictUnused() {
  absl::MutexLock lock(&mutex_);
  MakeRoom(std::numeric_limits<int64_t>::max());
}

absl::StatusOr<std::unique_ptr<BlobCache::Pin>> BlobCache::Acquire(const std::string& digest,
                                                                   int64_t size_bytes,
                                                                   CancelScope* cancel) {
  RETURN_IF_ERROR(ValidateDigest(digest));  // it becomes a file name
  {
    absl::MutexLock lock(&mutex_);
    while (true) {
      const auto it = entries_.find(digest);
      if (it == entries_.end()) break;
      if (it->second.ready) {
        if (it->second.size_bytes != size_bytes) {
          return absl::DataLossError(absl::StrCat("blob ", digest, " has ", it->second.size_bytes,
                                                  " bytes, expected ", size_bytes));
        }
        ++it->second.pins;
        use_order_.splice(use_order_.end(), use_order_, it->second.use);
        return std::make_unique<Pin>(this, digest);
      }
      // Somebody else fetches it. If that fails, this caller tries for itself.
      const auto settled = [this, &digest]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        const auto found = entries_.find(digest);
        return found == entries_.end() || found->second.ready;
      };
      while (!mutex_.AwaitWithTimeout(absl::Condition(&settled), absl::Milliseconds(200))) {
        if (cancel->cancelled()) return absl::CancelledError("stopped while fetching inputs");
      }
    }
    entries_[digest] = Entry{};
    MakeRoom(size_bytes);
  }
  absl::Status fetched = Download(digest, size_bytes, cancel);
  if (fetched.code() == absl::StatusCode::kResourceExhausted) {
    EvictUnused();  // the disk holds less than the limit says
    fetched = Download(digest, size_bytes, cancel);
  }
  absl::MutexLock lock(&mutex_);
  if (!fetched.ok()) {
    entries_.erase(digest);
    return fetched;
  }
  Entry& entry = entries_.at(digest);
  entry.ready = true;
  entry.pins = 1;
  entry.size_bytes = size_bytes;
  entry.use = use_order_.insert(use_order_.end(), digest);
  total_bytes_ += size_bytes;
  return std::make_unique<Pin>(this, digest);
}

absl::Status BlobCache::Download(const std::string& digest, int64_t size_bytes,
                                 CancelScope* cancel) {
  const std::string part = PathOf(digest) + ".part";
  absl::Status status;
  // A wrong digest gets one more chance from the start: a proxy or a disk may have flipped a bit on
  // the way.
  for (int attempt = 0; attempt < 2; ++attempt) {
    const int fd = open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return FileError(errno, absl::StrCat("make ", part));
    status = DownloadOnce(digest, size_bytes, fd, cancel);
    if (status.ok()) fchmod(fd, 0400);
    close(fd);
    if (status.code() != absl::StatusCode::kDataLoss) break;
    LogWarning("a fetched blob is damaged", {{"digest", digest}, {"error", status.message()}});
  }
  if (status.ok() && rename(part.c_str(), PathOf(digest).c_str()) != 0) {
    status = absl::ErrnoToStatus(errno, absl::StrCat("rename ", part));
  }
  if (!status.ok()) unlink(part.c_str());
  return status;
}

absl::Status BlobCache::DownloadOnce(const std::string& digest, int64_t size_bytes, int fd,
                                     CancelScope* cancel) {
  Sha256 sha;
  int64_t have = 0;
  RetryDelay delay(absl::Seconds(5));
  for (int fruitless = 0; have < size_bytes || fruitless == 0;) {
    const int64_t before = have;
    absl::Status local;  // an error of our own, which fetching again cannot mend
    const absl::Status fetched = source_->Fetch(
        digest, have,
        [&](absl::string_view bytes) {
          if (static_cast<int64_t>(bytes.size()) > size_bytes - have) {
            local = absl::DataLossError(absl::StrCat("blob ", digest, " is longer than the ",
                                                     size_bytes, " bytes promised"));
            return local;
          }
          local = WriteAll(fd, bytes, digest);
          sha.Update(bytes);
          have += static_cast<int64_t>(bytes.size());
          return local;
        },
        cancel);
    RETURN_IF_ERROR(local);
    if (fetched.ok()) break;
    if (cancel->cancelled()) return absl::CancelledError("stopped while fetching inputs");
    if (have > before) {
      fruitless = 0;
      delay.Reset();
    }
    if (!IsRetryable(fetched) || ++fruitless >= kMaxFruitless) {
      return absl::Status(fetched.code(),
                          absl::StrCat("fetching blob ", digest, ": ", fetched.message()));
    }
    if (!cancel->SleepFor(delay.Next())) {
      return absl::CancelledError("stopped while fetching inputs");
    }
  }
  if (have != size_bytes) {
    return absl::DataLossError(
        absl::StrCat("blob ", digest, " ends after ", have, " bytes, expected ", size_bytes));
  }
  if (const std::string got = sha.HexDigest(); got != digest) {
    return absl::DataLossError(absl::StrCat("blob ", digest, " arrived with digest ", got));
  }
  return absl::OkStatus();
}

}  // namespace lathe::worker
