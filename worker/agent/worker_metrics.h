// The worker's own metrics, served at /metrics when asked for.
#ifndef LATHE_WORKER_AGENT_WORKER_METRICS_H_
#define LATHE_WORKER_AGENT_WORKER_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace lathe::worker {

// Thread-safe. Every cause and state is there from the start, at zero, so that rates and alerts
// work before the first event.
class WorkerMetrics {
 public:
  WorkerMetrics(int slots, const std::string& build_id);

  // Starts serving at `host:port`. INVALID_ARGUMENT or UNAVAILABLE when that address cannot be had.
  absl::Status Listen(const std::string& address);

  // One job process has ended; `cause` is one of kExitCauses.
  void OnExit(const std::string& cause, int64_t peak_rss_bytes, absl::Duration run);
  void OnStaleCompletion() { stale_completions_->Increment(); }
  void SetBusySlots(int busy);
  void OnSynchronizeFailed() { synchronize_failures_->Increment(); }

  prometheus::Registry& registry() { return *registry_; }

 private:
  const int slots_;
  const std::shared_ptr<prometheus::Registry> registry_;
  std::map<std::string, prometheus::Counter*> exits_;
  prometheus::Histogram* peak_rss_ = nullptr;
  prometheus::Histogram* run_seconds_ = nullptr;
  prometheus::Gauge* busy_slots_ = nullptr;
  prometheus::Gauge* free_slots_ = nullptr;
  prometheus::Counter* stale_completions_ = nullptr;
  prometheus::Counter* synchronize_failures_ = nullptr;
  std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace lathe::worker

#endif  // LATHE_WORKER_AGENT_WORKER_METRICS_H_
