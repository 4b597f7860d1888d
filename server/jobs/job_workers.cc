// What workers say and hear: Synchronize, CompleteAttempt.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "server/jobs/cache_key.h"
#include "server/jobs/job_service_impl.h"
#include "server/jobs/timestamps.h"
#include "server/store/status_reason.h"

namespace lathe::server {
namespace {

// A worker that was told to stop an attempt gets this long before it is told again.
constexpr absl::Duration kTellAgain = absl::Seconds(2);
constexpr int kMaxLogLineBytes = 4096;

absl::Status Bad(absl::string_view field, absl::string_view what) {
  return WithField(WithReason(absl::InvalidArgumentError(what), "BAD_REQUEST"), field);
}

// Log lines come from a process that read an untrusted model.
std::string CleanLine(const std::string& line) {
  std::string out = line.substr(0, kMaxLogLineBytes);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 && c != '\t') c = ' ';
    if (static_cast<unsigned char>(c) >= 0x80)
      c = '?';  // a cut or broken sequence is no valid proto string
  }
  return out;
}

}  // namespace

absl::Status JobService::Impl::CheckSynchronize(const v1::SynchronizeRequest& request) const {
  const std::string& id = request.worker_id();
  const bool plain =
      !id.empty() && id.size() <= 63 && std::all_of(id.begin(), id.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
      });
  if (!plain) return Bad("worker_id", "must be 1 to 63 characters of [a-z0-9-]");
  if (request.slots() < 1 || request.slots() > 256) {
    return Bad("slots", absl::StrCat("must be in [1, 256], got ", request.slots()));
  }
  return absl::OkStatus();
}

void JobService::Impl::NoteWorker(const v1::SynchronizeRequest& request) {
  const std::string name = absl::StrCat("workers/", request.worker_id());
  const absl::Time now = clock_->Now();
  absl::MutexLock lock(&mutex_);
  WorkerRecord& record = workers_[name];
  record.last_seen = now;
  record.draining = request.draining();
  record.worker.set_name(name);
  record.worker.set_state(request.draining() ? v1::WORKER_STATE_DRAINING : v1::WORKER_STATE_READY);
  record.worker.set_slots(request.slots());
  record.worker.set_build_id(request.build_id());
  record.worker.set_host(request.host());
  for (const v1::RunningAttempt& running : request.running()) {
    const auto it = leases_.find(running.job());
    if (it == leases_.end() || it->second.token != running.lease_token()) continue;
    it->second.expiry = now + options_.lease_duration;
    it->second.worker = name;
    if (running.has_progress()) {
      ProgressMemo& memo = progress_[running.job()];
      memo.progress = running.progress();
      memo.dirty = true;
      memo.token = running.lease_token();
    }
  }
}

void JobService::Impl::NoteReports(const v1::SynchronizeRequest& request) {
  for (const v1::RunningAttempt& running : request.running()) {
    bool due = false;
    {
      absl::MutexLock lock(&mutex_);
      const auto it = progress_.find(running.job());
      due = it != progress_.end() && it->second.dirty &&
            clock_->Now() - it->second.stored >= options_.progress_interval;
    }
    if (!due && running.log_lines().empty()) continue;
    const std::vector<std::string> lines(running.log_lines().begin(), running.log_lines().end());
    const absl::Status status =
        StoreReport(running.job(), running.lease_token(), lines, /*force=*/false);
    if (!status.ok())
      LogDebug("a worker's report was not kept",
               {{"job", running.job()}, {"why", status.message()}});
  }
}

absl::Status JobService::Impl::StoreReport(const std::string& job, int64_t token,
                                           const std::vector<std::string>& lines, bool force) {
  std::optional<v1::JobProgress> progress;
  {
    absl::MutexLock lock(&mutex_);
    const auto it = progress_.find(job);
    if (it != progress_.end() && it->second.dirty && it->second.token == token &&
        (force || clock_->Now() - it->second.stored >= options_.progress_interval)) {
      progress = it->second.progress;
      it->second.dirty = false;
      it->second.stored = clock_->Now();
    }
  }
  if (!progress && lines.empty()) return absl::OkStatus();
  const absl::Status status = store_->Write([&](WriteTransaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(JobRecord record, tx.GetJob(job));
    if (record.lease_token != token) {
      return WithReason(absl::AbortedError(absl::StrCat("lease ", token, " of ", job, " was lost")),
                        "STALE_LEASE");
    }
    v1::JobEvent event;
    *event.mutable_time() = ToProto(clock_->Now());
    const auto append = [&]() -> absl::Status {
      event.set_sequence(record.job.event_sequence() + 1);
      record.job.set_event_sequence(event.sequence());
      return tx.AppendEvent(job, event);
    };
    for (const std::string& raw : lines) {
      std::string line = CleanLine(raw);
      if (record.log_lines > options_.max_log_lines) break;
      if (record.log_lines == options_.max_log_lines ||
          record.log_bytes + static_cast<int64_t>(line.size()) > options_.max_log_bytes) {
        line = "(the log is full; further lines are dropped)";
        record.log_lines = options_.max_log_lines;
      }
      ++record.log_lines;
      record.log_bytes += static_cast<int64_t>(line.size());
      v1::JobLog* log = event.mutable_log();
      log->set_line(line);
      log->set_attempt(record.attempts_begun);
      log->set_sequence(record.job.event_sequence() + 1);
      *log->mutable_time() = event.time();
      RETURN_IF_ERROR(append());
    }
    if (progress) {
      record.job.mutable_progress()->CopyFrom(*progress);
      *event.mutable_progress() = *progress;
      RETURN_IF_ERROR(append());
      if (++record.progress_events > options_.max_progress_events) {
        ASSIGN_OR_RETURN(record.progress_events, tx.ThinProgressEvents(job));
      }
    }
    return tx.UpdateJob(record);
  });
  if (!status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  if (versions_.count(job) != 0) ChangedLocked(job, /*ended=*/false);
  return absl::OkStatus();
}

void JobService::Impl::CollectStopsLocked(const v1::SynchronizeRequest& request,
                                          v1::SynchronizeResponse* response) {
  const std::string name = absl::StrCat("workers/", request.worker_id());
  const absl::Time now = clock_->Now();
  std::map<std::string, absl::Time>& strays = workers_[name].strays_told;
  for (const v1::RunningAttempt& running : request.running()) {
    const auto it = leases_.find(running.job());
    absl::Time* told = nullptr;
    std::string reason;
    if (it == leases_.end() || it->second.token != running.lease_token()) {
      told = &strays.try_emplace(running.job(), absl::InfinitePast()).first->second;
      reason = "the lease was lost";
    } else if (it->second.stop_requested) {
      told = &it->second.stop_told;
      reason = "cancelled";
    }
    if (told == nullptr || now - *told < kTellAgain) continue;
    *told = now;
    v1::StopAttempt* stop = response->add_stop();
    stop->set_job(running.job());
    stop->set_lease_token(running.lease_token());
    stop->set_reason(reason);
  }
  for (auto it = strays.begin(); it != strays.end();) {
    it = now - it->second > absl::Minutes(1) ? strays.erase(it) : std::next(it);
  }
}

std::optional<QueuedJob> JobService::Impl::TakeForLocked(const std::string& worker) {
  const auto it = workers_.find(worker);
  if (!leasing_ || shutdown_ || it == workers_.end() || it->second.draining) return std::nullopt;
  const int64_t busy = std::count_if(leases_.begin(), leases_.end(), [&](const auto& entry) {
    return entry.second.worker == worker;
  });
  if (busy >= it->second.worker.slots()) return std::nullopt;
  return queue_.Take([](const QueuedJob&) { return true; });
}

absl::StatusOr<std::optional<v1::Attempt>> JobService::Impl::LeaseTo(const QueuedJob& queued,
                                                                     const std::string& worker) {
  const absl::StatusOr<Change> change =
      Apply(queued.job, JobEventKind::kLeased, 0, {},
            [&](WriteTransaction&, JobRecord& record, const JobTransition&) {
              record.job.set_worker(worker);
              return absl::OkStatus();
            });
  if (!change.ok()) {
    const absl::StatusCode code = change.status().code();
    if (code == absl::StatusCode::kNotFound || code == absl::StatusCode::kFailedPrecondition)
      return std::nullopt;
    absl::MutexLock lock(&mutex_);
    queue_.Add(queued);  // the store cannot be written now; the job keeps its place
    return change.status();
  }
  const JobRecord& record = change->record;
  const absl::Time now = clock_->Now();
  {
    absl::MutexLock lock(&mutex_);
    Lease lease;
    lease.token = record.lease_token;
    lease.worker = worker;
    lease.expiry = now + options_.lease_duration;
    lease.run_deadline =
        now + FromProto(record.attempt.max_run_duration()) + options_.run_deadline_grace;
    leases_[queued.job] = lease;
  }
  Settle(*change, JobEventKind::kLeased);
  // A cancellation between the commit and the lines above found no lease to mark.
  bool cancelled = false;
  RETURN_IF_ERROR(store_->Read([&](ReadTransaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const JobRecord now_record, tx.GetJob(queued.job));
    cancelled = now_record.job.state() == v1::JOB_STATE_CANCELLING;
    return absl::OkStatus();
  }));
  if (cancelled) {
    absl::MutexLock lock(&mutex_);
    if (auto it = leases_.find(queued.job); it != leases_.end()) it->second.stop_requested = true;
  }
  observer_->QueueDuration(now - queued.runnable_time);
  v1::Attempt attempt = record.attempt;
  attempt.set_job(queued.job);
  attempt.set_lease_token(record.lease_token);
  attempt.set_attempt_number(record.attempts_begun);
  attempt.set_kind(record.kind);
  return attempt;
}

absl::StatusOr<v1::SynchronizeResponse> JobService::Impl::Synchronize(
    const v1::SynchronizeRequest& request, const WaitOptions& wait) {
  RETURN_IF_ERROR(CheckSynchronize(request));
  NoteWorker(request);
  NoteReports(request);
  const std::string name = absl::StrCat("workers/", request.worker_id());
  // A worker counts its leases from when it asked: an answer must not be older than a fraction of
  // one.
  const absl::Duration hold = std::min(wait.timeout, options_.lease_duration / 3);
  const absl::Time give_up = absl::Now() + hold;
  v1::SynchronizeResponse response;
  *response.mutable_lease_duration() = ToProto(options_.lease_duration);
  while (true) {
    std::optional<QueuedJob> next;
    {
      absl::MutexLock lock(&mutex_);
      CollectStopsLocked(request, &response);
      next = TakeForLocked(name);
      if (!next) {
        const absl::Duration left = give_up - absl::Now();
        if (!response.start().empty() || !response.stop().empty() || left <= absl::ZeroDuration() ||
            shutdown_) {
          // A call that was held is a sign of life too.
          workers_[name].last_seen = clock_->Now();
          return response;
        }
        changed_.WaitWithTimeout(&mutex_, std::min(left, absl::Milliseconds(500)));
      }
    }
    if (wait.cancelled && wait.cancelled()) return absl::CancelledError("the worker is gone");
    if (!next) continue;
    absl::StatusOr<std::optional<v1::Attempt>> attempt = LeaseTo(*next, name);
    if (!attempt.ok()) {
      if (!response.start().empty() || !response.stop().empty()) return response;
      return attempt.status();
    }
    if (*attempt) *response.add_start() = **std::move(attempt);
  }
}

absl::StatusOr<v1::CompleteAttemptResponse> JobService::Impl::CompleteAttempt(
    const v1::CompleteAttemptRequest& request) {
  if (request.outcome_case() == v1::CompleteAttemptRequest::OUTCOME_NOT_SET) {
    return Bad("outcome", "must be success, failure, cancelled or interrupted");
  }
  // What is said is part of the outcome; how much memory it took and what was logged is not.
  v1::CompleteAttemptRequest said = request;
  said.clear_log_lines();
  said.clear_peak_rss_bytes();
  said.clear_worker_id();
  const std::string outcome = Fingerprint(said);
  bool repeated = false;
  RETURN_IF_ERROR(store_->Read([&](ReadTransaction& tx) -> absl::Status {
    const absl::StatusOr<JobRecord> record = tx.GetJob(request.job());
    if (record.status().code() == absl::StatusCode::kNotFound) {
      return WithReason(absl::AbortedError(absl::StrCat(request.job(), " is gone")), "STALE_LEASE");
    }
    if (!record.ok()) return record.status();
    repeated =
        record->completed_token == request.lease_token() && record->completed_outcome == outcome;
    return absl::OkStatus();
  }));
  if (repeated) return v1::CompleteAttemptResponse();

  const std::vector<std::string> lines(request.log_lines().begin(), request.log_lines().end());
  StoreReport(request.job(), request.lease_token(), lines, /*force=*/true).IgnoreError();

  v1::AttemptSuccess success = request.success();
  v1::JobError error;
  JobEventKind kind = JobEventKind::kSucceeded;
  switch (request.outcome_case()) {
    case v1::CompleteAttemptRequest::kSuccess: {
      std::vector<std::string> digests = {success.report_digest()};
      if (!success.report_text_digest().empty()) digests.push_back(success.report_text_digest());
      for (v1::ModelFile& file : *success.mutable_files()) {
        digests.push_back(file.digest());
        if (const absl::StatusOr<int64_t> size = blobs_->BlobSize(file.digest()); size.ok())
          file.set_size_bytes(*size);
      }
      for (const std::string& digest : digests) {
        if (!blobs_->BlobSize(digest).ok()) {
          return WithReason(
              absl::FailedPreconditionError(absl::StrCat(
                  "blob \"", digest, "\" of the result is not stored; upload it and repeat")),
              "BLOB_MISSING");
        }
      }
      break;
    }
    case v1::CompleteAttemptRequest::kFailure:
      kind = request.failure().transient() ? JobEventKind::kFailedTransient
                                           : JobEventKind::kFailedPermanent;
      error.set_reason(request.failure().reason() == v1::JOB_ERROR_REASON_UNSPECIFIED
                           ? v1::JOB_ERROR_REASON_INTERNAL
                           : request.failure().reason());
      error.set_message(request.failure().message().substr(0, 16384));
      break;
    case v1::CompleteAttemptRequest::kCancelled:
      kind = JobEventKind::kStopped;
      break;
    default:
      kind = JobEventKind::kInterrupted;
      break;
  }
  const absl::StatusOr<Change> change =
      Apply(request.job(), kind, request.lease_token(), error,
            [&](WriteTransaction& tx, JobRecord& record,
                const JobTransition& transition) -> absl::Status {
              record.completed_token = request.lease_token();
              record.completed_outcome = outcome;
              if (!transition.publish_result) return absl::OkStatus();
              v1::JobResult& result = *record.job.mutable_result();
              result.set_report_digest(success.report_digest());
              result.set_build_id(request.build_id());
              record.report_text_digest = success.report_text_digest();
              if (record.kind == v1::ATTEMPT_KIND_INSPECT) {
                v1::Attempt identity;
                identity.set_kind(record.kind);
                *identity.mutable_bindings() = record.attempt.bindings();
                const absl::Status kept =
                    tx.PutInspect(record.job.model(), ResultCacheKey(identity, options_.build_id),
                                  {success.report_digest(), success.report_text_digest()});
                return kept.code() == absl::StatusCode::kNotFound ? absl::OkStatus() : kept;
              }
              *result.mutable_files() = success.files();
              result.set_main_file(success.main_file());
              RETURN_IF_ERROR(PublishModel(tx, record, &result));
              return tx.PutResult(ResultCacheKey(record.attempt, request.build_id()),
                                  {result, record.report_text_digest});
            });
  if (!change.ok()) {
    if (ReasonOf(change.status()) == "STALE_LEASE") observer_->StaleCompletion();
    return change.status();
  }
  if (request.peak_rss_bytes() > 0) observer_->PeakRss(request.peak_rss_bytes());
  if (change->transition.publish_result && success.compression_ratio() > 0 &&
      change->record.kind == v1::ATTEMPT_KIND_COMPRESS) {
    observer_->CompressionRatio(MethodLabel(change->record.job), success.compression_ratio());
  }
  Settle(*change, kind);
  return v1::CompleteAttemptResponse();
}

v1::ListWorkersResponse JobService::Impl::ListWorkers() {
  v1::ListWorkersResponse response;
  absl::MutexLock lock(&mutex_);
  std::map<std::string, int> busy;
  for (const auto& [job, lease] : leases_) ++busy[lease.worker];
  for (auto& [name, record] : workers_) {
    v1::Worker* worker = response.add_workers();
    *worker = record.worker;
    worker->set_busy_slots(busy[name]);
    *worker->mutable_last_seen_time() = ToProto(record.last_seen);
  }
  return response;
}

void JobService::Impl::WorkerDied(absl::string_view worker_id) {
  const std::string name = absl::StrCat("workers/", worker_id);
  absl::MutexLock lock(&mutex_);
  for (auto& [job, lease] : leases_) {
    if (lease.worker == name) lease.expiry = absl::InfinitePast();
  }
  if (auto it = workers_.find(name); it != workers_.end())
    it->second.worker.set_state(v1::WORKER_STATE_LOST);
}

}  // namespace lathe::server
