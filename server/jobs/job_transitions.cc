// How a job changes: one transaction, then memory and metrics.
#include <google/protobuf/descriptor.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "server/jobs/job_service_impl.h"
#include "server/jobs/timestamps.h"

namespace lathe::server {
namespace {

// How often, and after what time, request ids of deleted resources are forgotten.
constexpr absl::Duration kTidyInterval = absl::Hours(1);
constexpr absl::Duration kOrphanRequestAge = absl::Hours(7 * 24);

}  // namespace

std::string MethodLabel(const v1::Job& job) {
  if (job.kind() == v1::JOB_KIND_EVALUATE) return "evaluate";
  if (job.recipe().steps_size() != 1) return "pipeline";
  const v1::Step& step = job.recipe().steps(0);
  const auto* field = step.GetReflection()->GetOneofFieldDescriptor(
      step, v1::Step::descriptor()->FindOneofByName("method"));
  return field == nullptr ? "pipeline" : field->name();
}

std::string ReasonLabel(v1::JobErrorReason reason) {
  return std::string(absl::StripPrefix(v1::JobErrorReason_Name(reason), "JOB_ERROR_REASON_"));
}

absl::Status StaleLease(absl::string_view job, int64_t token) {
  return WithReason(absl::AbortedError(absl::StrCat("lease ", token, " of ", job,
                                                    " was lost; what it did is thrown away")),
                    "STALE_LEASE");
}

absl::Status JobService::Impl::AppendStateEvent(WriteTransaction& tx, JobRecord& record) {
  v1::JobEvent event;
  event.set_sequence(record.job.event_sequence() + 1);
  record.job.set_event_sequence(event.sequence());
  *event.mutable_time() = ToProto(clock_->Now());
  *event.mutable_state_change() = record.job;
  return tx.AppendEvent(record.job.name(), event);
}

absl::StatusOr<JobService::Impl::Change> JobService::Impl::Apply(
    absl::string_view name, JobEventKind kind, int64_t token, const v1::JobError& error,
    const std::function<absl::Status(WriteTransaction&, JobRecord&, const JobTransition&)>& more) {
  Change change;
  const absl::Status status = store_->Write([&](WriteTransaction& tx) -> absl::Status {
    change = Change();  // the work may run again from its start
    ASSIGN_OR_RETURN(change.record, tx.GetJob(name));
    JobRecord& record = change.record;
    v1::Job& job = record.job;
    if (token != 0 && record.lease_token != token) return StaleLease(name, token);
    ASSIGN_OR_RETURN(const JobTransition transition,
                     ApplyJobEvent(job.state(), kind, {job.attempt_count(), job.max_attempts()}));
    change.transition = transition;
    if (transition.unchanged) return absl::OkStatus();
    const absl::Time now = clock_->Now();
    job.set_state(transition.next);
    if (transition.begin_attempt) {
      ASSIGN_OR_RETURN(record.lease_token, tx.NextLeaseToken());
      ++record.attempts_begun;
      job.set_attempt_count(job.attempt_count() + 1);
      record.attempt_time = now;
      record.pending_spent += now - record.queued_time;
      if (!job.has_start_time()) *job.mutable_start_time() = ToProto(now);
      job.clear_next_attempt_time();
      job.clear_progress();
    }
    if (transition.end_attempt) {
      record.lease_token = 0;
      if (!transition.ended) job.clear_progress();
    }
    if (transition.uncount_attempt) job.set_attempt_count(job.attempt_count() - 1);
    if (transition.requeue_now || transition.requeue_after_backoff) {
      absl::Time next = now;
      if (transition.requeue_after_backoff) {
        next +=
            BackoffDelay(options_.backoff, std::max(1, job.attempt_count()), random_->Uniform());
        *job.mutable_next_attempt_time() = ToProto(next);
      }
      record.queued_time = now;
    }
    if (error.reason() != v1::JOB_ERROR_REASON_UNSPECIFIED &&
        transition.next != v1::JOB_STATE_CANCELLED && transition.next != v1::JOB_STATE_CANCELLING) {
      *job.mutable_error() = error;
      job.mutable_error()->set_will_retry(!transition.ended);
      if (transition.attempts_exhausted && job.max_attempts() > 1) {
        job.mutable_error()->set_message(absl::StrCat(
            "all ", job.max_attempts(), " attempts failed; the last: ", ReasonLabel(error.reason()),
            ": ", error.message()));
        job.mutable_error()->set_reason(v1::JOB_ERROR_REASON_ATTEMPTS_EXHAUSTED);
      }
    }
    if (transition.ended) {
      *job.mutable_end_time() = ToProto(now);
      job.clear_next_attempt_time();
      if (transition.next != v1::JOB_STATE_FAILED) job.clear_error();
      ASSIGN_OR_RETURN(change.dropped_checkpoint, DropCheckpoint(tx, record));
    }
    if (more) RETURN_IF_ERROR(more(tx, record, transition));
    RETURN_IF_ERROR(AppendStateEvent(tx, record));
    return tx.UpdateJob(record);
  });
  if (!status.ok()) return status;
  return change;
}

void JobService::Impl::EnqueueLocked(const JobRecord& record) {
  const v1::Job& job = record.job;
  QueuedJob queued{job.name(), record.tenant, job.priority(), record.order, record.queued_time};
  // Inspections are somebody waiting at a terminal.
  if (record.kind == v1::ATTEMPT_KIND_INSPECT) queued.priority = 1000;
  if (job.has_max_pending_duration()) {
    const absl::Duration left = FromProto(job.max_pending_duration()) - record.pending_spent;
    pending_deadlines_[job.name()] = record.queued_time + left;
  }
  if (job.has_next_attempt_time() && FromProto(job.next_attempt_time()) > clock_->Now()) {
    queued.runnable_time = FromProto(job.next_attempt_time());
    delayed_[job.name()] = queued;
  } else {
    queue_.Add(queued);
    work_.SignalAll();
  }
}

void JobService::Impl::ForgetLocked(const std::string& job) {
  queue_.Remove(job);
  delayed_.erase(job);
  pending_deadlines_.erase(job);
  leases_.erase(job);
  progress_.erase(job);
  ChangedLocked(job, /*ended=*/true);
}

Lease JobService::Impl::LeaseOf(const JobRecord& record) const {
  const absl::Time now = clock_->Now();
  Lease lease;
  lease.token = record.lease_token;
  lease.worker = record.job.worker();
  lease.expiry = now + options_.lease_duration;
  lease.run_deadline = record.attempt_time + FromProto(record.attempt.max_run_duration()) +
                       options_.run_deadline_grace;
  lease.stop_requested = record.job.state() == v1::JOB_STATE_CANCELLING;
  return lease;
}

void JobService::Impl::ChangedLocked(const std::string& job, bool ended) {
  if (ended) {
    versions_.erase(job);
  } else {
    versions_[job] = next_version_++;
  }
  changed_.SignalAll();
}

void JobService::Impl::Settle(const Change& change, JobEventKind kind) {
  const JobRecord& record = change.record;
  const JobTransition& transition = change.transition;
  if (transition.unchanged) return;
  const std::string& name = record.job.name();
  {
    absl::MutexLock lock(&mutex_);
    if (transition.end_attempt) {
      leases_.erase(name);
      progress_.erase(name);
      work_.SignalAll();  // a slot is free
    }
    if (transition.stop_worker) {
      // The lease may be so young that its maker has not noted it yet: then it is noted here.
      leases_.try_emplace(name, LeaseOf(record)).first->second.stop_requested = true;
      work_.SignalAll();
    }
    if (transition.ended || transition.begin_attempt) {
      queue_.Remove(name);
      delayed_.erase(name);
      pending_deadlines_.erase(name);
    }
    if (transition.requeue_now || transition.requeue_after_backoff) EnqueueLocked(record);
    ChangedLocked(name, transition.ended);
    if (transition.ended && record.kind == v1::ATTEMPT_KIND_INSPECT) {
      ended_inspections_.emplace_back(clock_->Now(), name);
      for (auto it = inspecting_.begin(); it != inspecting_.end(); ++it) {
        if (it->second == name) {
          inspecting_.erase(it);
          break;
        }
      }
    }
  }
  if (transition.end_attempt) {
    observer_->RunDuration(clock_->Now() - record.attempt_time);
    const bool died = record.job.error().reason() == v1::JOB_ERROR_REASON_WORKER_CRASHED ||
                      record.job.error().reason() == v1::JOB_ERROR_REASON_WORKER_OOM_KILLED ||
                      record.job.error().reason() == v1::JOB_ERROR_REASON_RUN_DEADLINE;
    if (died) observer_->WorkerExit(ReasonLabel(record.job.error().reason()));
  }
  // The known death of a worker ends a lease before its time, and is counted as an exit.
  if (kind == JobEventKind::kLeaseLost &&
      record.job.error().reason() != v1::JOB_ERROR_REASON_WORKER_CRASHED) {
    observer_->LeaseExpired();
  }
  if (transition.requeue_after_backoff)
    observer_->AttemptRetried(ReasonLabel(record.job.error().reason()));
  if (transition.ended) Ended(record);
  DiscardUnlessNamed(change.dropped_checkpoint);
}

void JobService::Impl::Ended(const JobRecord& record) {
  if (record.kind != v1::ATTEMPT_KIND_COMPRESS) return;
  const v1::Job& job = record.job;
  const char* outcome = job.state() == v1::JOB_STATE_SUCCEEDED ? "succeeded"
                        : job.state() == v1::JOB_STATE_FAILED  ? "failed"
                                                               : "cancelled";
  const std::string reason =
      job.state() == v1::JOB_STATE_FAILED ? ReasonLabel(job.error().reason()) : "";
  observer_->JobCompleted(MethodLabel(job), outcome, reason);
  LogInfo("job ended", {{"job", job.name()},
                        {"outcome", outcome},
                        {"reason", reason},
                        {"attempts", job.attempt_count()}});
}

void JobService::Impl::Tick() {
  const absl::Time now = clock_->Now();
  struct Due {
    std::string job;
    JobEventKind kind;
    int64_t token;
    v1::JobError error;
  };
  std::vector<Due> due;
  std::vector<std::pair<std::string, int64_t>> progress;
  std::vector<std::string> inspections;
  bool tidy = false;
  {
    absl::MutexLock lock(&mutex_);
    const auto error = [](v1::JobErrorReason reason, std::string message) {
      v1::JobError out;
      out.set_reason(reason);
      out.set_message(std::move(message));
      return out;
    };
    for (const auto& [job, lease] : leases_) {
      if (!lease.death.empty()) {
        due.push_back({job, JobEventKind::kLeaseLost, lease.token,
                       error(v1::JOB_ERROR_REASON_WORKER_CRASHED,
                             absl::StrCat("the process of ", lease.worker, " ended with ",
                                          lease.death, " while it had this job"))});
      } else if (lease.expiry <= now) {
        due.push_back({job, JobEventKind::kLeaseLost, lease.token,
                       error(v1::JOB_ERROR_REASON_LEASE_LOST,
                             absl::StrCat(lease.worker, " was silent for more than ",
                                          absl::FormatDuration(options_.lease_duration),
                                          ": it died, hangs, or cannot reach the server"))});
      } else if (lease.run_deadline <= now) {
        due.push_back({job, JobEventKind::kRunDeadline, lease.token,
                       error(v1::JOB_ERROR_REASON_RUN_DEADLINE,
                             "the attempt ran past the job's max_run_duration; raise it, or make "
                             "the recipe lighter")});
      }
    }
    for (auto it = delayed_.begin(); it != delayed_.end();) {
      if (it->second.runnable_time <= now) {
        queue_.Add(it->second);
        it = delayed_.erase(it);
        work_.SignalAll();
      } else {
        ++it;
      }
    }
    for (const auto& [job, deadline] : pending_deadlines_) {
      if (deadline <= now) {
        due.push_back(
            {job, JobEventKind::kPendingDeadline, 0,
             error(
                 v1::JOB_ERROR_REASON_PENDING_DEADLINE,
                 "the job waited in the queue past its max_pending_duration; are there workers?")});
      }
    }
    for (const auto& [job, memo] : progress_) {
      if (memo.dirty && now - memo.stored >= options_.progress_interval)
        progress.emplace_back(job, memo.token);
    }
    for (auto it = workers_.begin(); it != workers_.end();) {
      const absl::Duration silent = now - it->second.last_seen;
      if (silent > absl::Hours(1)) {
        it = workers_.erase(it);
        continue;
      }
      if (silent > options_.lease_duration) it->second.worker.set_state(v1::WORKER_STATE_LOST);
      ++it;
    }
    while (!ended_inspections_.empty() &&
           now - ended_inspections_.front().first > absl::Minutes(1)) {
      inspections.push_back(ended_inspections_.front().second);
      ended_inspections_.erase(ended_inspections_.begin());
    }
    tidy = now - tidied_ > kTidyInterval;
    if (tidy) tidied_ = now;
  }
  for (const Due& one : due) {
    const absl::StatusOr<Change> change = Apply(one.job, one.kind, one.token, one.error, nullptr);
    if (change.ok()) {
      LogWarning("job event", {{"job", one.job}, {"event", JobEventKindName(one.kind)}});
      Settle(*change, one.kind);
    } else if (change.status().code() != absl::StatusCode::kUnavailable &&
               change.status().code() != absl::StatusCode::kResourceExhausted) {
      // Somebody was faster: memory is behind the store for this job.
      absl::MutexLock lock(&mutex_);
      if (one.kind == JobEventKind::kPendingDeadline) {
        pending_deadlines_.erase(one.job);
      } else if (auto it = leases_.find(one.job);
                 it != leases_.end() && it->second.token == one.token) {
        leases_.erase(it);
      }
    }
  }
  for (const auto& [job, token] : progress) {
    const absl::Status kept = StoreReport(job, token, {});
    if (!kept.ok()) LogDebug("progress was not kept", {{"job", job}, {"why", kept.message()}});
  }
  for (const std::string& job : inspections) {
    const absl::Status dropped =
        store_->Write([&](WriteTransaction& tx) { return tx.DeleteJob(job); });
    if (!dropped.ok() && dropped.code() != absl::StatusCode::kNotFound) {
      LogWarning("an ended inspection was not dropped", {{"job", job}, {"why", dropped.message()}});
    }
  }
  if (tidy) {
    const absl::Status status = store_->Write([&](WriteTransaction& tx) {
      return tx.DeleteOrphanRequests(now - kOrphanRequestAge).status();
    });
    if (!status.ok()) LogWarning("old request ids were not dropped", {{"why", status.message()}});
  }
}

}  // namespace lathe::server
