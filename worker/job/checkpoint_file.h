// The file in which a job process leaves the state of its training.
#ifndef LATHE_WORKER_JOB_CHECKPOINT_FILE_H_
#define LATHE_WORKER_JOB_CHECKPOINT_FILE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lathe::worker {

// Replaced as a whole: whoever reads `path()` finds one state or another, never a part of one, and
// a reader that holds it open keeps what it has. Not thread-safe.
class CheckpointFile {
 public:
  // `interval_seconds` > 0 go by from the start, and from the end of one Save, until the next is
  // due. States of more than `max_bytes` are refused. `seconds` is a steady clock.
  CheckpointFile(std::string folder, double interval_seconds, int64_t max_bytes,
                 std::function<double()> seconds);

  bool Due() const { return seconds_() - last_ >= interval_seconds_; }
  // Writes the pieces one after another; gives their bytes together. RESOURCE_EXHAUSTED (DISK_FULL,
  // or past max_bytes); the file of before stays then. Either way the next is due an interval
  // later.
  absl::StatusOr<int64_t> Save(const std::vector<absl::string_view>& pieces);

  const std::string& path() const { return path_; }

 private:
  absl::StatusOr<int64_t> Write(const std::vector<absl::string_view>& pieces) const;

  const std::string path_;
  const double interval_seconds_;
  const int64_t max_bytes_;
  const std::function<double()> seconds_;
  double last_;
};

}  // namespace lathe::worker

#endif  // LATHE_WORKER_JOB_CHECKPOINT_FILE_H_
