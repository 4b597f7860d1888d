#include "server/telemetry/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"
#include "common/build_info.h"

namespace lathe::server {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using Buckets = Histogram::BucketBoundaries;

// 10 ms to 24 h: from a toy job to a night's.
const Buckets kJobSeconds = {0.01, 0.03, 0.1,  0.3,  1,     3,     10,   30,
                             100,  300,  1000, 3600, 10800, 36000, 86400};
const Buckets kCallSeconds = {0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 60};
const Buckets kCommitSeconds = {0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.03, 0.1, 0.5};
const Buckets kRssBytes = {16e6, 64e6, 256e6, 1e9, 2e9, 4e9, 8e9, 16e9, 64e9};
const Buckets kRatios = {0.5, 0.9, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 32};

Family<Counter>& AddCounter(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}
Family<Gauge>& AddGauge(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}
Family<Histogram>& AddHistogram(prometheus::Registry& registry, const char* name,
                                const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
}

std::string StateLabel(const std::string& enum_name, absl::string_view prefix) {
  return absl::AsciiStrToLower(absl::StripPrefix(enum_name, prefix));
}

}  // namespace

struct Metrics::Families {
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  Counter& submitted = AddCounter(*registry, metric::kJobsSubmitted,
                                  "Jobs created, answers from the result cache included.")
                           .Add({});
  Family<Counter>& completed = AddCounter(*registry, metric::kJobsCompleted,
                                          "Jobs that have ended, by method, outcome and reason.");
  Family<Counter>& retried =
      AddCounter(*registry, metric::kJobsRetried,
                 "Attempts that failed and are followed by another, by reason.");
  Family<Gauge>& jobs = AddGauge(*registry, metric::kJobs, "Jobs by state.");
  Gauge& oldest =
      AddGauge(*registry, metric::kQueueOldestAge, "Age of the oldest job that could run now.")
          .Add({});
  Histogram& queued =
      AddHistogram(*registry, metric::kJobQueueDuration, "Wait for an attempt to start.")
          .Add({}, kJobSeconds);
  Histogram& ran = AddHistogram(*registry, metric::kJobRunDuration, "Length of an attempt.")
                       .Add({}, kJobSeconds);
  Counter& expired =
      AddCounter(*registry, metric::kLeaseExpirations, "Leases of workers that fell silent.")
          .Add({});
  Counter& stale = AddCounter(*registry, metric::kStaleCompletions,
                              "Results refused because their lease was lost.")
                       .Add({});
  Family<Gauge>& workers = AddGauge(*registry, metric::kWorkers, "Workers by state.");
  Family<Gauge>& slots =
      AddGauge(*registry, metric::kWorkerSlots, "Slots of ready workers, busy or free.");
  Family<Counter>& exits =
      AddCounter(*registry, metric::kWorkerExits, "Job processes that died, by cause.");
  Histogram& rss = AddHistogram(*registry, metric::kWorkerPeakRss, "Peak memory of job processes.")
                       .Add({}, kRssBytes);
  Counter& uploaded =
      AddCounter(*registry, metric::kUploadBytes, "Bytes received in uploads.").Add({});
  Counter& resumed =
      AddCounter(*registry, metric::kUploadResumes, "Uploads that went on from a part.").Add({});
  Counter& mismatched = AddCounter(*registry, metric::kDigestMismatches,
                                   "Uploads whose bytes were not what was promised.")
                            .Add({});
  Family<Gauge>& store =
      AddGauge(*registry, metric::kStoreBytes, "Bytes on disk by kind: database, blobs.");
  Family<Counter>& lookups =
      AddCounter(*registry, metric::kCacheLookups, "Looks into the result cache, by result.");
  Histogram& commits =
      AddHistogram(*registry, metric::kSqliteCommitDuration, "Durable commits of the job store.")
          .Add({}, kCommitSeconds);
  Family<Counter>& rpc_started =
      AddCounter(*registry, metric::kRpcStarted, "Calls begun, by method.");
  Family<Histogram>& rpc =
      AddHistogram(*registry, metric::kRpcDuration, "Calls ended, by method and code.");
  Family<Histogram>& ratio = AddHistogram(*registry, metric::kCompressionRatio,
                                          "File bytes before over after, by method.");
  Family<Gauge>& build = AddGauge(*registry, metric::kBuildInfo, "1, labelled with the build.");
};

Metrics::Metrics() : families_(std::make_unique<Families>()) {
  families_->build.Add({{"version", Version()}, {"build_id", BuildId()}}).Set(1);
  // Series that people alert on exist from the start.
  for (const char* result : {"hit", "miss"}) families_->lookups.Add({{"result", result}});
  for (const char* outcome : {"succeeded", "failed", "cancelled"}) {
    families_->completed.Add({{"method", "pipeline"}, {"outcome", outcome}, {"reason", ""}});
  }
  for (const char* reason : {"WORKER_CRASHED", "WORKER_OOM_KILLED", "LEASE_LOST"})
    families_->retried.Add({{"reason", reason}});
  for (const char* cause : {"WORKER_CRASHED", "WORKER_OOM_KILLED", "RUN_DEADLINE"})
    families_->exits.Add({{"cause", cause}});
  families_->ratio.Add({{"method", "pipeline"}}, kRatios);
  SetStoreBytes(0, 0);
  SetJobStats({});
}
Metrics::~Metrics() = default;

std::shared_ptr<prometheus::Registry> Metrics::registry() const { return families_->registry; }

void Metrics::JobSubmitted() { families_->submitted.Increment(); }
void Metrics::JobCompleted(absl::string_view method, absl::string_view outcome,
                           absl::string_view reason) {
  families_->completed
      .Add({{"method", std::string(method)},
            {"outcome", std::string(outcome)},
            {"reason", std::string(reason)}})
      .Increment();
}
void Metrics::AttemptRetried(absl::string_view reason) {
  families_->retried.Add({{"reason", std::string(reason)}}).Increment();
}
void Metrics::QueueDuration(absl::Duration waited) {
  families_->queued.Observe(absl::ToDoubleSeconds(waited));
}
void Metrics::RunDuration(absl::Duration ran) {
  families_->ran.Observe(absl::ToDoubleSeconds(ran));
}
void Metrics::LeaseExpired() { families_->expired.Increment(); }
void Metrics::StaleCompletion() { families_->stale.Increment(); }
void Metrics::CacheLookup(bool hit) {
  families_->lookups.Add({{"result", hit ? "hit" : "miss"}}).Increment();
}
void Metrics::PeakRss(int64_t bytes) { families_->rss.Observe(static_cast<double>(bytes)); }
void Metrics::CompressionRatio(absl::string_view method, double ratio) {
  families_->ratio.Add({{"method", std::string(method)}}, kRatios).Observe(ratio);
}
void Metrics::WorkerExit(absl::string_view cause) {
  families_->exits.Add({{"cause", std::string(cause)}}).Increment();
}

void Metrics::RpcStarted(absl::string_view method) {
  families_->rpc_started.Add({{"method", std::string(method)}}).Increment();
}
void Metrics::RpcEnded(absl::string_view method, absl::StatusCode code, absl::Duration took) {
  families_->rpc
      .Add({{"method", std::string(method)}, {"code", absl::StatusCodeToString(code)}},
           kCallSeconds)
      .Observe(absl::ToDoubleSeconds(took));
}
void Metrics::Uploaded(int64_t bytes) { families_->uploaded.Increment(static_cast<double>(bytes)); }
void Metrics::UploadResumed() { families_->resumed.Increment(); }
void Metrics::DigestMismatch() { families_->mismatched.Increment(); }
void Metrics::Committed(absl::Duration took) {
  families_->commits.Observe(absl::ToDoubleSeconds(took));
}

void Metrics::SetJobStats(const JobStats& stats) {
  for (int i = v1::JOB_STATE_PENDING; i <= v1::JOB_STATE_CANCELLED; ++i) {
    const auto state = static_cast<v1::JobState>(i);
    const auto it = stats.jobs.find(state);
    families_->jobs.Add({{"state", StateLabel(v1::JobState_Name(state), "JOB_STATE_")}})
        .Set(it == stats.jobs.end() ? 0 : static_cast<double>(it->second));
  }
  for (int i = v1::WORKER_STATE_READY; i <= v1::WORKER_STATE_LOST; ++i) {
    const auto state = static_cast<v1::WorkerState>(i);
    const auto it = stats.workers.find(state);
    families_->workers.Add({{"state", StateLabel(v1::WorkerState_Name(state), "WORKER_STATE_")}})
        .Set(it == stats.workers.end() ? 0 : static_cast<double>(it->second));
  }
  families_->slots.Add({{"state", "busy"}}).Set(static_cast<double>(stats.busy_slots));
  families_->slots.Add({{"state", "free"}}).Set(static_cast<double>(stats.free_slots));
  families_->oldest.Set(absl::ToDoubleSeconds(stats.oldest_queued));
}

void Metrics::SetStoreBytes(int64_t database_bytes, int64_t blob_bytes) {
  families_->store.Add({{"kind", "database"}}).Set(static_cast<double>(database_bytes));
  families_->store.Add({{"kind", "blobs"}}).Set(static_cast<double>(blob_bytes));
}

}  // namespace lathe::server
