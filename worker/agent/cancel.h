// Stops what an attempt waits for: calls to the server and pauses between them.
#ifndef LATHE_WORKER_AGENT_CANCEL_H_
#define LATHE_WORKER_AGENT_CANCEL_H_

#include <grpcpp/client_context.h>

#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace lathe::worker {

// Thread-safe. Once cancelled it stays so: running calls end with CANCELLED, and so do later ones.
class CancelScope {
 public:
  void Cancel() ABSL_LOCKS_EXCLUDED(mutex_);
  bool cancelled() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Sleeps, or returns early when cancelled; false then.
  bool SleepFor(absl::Duration duration) const ABSL_LOCKS_EXCLUDED(mutex_);

  // A call belongs to the scope from Add to Remove.
  void Add(grpc::ClientContext* context) ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(grpc::ClientContext* context) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<grpc::ClientContext*> calls_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lathe::worker

#endif  // LATHE_WORKER_AGENT_CANCEL_H_
