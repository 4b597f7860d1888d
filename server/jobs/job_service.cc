#include "server/jobs/job_service.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "server/jobs/creation_event.h"
#include "server/jobs/job_service_impl.h"
#include "server/jobs/page_token.h"
#include "server/jobs/timestamps.h"

namespace lathe::server {
namespace {

constexpr int kEventsACall = 256;
// Waiters look at least this often whether their caller is gone.
constexpr absl::Duration kLongestSleep = absl::Milliseconds(500);

JobObserver* OrNothing(JobObserver* observer) {
  static JobObserver* nothing = new JobObserver;
  return observer == nullptr ? nothing : observer;
}

}  // namespace

absl::Status NoSuchJob(const absl::Status& status, absl::string_view name) {
  if (status.code() != absl::StatusCode::kNotFound) return status;
  return WithReason(absl::NotFoundError(absl::StrCat("there is no job ", name)), "JOB_NOT_FOUND");
}

JobService::Impl::Impl(JobServiceOptions options, Store* store, BlobSizes* blobs,
                       const Clock* clock, IdGenerator* ids, RandomSource* random,
                       JobObserver* observer)
    : options_(std::move(options)),
      store_(store),
      blobs_(blobs),
      clock_(clock),
      ids_(ids),
      random_(random),
      observer_(OrNothing(observer)) {}

absl::Status JobService::Impl::Recover() {
  // Whoever asked for an inspection in the last life of the server is gone.
  RETURN_IF_ERROR(store_->Write([](WriteTransaction& tx) { return tx.DeleteInternalJobs(); }));
  std::vector<JobRecord> unfinished;
  RETURN_IF_ERROR(store_->Read([&](ReadTransaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(unfinished, tx.UnfinishedJobs());
    return absl::OkStatus();
  }));
  absl::MutexLock lock(&mutex_);
  for (const JobRecord& record : unfinished) {
    const std::string& name = record.job.name();
    if (record.job.state() == v1::JOB_STATE_PENDING) {
      EnqueueLocked(record);
    } else {
      leases_[name] = LeaseOf(record);
    }
    ChangedLocked(name, /*ended=*/false);
  }
  return absl::OkStatus();
}

absl::StatusOr<JobRecord> JobService::Impl::Find(absl::string_view name) {
  JobRecord record;
  const absl::Status status = store_->Read([&](ReadTransaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(record, tx.GetJob(name));
    return absl::OkStatus();
  });
  if (!status.ok()) return NoSuchJob(status, name);
  if (record.kind != v1::ATTEMPT_KIND_COMPRESS) return NoSuchJob(absl::NotFoundError(""), name);
  return record;
}

absl::StatusOr<v1::Job> JobService::Impl::GetJob(absl::string_view name) {
  ASSIGN_OR_RETURN(JobRecord record, Find(name));
  absl::MutexLock lock(&mutex_);
  if (auto it = progress_.find(std::string(name));
      it != progress_.end() && it->second.token == record.lease_token) {
    *record.job.mutable_progress() = it->second.progress;
  }
  return record.job;
}

absl::StatusOr<v1::ListJobsResponse> JobService::Impl::ListJobs(
    const v1::ListJobsRequest& request) {
  const std::string list =
      absl::StrCat("jobs state=", static_cast<int>(request.state()), " model=", request.model());
  ASSIGN_OR_RETURN(const int64_t before, ParsePageToken(list, request.page_token()));
  ASSIGN_OR_RETURN(const int size, PageSize(request.page_size()));
  v1::ListJobsResponse response;
  RETURN_IF_ERROR(store_->Read([&](ReadTransaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(Page<v1::Job> page,
                     tx.ListJobs({request.state(), request.model()}, before, size));
    for (v1::Job& job : page.items) *response.add_jobs() = std::move(job);
    response.set_next_page_token(MakePageToken(list, page.next_before));
    return absl::OkStatus();
  }));
  return response;
}

absl::StatusOr<v1::Job> JobService::Impl::CancelJob(absl::string_view name) {
  RETURN_IF_ERROR(Find(name).status());
  absl::StatusOr<Change> change = Apply(name, JobEventKind::kCancelRequested, 0, {}, nullptr);
  if (!change.ok()) return NoSuchJob(change.status(), name);
  Settle(*change, JobEventKind::kCancelRequested);
  return change->record.job;
}

absl::Status JobService::Impl::DeleteJob(absl::string_view name) {
  return NoSuchJob(store_->Write([&](WriteTransaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const JobRecord record, tx.GetJob(name));
    if (record.kind != v1::ATTEMPT_KIND_COMPRESS) return absl::NotFoundError("internal");
    if (!IsTerminal(record.job.state())) {
      return WithReason(absl::FailedPreconditionError(
                            absl::StrCat(name, " has not ended; cancel it first, or wait")),
                        "JOB_NOT_ENDED");
    }
    return tx.DeleteJob(name);
  }),
                   name);
}

int64_t JobService::Impl::VersionOf(const std::string& job) {
  absl::MutexLock lock(&mutex_);
  const auto it = versions_.find(job);
  return it == versions_.end() ? 0 : it->second;
}

absl::StatusOr<bool> JobService::Impl::AwaitChange(const std::string& job, int64_t seen,
                                                   absl::Time give_up, const WaitOptions& wait) {
  absl::MutexLock lock(&mutex_);
  while (true) {
    const auto it = versions_.find(job);
    if ((it == versions_.end() ? 0 : it->second) != seen) return true;
    if (shutdown_) {
      return WithReason(absl::UnavailableError("the server is shutting down"), "SHUTTING_DOWN");
    }
    const absl::Duration left = give_up - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    changed_.WaitWithTimeout(&mutex_, std::min(left, kLongestSleep));
    if (wait.cancelled && wait.cancelled()) return absl::CancelledError("the caller is gone");
  }
}

absl::StatusOr<v1::Job> JobService::Impl::WaitJob(absl::string_view name, const WaitOptions& wait) {
  const absl::Time give_up = absl::Now() + wait.timeout;
  while (true) {
    const int64_t seen = VersionOf(std::string(name));
    ASSIGN_OR_RETURN(v1::Job job, GetJob(name));
    if (IsTerminal(job.state())) return job;
    ASSIGN_OR_RETURN(const bool changed, AwaitChange(std::string(name), seen, give_up, wait));
    if (!changed) return job;
  }
}

absl::StatusOr<EventBatch> JobService::Impl::NextEvents(absl::string_view name, int64_t after,
                                                        const WaitOptions& wait) {
  const absl::Time give_up = absl::Now() + wait.timeout;
  while (true) {
    const int64_t seen = VersionOf(std::string(name));
    EventBatch batch;
    const absl::Status status = store_->Read([&](ReadTransaction& tx) -> absl::Status {
      ASSIGN_OR_RETURN(const JobRecord record, tx.GetJob(name));
      ASSIGN_OR_RETURN(batch.events, tx.EventsAfter(name, after, kEventsACall));
      batch.ended = IsTerminal(record.job.state()) && batch.events.size() < kEventsACall;
      AddCreationEvent(record.job, after, &batch.events);
      return absl::OkStatus();
    });
    if (!status.ok()) return NoSuchJob(status, name);
    if (!batch.events.empty() || batch.ended) return batch;
    ASSIGN_OR_RETURN(const bool changed, AwaitChange(std::string(name), seen, give_up, wait));
    if (!changed) return batch;
  }
}

absl::StatusOr<LogBatch> JobService::Impl::NextLogs(absl::string_view name, int64_t after,
                                                    const WaitOptions& wait) {
  const absl::Time give_up = absl::Now() + wait.timeout;
  while (true) {
    const int64_t seen = VersionOf(std::string(name));
    LogBatch batch;
    const absl::Status status = store_->Read([&](ReadTransaction& tx) -> absl::Status {
      ASSIGN_OR_RETURN(const JobRecord record, tx.GetJob(name));
      ASSIGN_OR_RETURN(batch.lines, tx.LogsAfter(name, after, kEventsACall));
      batch.ended = IsTerminal(record.job.state()) && batch.lines.size() < kEventsACall;
      return absl::OkStatus();
    });
    if (!status.ok()) return NoSuchJob(status, name);
    if (!batch.lines.empty() || batch.ended) return batch;
    ASSIGN_OR_RETURN(const bool changed, AwaitChange(std::string(name), seen, give_up, wait));
    if (!changed) return batch;
  }
}

absl::StatusOr<ReportDigests> JobService::Impl::GetReport(absl::string_view name) {
  ASSIGN_OR_RETURN(const JobRecord record, Find(name));
  if (record.job.result().report_digest().empty()) {
    return WithReason(absl::FailedPreconditionError(absl::StrCat(
                          name, " has no report: it is ", v1::JobState_Name(record.job.state()))),
                      "NO_REPORT");
  }
  return ReportDigests{record.job.result().report_digest(), record.report_text_digest};
}

void JobService::Impl::StopLeasing() {
  absl::MutexLock lock(&mutex_);
  leasing_ = false;
}

void JobService::Impl::Shutdown() {
  absl::MutexLock lock(&mutex_);
  leasing_ = false;
  shutdown_ = true;
  changed_.SignalAll();
  work_.SignalAll();
}

absl::StatusOr<JobStats> JobService::Impl::Stats() {
  JobStats stats;
  RETURN_IF_ERROR(store_->Read([&](ReadTransaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const std::vector<int64_t> counts, tx.CountJobs());
    for (size_t i = 1; i < counts.size(); ++i) stats.jobs[static_cast<v1::JobState>(i)] = counts[i];
    return absl::OkStatus();
  }));
  absl::MutexLock lock(&mutex_);
  const absl::Time now = clock_->Now();
  const absl::Time oldest = queue_.OldestRunnable();
  if (oldest < now) stats.oldest_queued = now - oldest;
  std::map<std::string, int64_t> busy;
  for (const auto& [job, lease] : leases_) ++busy[lease.worker];
  for (const auto& [name, worker] : workers_) {
    ++stats.workers[worker.worker.state()];
    stats.busy_slots += busy[name];
    if (worker.worker.state() == v1::WORKER_STATE_READY) {
      stats.free_slots += std::max<int64_t>(0, worker.worker.slots() - busy[name]);
    }
  }
  return stats;
}

// --- The public face ---

absl::StatusOr<std::unique_ptr<JobService>> JobService::Create(JobServiceOptions options,
                                                               Store* store, BlobSizes* blobs,
                                                               const Clock* clock, IdGenerator* ids,
                                                               RandomSource* random,
                                                               JobObserver* observer) {
  auto impl =
      std::make_unique<Impl>(std::move(options), store, blobs, clock, ids, random, observer);
  RETURN_IF_ERROR(impl->Recover());
  return std::unique_ptr<JobService>(new JobService(std::move(impl)));
}

JobService::JobService(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
JobService::~JobService() { impl_->Shutdown(); }

absl::StatusOr<v1::Job> JobService::CreateJob(const CreateJobArgs& args) {
  return impl_->CreateJob(args);
}
absl::StatusOr<v1::Job> JobService::GetJob(absl::string_view name) { return impl_->GetJob(name); }
absl::StatusOr<v1::ListJobsResponse> JobService::ListJobs(const v1::ListJobsRequest& request) {
  return impl_->ListJobs(request);
}
absl::StatusOr<v1::Job> JobService::CancelJob(absl::string_view name) {
  return impl_->CancelJob(name);
}
absl::StatusOr<v1::Job> JobService::RetryJob(absl::string_view name,
                                             const std::string& request_id) {
  return impl_->RetryJob(name, request_id);
}
absl::Status JobService::DeleteJob(absl::string_view name) { return impl_->DeleteJob(name); }
absl::StatusOr<v1::Job> JobService::WaitJob(absl::string_view name, const WaitOptions& wait) {
  return impl_->WaitJob(name, wait);
}
absl::StatusOr<EventBatch> JobService::NextEvents(absl::string_view name, int64_t after,
                                                  const WaitOptions& wait) {
  return impl_->NextEvents(name, after, wait);
}
absl::StatusOr<LogBatch> JobService::NextLogs(absl::string_view name, int64_t after,
                                              const WaitOptions& wait) {
  return impl_->NextLogs(name, after, wait);
}
absl::StatusOr<ReportDigests> JobService::GetReport(absl::string_view name) {
  return impl_->GetReport(name);
}
absl::StatusOr<InspectSummary> JobService::InspectModel(
    absl::string_view model, const std::map<std::string, int64_t>& bindings,
    const WaitOptions& wait) {
  return impl_->InspectModel(model, bindings, wait);
}
absl::StatusOr<v1::SynchronizeResponse> JobService::Synchronize(
    const v1::SynchronizeRequest& request, const WaitOptions& wait) {
  return impl_->Synchronize(request, wait);
}
absl::StatusOr<v1::CompleteAttemptResponse> JobService::CompleteAttempt(
    const v1::CompleteAttemptRequest& request) {
  return impl_->CompleteAttempt(request);
}
absl::StatusOr<v1::SaveCheckpointResponse> JobService::SaveCheckpoint(
    const v1::SaveCheckpointRequest& request) {
  return impl_->SaveCheckpoint(request);
}
v1::ListWorkersResponse JobService::ListWorkers() { return impl_->ListWorkers(); }
void JobService::WorkerDied(absl::string_view worker_id, absl::string_view cause) {
  impl_->WorkerDied(worker_id, cause);
}
void JobService::Tick() { impl_->Tick(); }
void JobService::StopLeasing() { impl_->StopLeasing(); }
void JobService::Shutdown() { impl_->Shutdown(); }
absl::StatusOr<JobStats> JobService::Stats() { return impl_->Stats(); }

absl::StatusOr<std::vector<std::string>> JobService::ReferencedDigests() {
  std::vector<std::string> digests;
  RETURN_IF_ERROR(impl_->store()->Read([&](ReadTransaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(digests, tx.ReferencedDigests());
    return absl::OkStatus();
  }));
  return digests;
}

absl::StatusOr<bool> JobService::IsReferenced(absl::string_view digest) {
  bool referenced = true;
  RETURN_IF_ERROR(impl_->store()->Read([&](ReadTransaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(referenced, tx.IsReferenced(digest));
    return absl::OkStatus();
  }));
  return referenced;
}

class JobTicker::Impl {
 public:
  Impl(JobService* service, absl::Duration interval)
      : thread_([this, service, interval] { Run(service, interval); }) {}
  ~Impl() {
    {
      absl::MutexLock lock(&mutex_);
      stop_ = true;
    }
    thread_.join();
  }

 private:
  void Run(JobService* service, absl::Duration interval) {
    while (true) {
      {
        absl::MutexLock lock(&mutex_);
        if (mutex_.AwaitWithTimeout(absl::Condition(&stop_), interval)) return;
      }
      service->Tick();
    }
  }

  absl::Mutex mutex_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses the others
};

JobTicker::JobTicker(JobService* service, absl::Duration interval)
    : impl_(std::make_unique<Impl>(service, interval)) {}
JobTicker::~JobTicker() = default;

}  // namespace lathe::server
