// What workers say and hear: Synchronize, CompleteAttempt.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "proto/grpc_status.h"
#include "server/jobs/cache_key.h"
#include "server/jobs/job_service_impl.h"
#include "server/jobs/text.h"
#include "server/jobs/timestamps.h"

namespace lathe::server {
namespace {

// A worker that was told to stop an attempt gets this long before it is told again.
constexpr absl::Duration kTellAgain = absl::Seconds(2);
constexpr size_t kMaxErrorMessageBytes = 16384;
constexpr size_t kMaxVersionBytes = 64;

absl::Status Bad(absl::string_view field, absl::string_view what) {
  return WithField(WithReason(absl::InvalidArgumentError(what), "BAD_REQUEST"), field);
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
  if (request.onnxruntime_version().size() > kMaxVersionBytes) {
    return Bad("onnxruntime_version",
               absl::StrCat("must be at most ", kMaxVersionBytes, " bytes, got ",
                            request.onnxruntime_version().size()));
  }
  return absl::OkStatus();
}

void JobService::Impl::NoteWorker(const v1::SynchronizeRequest& request) {
  const std::string name = absl::StrCat("workers/", request.worker_id());
  const absl::Time now = clock_->Now();
  absl::MutexLock lock(&mutex_);
  WorkerRecord& record = workers_[name];
  if (!record.death.empty()) return;
  record.last_seen = now;
  record.draining = request.draining();
  record.worker.set_name(name);
  record.worker.set_state(request.draining() ? v1::WORKER_STATE_DRAINING : v1::WORKER_STATE_READY);
  record.worker.set_slots(request.slots());
  record.worker.set_build_id(request.build_id());
  record.worker.set_host(request.host());
  record.worker.set_onnxruntime_version(request.onnxruntime_version());
  for (const v1::RunningAttempt& running : request.running()) {
    const auto it = leases_.find(running.job());
    if (it == leases_.end() || it->second.token != running.lease_token()) continue;
    it->second.expiry = now + options_.lease_duration;
    it->second.worker = name;
    NoteProgressLocked(running);
  }
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
  if (!leasing_ || shutdown_ || it == workers_.end() || it->second.draining ||
      !it->second.death.empty()) {
    return std::nullopt;
  }
  const int64_t busy = std::count_if(leases_.begin(), leases_.end(), [&](const auto& entry) {
    return entry.second.worker == worker;
  });
  if (busy >= it->second.worker.slots()) return std::nullopt;
  return queue_.Take([](const QueuedJob&) { return true; });
}

absl::StatusOr<std::optional<v1::Attempt>> JobService::Impl::LeaseTo(const QueuedJob& queued,
                                                                     const std::string& worker) {
  std::optional<KeptCheckpoint> checkpoint;
  const absl::StatusOr<Change> change =
      Apply(queued.job, JobEventKind::kLeased, 0, {},
            [&](WriteTransaction& tx, JobRecord& record, const JobTransition&) -> absl::Status {
              record.job.set_worker(worker);
              checkpoint.reset();
              if (record.job.has_checkpoint_time()) {
                ASSIGN_OR_RETURN(checkpoint, tx.FindCheckpoint(queued.job));
              }
              return absl::OkStatus();
            });
  if (!change.ok()) {
    const absl::StatusCode code = change.status().code();
    absl::MutexLock lock(&mutex_);
    if (code == absl::StatusCode::kNotFound || code == absl::StatusCode::kFailedPrecondition) {
      ForgetLocked(queued.job);
      return std::nullopt;
    }
    queue_.Add(queued);  // the store cannot be written now; the job keeps its place
    return change.status();
  }
  const JobRecord& record = change->record;
  const absl::Time now = clock_->Now();
  {
    absl::MutexLock lock(&mutex_);
    // A cancellation right behind the commit may have made the entry (see Settle): it stays marked.
    Lease& lease = leases_.try_emplace(queued.job, LeaseOf(record)).first->second;
    // The worker may have died meanwhile.
    if (auto it = workers_.find(worker); it != workers_.end()) lease.death = it->second.death;
  }
  Settle(*change, JobEventKind::kLeased);
  observer_->QueueDuration(now - queued.runnable_time);
  v1::Attempt attempt = record.attempt;
  attempt.set_job(queued.job);
  attempt.set_lease_token(record.lease_token);
  attempt.set_attempt_number(record.attempts_begun);
  if (checkpoint) {
    attempt.mutable_checkpoint()->set_digest(checkpoint->digest);
    attempt.mutable_checkpoint()->set_size_bytes(checkpoint->size_bytes);
    attempt.mutable_checkpoint()->set_lease_token(checkpoint->lease_token);
  }
  return attempt;
}

absl::StatusOr<v1::SynchronizeResponse> JobService::Impl::Synchronize(
    const v1::SynchronizeRequest& request, const WaitOptions& wait) {
  RETURN_IF_ERROR(CheckSynchronize(request));
  NoteWorker(request);
  StoreReports(request);
  const std::string name = absl::StrCat("workers/", request.worker_id());
  // A worker counts its leases from when it asked: an answer must not be older than a fraction of
  // one.
  const absl::Duration hold = std::min(wait.timeout, options_.lease_duration / 3);
  const absl::Time give_up = absl::Now() + hold;
  v1::SynchronizeResponse response;
  *response.mutable_lease_duration() = ToProto(options_.lease_duration);
  while (true) {
    // Before a job is taken: a job handed to a caller that is gone would wait for its lease to
    // expire.
    if (wait.cancelled && wait.cancelled()) return absl::CancelledError("the worker is gone");
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
        work_.WaitWithTimeout(&mutex_, std::min(left, absl::Milliseconds(500)));
        continue;
      }
    }
    absl::StatusOr<std::optional<v1::Attempt>> attempt = LeaseTo(*next, name);
    if (!attempt.ok()) {
      if (!response.start().empty() || !response.stop().empty()) return response;
      return attempt.status();
    }
    if (*attempt) *response.add_start() = **std::move(attempt);
  }
}

absl::Status JobService::Impl::CheckStored(v1::AttemptSuccess* success) const {
  std::vector<std::string> digests = {success->report_digest()};
  if (!success->report_text_digest().empty()) digests.push_back(success->report_text_digest());
  for (v1::ModelFile& file : *success->mutable_files()) {
    digests.push_back(file.digest());
    if (const absl::StatusOr<int64_t> size = blobs_->BlobSize(file.digest()); size.ok())
      file.set_size_bytes(*size);
  }
  for (const std::string& digest : digests) {
    if (!blobs_->BlobSize(digest).ok()) {
      return PreconditionError(
          "BLOB_MISSING",
          {{digest, "this blob of the result is not stored; upload it and repeat"}});
    }
  }
  return absl::OkStatus();
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
  const absl::Status known = store_->Read([&](ReadTransaction& tx) -> absl::Status {
    const absl::StatusOr<JobRecord> record = tx.GetJob(request.job());
    if (absl::IsNotFound(record.status())) return StaleLease(request.job(), request.lease_token());
    if (!record.ok()) return record.status();
    repeated =
        record->completed_token == request.lease_token() && record->completed_outcome == outcome;
    return absl::OkStatus();
  });
  if (absl::IsAborted(known)) observer_->StaleCompletion();
  RETURN_IF_ERROR(known);
  if (repeated) return v1::CompleteAttemptResponse();

  const std::vector<std::string> lines(request.log_lines().begin(), request.log_lines().end());
  const std::optional<v1::JobProgress> progress =
      TakeProgress(request.job(), request.lease_token(), /*force=*/true);

  // A rejected result is a failure that leaves something to look at.
  const bool rejected = request.failure().has_rejected();
  v1::AttemptSuccess success = rejected ? request.failure().rejected() : request.success();
  v1::JobError error;
  JobEventKind kind = JobEventKind::kSucceeded;
  switch (request.outcome_case()) {
    case v1::CompleteAttemptRequest::kSuccess:
      RETURN_IF_ERROR(CheckStored(&success));
      break;
    case v1::CompleteAttemptRequest::kFailure:
      if (rejected) RETURN_IF_ERROR(CheckStored(&success));
      kind = request.failure().transient() ? JobEventKind::kFailedTransient
                                           : JobEventKind::kFailedPermanent;
      error.set_reason(request.failure().reason() == v1::JOB_ERROR_REASON_UNSPECIFIED
                           ? v1::JOB_ERROR_REASON_INTERNAL
                           : request.failure().reason());
      error.set_message(CutUtf8(request.failure().message(), kMaxErrorMessageBytes));
      break;
    case v1::CompleteAttemptRequest::kCancelled:
      kind = JobEventKind::kStopped;
      // Kept only when nobody had cancelled the job.
      error.set_reason(v1::JOB_ERROR_REASON_INTERNAL);
      error.set_message(absl::StrCat("workers/", request.worker_id(),
                                     " stopped the attempt as cancelled, but the job was not"));
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
              RETURN_IF_ERROR(AppendReport(tx, record, lines, progress));
              if (!transition.ended) record.job.clear_progress();
              // A job that was cancelled meanwhile leaves nothing.
              const bool keep = transition.publish_result ||
                                (rejected && transition.next == v1::JOB_STATE_FAILED);
              if (!keep) return absl::OkStatus();
              v1::JobResult& result = *record.job.mutable_result();
              result.set_report_digest(success.report_digest());
              result.set_build_id(request.build_id());
              result.set_rejected(rejected);
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
              if (result.files_size() > 0) RETURN_IF_ERROR(PublishModel(tx, record, &result));
              // Only what was accepted answers for other jobs.
              if (rejected) return absl::OkStatus();
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

void JobService::Impl::WorkerDied(absl::string_view worker_id, absl::string_view cause) {
  const std::string name = absl::StrCat("workers/", worker_id);
  absl::MutexLock lock(&mutex_);
  for (auto& [job, lease] : leases_) {
    if (lease.worker == name) lease.death = std::string(cause);
  }
  // The record stays for an hour, so that a call of its own still on the way finds it dead.
  WorkerRecord& record = workers_[name];
  record.worker.set_name(name);
  record.worker.set_state(v1::WORKER_STATE_LOST);
  record.death = std::string(cause);
  record.last_seen = clock_->Now();
}

}  // namespace lathe::server
