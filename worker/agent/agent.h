// The worker's side of the Synchronize protocol: holds attempts, keeps their leases, starts and
// stops them as told.
#ifndef LATHE_WORKER_AGENT_AGENT_H_
#define LATHE_WORKER_AGENT_AGENT_H_

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "lathe/v1/workers.pb.h"
#include "worker/agent/attempt.h"

namespace lathe::worker {

struct AgentOptions {
  std::string worker_id;
  std::string host;
  std::string onnxruntime_version;  // that jobs measure in; "": none
  int slots = 1;
  // How long a drain lets attempts go on.
  absl::Duration drain = absl::Minutes(5);
  // How long interrupted attempts may take to tell the server so.
  absl::Duration goodbye = absl::Seconds(10);
  // How long a call is held open: with nothing to do, and while attempts run (which is how often
  // progress is sent).
  absl::Duration idle_wait = absl::Seconds(10);
  absl::Duration busy_wait = absl::Milliseconds(250);
  AttemptOptions attempt;
};

// One thread calls Run; Drain and Interrupt are thread-safe.
//
// Leases: the server counts a lease from when it hears of an attempt. This side counts from when it
// *sent* the last call that was answered, which is earlier; once lease_duration has passed since,
// another worker may have the job, and the attempt is stopped.
class Agent {
 public:
  Agent(AgentOptions options, AttemptServices services);
  ~Agent();

  // Returns OK after a drain. An error when the server refuses this worker for good before it ever
  // accepted it: a wrong token (UNAUTHENTICATED), a bad id (INVALID_ARGUMENT), another kind of
  // server (UNIMPLEMENTED).
  absl::Status Run();

  // Takes no new attempt, lets those that run go on for at most AgentOptions::drain, then
  // interrupts them; Run returns. A second call interrupts at once.
  void Drain() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Running {
    std::unique_ptr<AttemptRunner> runner;
    std::thread thread;
  };

  lathe::v1::SynchronizeRequest MakeRequest(bool draining);
  void Apply(const lathe::v1::SynchronizeResponse& response);
  void Begin(const lathe::v1::Attempt& attempt);
  void StopAll(StopCause cause);
  void Reap();
  bool CheckLeases();
  void SayGoodbye();
  bool draining() const ABSL_LOCKS_EXCLUDED(mutex_);

  const AgentOptions options_;
  const AttemptServices services_;

  mutable absl::Mutex mutex_;
  int drain_requests_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time drain_deadline_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  CancelScope* idle_call_ ABSL_GUARDED_BY(mutex_) = nullptr;  // what a drain must wake up

  // Only touched by Run.
  std::vector<Running> running_;
  absl::Time last_answered_send_;
  absl::Duration lease_duration_ = absl::ZeroDuration();  // of the last answer; 0: none yet
};

// "name-xxxxxxxxxxxxxxxxxxxx": `name` in lower case with other characters as '-', cut so that the
// id has at most 63 characters.
std::string MakeWorkerId(absl::string_view name, absl::string_view unique);

}  // namespace lathe::worker

#endif  // LATHE_WORKER_AGENT_AGENT_H_
