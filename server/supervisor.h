// Starts local workers and keeps them running.
#ifndef LATHE_SERVER_SUPERVISOR_H_
#define LATHE_SERVER_SUPERVISOR_H_

#include <sys/types.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/ids.h"

namespace lathe::server {

struct SupervisorOptions {
  std::string binary;
  std::vector<std::string> arguments;  // common to all
  int workers = 0;
  std::string folder;  // each worker gets --cache-dir FOLDER/worker-N
  // A worker's process ended on its own; its id is never used again. `cause`: "signal 9 (Killed)".
  // Called from the supervisor's thread, before the worker is started again.
  std::function<void(const std::string& worker_id, const std::string& cause)> on_exit;
  // Time a worker gets after SIGTERM before SIGKILL.
  absl::Duration kill_after = absl::Seconds(30);
};

// Workers are children of the thread that starts them and die with this process, however that ends
// (PR_SET_PDEATHSIG).
class Supervisor {
 public:
  // `ids` must outlive it.
  Supervisor(SupervisorOptions options, IdGenerator* ids);
  // Stops, if Stop was not called.
  ~Supervisor();

  // FAILED_PRECONDITION when the binary cannot be executed.
  absl::Status Start();
  // SIGTERM to all, then waits until they are gone.
  void Stop();

 private:
  struct Child {
    int index = 0;
    pid_t pid = -1;
    std::string worker_id;  // of this life
    absl::Time started;
    absl::Time restart_at = absl::InfinitePast();
    absl::Duration backoff = absl::Milliseconds(200);
  };
  void Run();
  void Launch(Child& child);

  const SupervisorOptions options_;
  IdGenerator* const ids_;
  std::thread thread_;
  absl::Mutex mutex_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_SUPERVISOR_H_
