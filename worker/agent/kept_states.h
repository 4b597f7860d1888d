// Where trainings of this worker's attempts stand, kept for an attempt of the same job that comes
// here again.
#ifndef LATHE_WORKER_AGENT_KEPT_STATES_H_
#define LATHE_WORKER_AGENT_KEPT_STATES_H_

#include <cstdint>
#include <list>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace lathe::worker {

// Thread-safe. Holds at most `most` states, one a job; the least lately kept goes first.
class KeptStates {
 public:
  // `folder` must exist and belong to this object alone.
  KeptStates(std::string folder, size_t most) : folder_(std::move(folder)), most_(most) {}
  KeptStates(const KeptStates&) = delete;
  KeptStates& operator=(const KeptStates&) = delete;

  // Takes the file at `path` as it is now, in place of what the job had; `path` may be replaced
  // afterwards. Gives where it is kept, until the next of the job or Forget. INVALID_ARGUMENT when
  // it is not a regular file or larger than limits::kMaxCheckpointBytes: a hostile job wrote it.
  absl::StatusOr<std::string> Keep(const std::string& job, int64_t lease_token,
                                   const std::string& path);
  // What an attempt with at least that token left; nullopt: nothing.
  std::optional<std::string> Find(const std::string& job, int64_t least_token) const;
  void Forget(const std::string& job);

 private:
  struct State {
    std::string job;
    int64_t lease_token = 0;
    std::string path;
  };
  void ForgetLocked(const std::string& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string folder_;
  const size_t most_;
  mutable absl::Mutex mutex_;
  int64_t next_ ABSL_GUARDED_BY(mutex_) = 0;
  std::list<State> states_ ABSL_GUARDED_BY(mutex_);  // least lately kept first
};

}  // namespace lathe::worker

#endif  // LATHE_WORKER_AGENT_KEPT_STATES_H_
