// The folder of one worker process, within a cache folder that several may share.
#ifndef LATHE_WORKER_AGENT_PROCESS_FOLDER_H_
#define LATHE_WORKER_AGENT_PROCESS_FOLDER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace lathe::worker {

// Holds `<cache_dir>/worker-<id>`, locked with flock for as long as the object lives, and removes
// it at the end. A folder whose lock is free belongs to a process that has died: whoever comes next
// removes it.
class ProcessFolder {
 public:
  // Makes `cache_dir` when there is none, and tidies. PERMISSION_DENIED, RESOURCE_EXHAUSTED and the
  // like name the path.
  static absl::StatusOr<std::unique_ptr<ProcessFolder>> Create(const std::string& cache_dir,
                                                               const std::string& id);
  ~ProcessFolder();
  ProcessFolder(const ProcessFolder&) = delete;
  ProcessFolder& operator=(const ProcessFolder&) = delete;

  // Absolute.
  const std::string& path() const { return path_; }

 private:
  ProcessFolder(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}

  const std::string path_;
  const int lock_;
};

}  // namespace lathe::worker

#endif  // LATHE_WORKER_AGENT_PROCESS_FOLDER_H_
