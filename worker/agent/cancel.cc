#include "worker/agent/cancel.h"

namespace lathe::worker {

void CancelScope::Cancel() {
  absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  for (grpc::ClientContext* call : calls_) call->TryCancel();
}

bool CancelScope::cancelled() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_;
}

bool CancelScope::SleepFor(absl::Duration duration) const {
  absl::MutexLock lock(&mutex_);
  return !mutex_.AwaitWithTimeout(absl::Condition(&cancelled_), duration);
}

void CancelScope::Add(grpc::ClientContext* context) {
  absl::MutexLock lock(&mutex_);
  calls_.insert(context);
  if (cancelled_) context->TryCancel();  // before its start is fine: it ends at once
}

void CancelScope::Remove(grpc::ClientContext* context) {
  absl::MutexLock lock(&mutex_);
  calls_.erase(context);
}

}  // namespace lathe::worker
