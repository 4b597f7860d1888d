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

namespace lathe::server {

struct SupervisorOptions {
  std::string binary;
  std::vector<std::string> arguments;  // common to all
  int workers = 0;
  std::string folder;  // each worker gets --cache-dir FOLDER/worker-N
  // Time a worker gets after SIGTERM before SIGKILL.
  absl::Duration kill_after = absl::Seconds(30);
};

// Workers are children of the thread that starts them and die with this process, however that ends
// (PR_SET_PDEATHSIG).
class Supervisor {
 public:
  explicit Supervisor(SupervisorOptions options);
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
    absl::Time started;
    absl::Time restart_at = absl::InfinitePast();
    absl::Duration backoff = absl::Milliseconds(200);
  };
  void Run();
  void Launch(Child& child);

  const SupervisorOptions options_;
  std::thread thread_;
  absl::Mutex mutex_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_SUPERVISOR_H_
