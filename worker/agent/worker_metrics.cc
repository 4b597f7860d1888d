#include "worker/agent/worker_metrics.h"

#include <algorithm>
#include <exception>

#include "absl/strings/str_cat.h"
#include "worker/agent/exit_cause.h"

namespace lathe::worker {

WorkerMetrics::WorkerMetrics(int slots, const std::string& build_id)
    : slots_(slots), registry_(std::make_shared<prometheus::Registry>()) {
  using prometheus::BuildCounter;
  using prometheus::BuildGauge;
  using prometheus::BuildHistogram;
  using prometheus::Histogram;
  auto& exits = BuildCounter()
                    .Name("lathe_worker_exits_total")
                    .Help("Job processes that have ended, by cause.")
                    .Register(*registry_);
  for (const char* cause : kExitCauses) exits_[cause] = &exits.Add({{"cause", cause}});
  Histogram::BucketBoundaries bytes;
  for (double b = 16 << 20; b <= 256.0 * (1 << 30); b *= 2) bytes.push_back(b);
  peak_rss_ = &BuildHistogram()
                   .Name("lathe_worker_peak_rss_bytes")
                   .Help("Most resident memory of each job process.")
                   .Register(*registry_)
                   .Add({}, bytes);
  run_seconds_ = &BuildHistogram()
                      .Name("lathe_worker_run_duration_seconds")
                      .Help("Wall time of each job process.")
                      .Register(*registry_)
                      .Add({}, Histogram::BucketBoundaries{0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100,
                                                           300, 1000, 3600, 14400, 86400});
  auto& slot_gauges = BuildGauge()
                          .Name("lathe_worker_slots")
                          .Help("Attempts this worker runs at a time, by state.")
                          .Register(*registry_);
  busy_slots_ = &slot_gauges.Add({{"state", "busy"}});
  free_slots_ = &slot_gauges.Add({{"state", "free"}});
  stale_completions_ = &BuildCounter()
                            .Name("lathe_worker_stale_completions_total")
                            .Help("Results thrown away because the lease had passed on.")
                            .Register(*registry_)
                            .Add({});
  synchronize_failures_ = &BuildCounter()
                               .Name("lathe_worker_synchronize_failures_total")
                               .Help("Synchronize calls that the server did not answer.")
                               .Register(*registry_)
                               .Add({});
  BuildGauge()
      .Name("lathe_build_info")
      .Help("Always 1; the label tells the build.")
      .Register(*registry_)
      .Add({{"build_id", build_id}})
      .Set(1);
  SetBusySlots(0);
}

absl::Status WorkerMetrics::Listen(const std::string& address) {
  try {
    exposer_ = std::make_unique<prometheus::Exposer>(address, 2);
    exposer_->RegisterCollectable(registry_);
  } catch (const std::exception& e) {
    return absl::UnavailableError(
        absl::StrCat("cannot serve metrics at ", address, ": ", e.what()));
  }
  return absl::OkStatus();
}

void WorkerMetrics::OnExit(const std::string& cause, int64_t peak_rss_bytes, absl::Duration run) {
  const auto it = exits_.find(cause);
  if (it != exits_.end()) it->second->Increment();
  if (peak_rss_bytes > 0) peak_rss_->Observe(static_cast<double>(peak_rss_bytes));
  run_seconds_->Observe(absl::ToDoubleSeconds(run));
}

void WorkerMetrics::SetBusySlots(int busy) {
  busy_slots_->Set(busy);
  free_slots_->Set(std::max(0, slots_ - busy));
}

}  // namespace lathe::worker
