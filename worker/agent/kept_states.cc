#include "worker/agent/kept_states.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/file_error.h"
#include "common/limits.h"

namespace lathe::worker {

absl::StatusOr<std::string> KeptStates::Keep(const std::string& job, int64_t lease_token,
                                             const std::string& path) {
  absl::MutexLock lock(&mutex_);
  const std::string kept = absl::StrCat(folder_, "/", next_++);
  // A link names the file itself, whatever `path` becomes; of a symbolic link, the link.
  if (link(path.c_str(), kept.c_str()) != 0) return FileError(errno, absl::StrCat("keep ", path));
  struct stat info {};
  const bool regular = lstat(kept.c_str(), &info) == 0 && S_ISREG(info.st_mode);
  if (!regular || info.st_size > limits::kMaxCheckpointBytes) {
    unlink(kept.c_str());
    return absl::InvalidArgumentError(absl::StrCat("the state that the job left at ", path,
                                                   " is not a regular file of at most ",
                                                   limits::kMaxCheckpointBytes, " bytes"));
  }
  ForgetLocked(job);
  states_.push_back({job, lease_token, kept});
  if (states_.size() > most_) ForgetLocked(states_.front().job);
  return kept;
}

std::optional<std::string> KeptStates::Find(const std::string& job, int64_t least_token) const {
  absl::MutexLock lock(&mutex_);
  for (const State& state : states_) {
    if (state.job == job && state.lease_token >= least_token) return state.path;
  }
  return std::nullopt;
}

void KeptStates::Forget(const std::string& job) {
  absl::MutexLock lock(&mutex_);
  ForgetLocked(job);
}

void KeptStates::ForgetLocked(const std::string& job) {
  for (auto it = states_.begin(); it != states_.end(); ++it) {
    if (it->job != job) continue;
    unlink(it->path.c_str());
    states_.erase(it);  // `job` may be its name: it is not read any more
    return;
  }
}

}  // namespace lathe::worker
