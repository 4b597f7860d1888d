// One server a data directory.
#ifndef LATHE_SERVER_STORE_DATA_DIR_LOCK_H_
#define LATHE_SERVER_STORE_DATA_DIR_LOCK_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace lathe::server {

// Holds an exclusive lock on a directory until destroyed. The lock is the kernel's (`flock` on
// DIR/lock), so it goes with the process however that dies; the file itself stays and holds the
// owner's process id for messages.
class DataDirLock {
 public:
  // Creates the directory (mode 0700) with its parents when missing. FAILED_PRECONDITION naming the
  // directory and the process that holds it when another has the lock; PERMISSION_DENIED or
  // UNAVAILABLE when it cannot be made or opened.
  static absl::StatusOr<std::unique_ptr<DataDirLock>> Acquire(const std::string& data_dir);
  ~DataDirLock();
  DataDirLock(const DataDirLock&) = delete;
  DataDirLock& operator=(const DataDirLock&) = delete;

 private:
  explicit DataDirLock(int fd) : fd_(fd) {}
  const int fd_;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_STORE_DATA_DIR_LOCK_H_
