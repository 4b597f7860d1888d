// Brings the states of an attempt's training to the server, beside the attempt.
#ifndef LATHE_WORKER_AGENT_CHECKPOINT_SENDER_H_
#define LATHE_WORKER_AGENT_CHECKPOINT_SENDER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "worker/agent/cancel.h"
#include "worker/agent/connection.h"
#include "worker/agent/remote_blobs.h"

namespace lathe::worker {

// One a running attempt. A thread of its own uploads a state and then names it to the server, which
// keeps it if the attempt still has its lease. A server that is away is asked again and again,
// until there is a newer state to send instead, or the sender goes.
class CheckpointSender {
 public:
  // `log` gets a line for the job's log when a state could not be sent; it may be called from
  // another thread. Both services outlive the sender.
  CheckpointSender(ServerConnection* connection, RemoteBlobs* blobs, std::string job,
                   int64_t lease_token, std::function<void(const std::string&)> log);
  // Stops what is under way.
  ~CheckpointSender();
  CheckpointSender(const CheckpointSender&) = delete;
  CheckpointSender& operator=(const CheckpointSender&) = delete;

  // The state is now that in the file at `path`, which may go once a newer one is named. Does not
  // wait.
  void Send(const std::string& path) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run();
  absl::Status SendOne(const std::string& path);
  absl::Status Name(const std::string& digest);
  bool Wanted() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return stop_ || !next_.empty(); }
  bool Superseded() const ABSL_LOCKS_EXCLUDED(mutex_);

  ServerConnection* const connection_;
  RemoteBlobs* const blobs_;
  const std::string job_;
  const int64_t lease_token_;
  const std::function<void(const std::string&)> log_;
  CancelScope calls_;
  mutable absl::Mutex mutex_;
  std::string next_ ABSL_GUARDED_BY(mutex_);  // "": nothing is to be sent
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace lathe::worker

#endif  // LATHE_WORKER_AGENT_CHECKPOINT_SENDER_H_
