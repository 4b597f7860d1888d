// What a running attempt says of itself: progress and log lines, bounded and stored as events.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "server/jobs/job_service_impl.h"
#include "server/jobs/text.h"
#include "server/jobs/timestamps.h"

namespace lathe::server {
namespace {

constexpr size_t kMaxLogLineBytes = 4096;
constexpr size_t kMaxProgressTextBytes = 1024;

// Progress comes from a process that read an untrusted model.
v1::JobProgress CleanProgress(v1::JobProgress progress) {
  const double fraction = progress.fraction();
  progress.set_fraction(std::isfinite(fraction) ? std::clamp(fraction, 0.0, 1.0) : 0.0);
  progress.set_stage(LogLine(progress.stage(), kMaxProgressTextBytes));
  progress.set_message(LogLine(progress.message(), kMaxProgressTextBytes));
  return progress;
}

}  // namespace

void JobService::Impl::NoteProgressLocked(const v1::RunningAttempt& running) {
  if (!running.has_progress()) return;
  ProgressMemo& memo = progress_[running.job()];
  memo.progress = CleanProgress(running.progress());
  memo.dirty = true;
  memo.token = running.lease_token();
}

std::optional<v1::JobProgress> JobService::Impl::TakeProgress(const std::string& job, int64_t token,
                                                              bool force) {
  absl::MutexLock lock(&mutex_);
  const auto it = progress_.find(job);
  if (it == progress_.end() || !it->second.dirty || it->second.token != token) return std::nullopt;
  const absl::Time now = clock_->Now();
  if (!force && now - it->second.stored < options_.progress_interval) return std::nullopt;
  it->second.dirty = false;
  it->second.stored = now;
  return it->second.progress;
}

absl::Status JobService::Impl::AppendReport(WriteTransaction& tx, JobRecord& record,
                                            const std::vector<std::string>& lines,
                                            const std::optional<v1::JobProgress>& progress) {
  v1::JobEvent event;
  *event.mutable_time() = ToProto(clock_->Now());
  const auto append = [&]() -> absl::Status {
    event.set_sequence(record.job.event_sequence() + 1);
    if (event.has_log()) event.mutable_log()->set_sequence(event.sequence());
    record.job.set_event_sequence(event.sequence());
    return tx.AppendEvent(record.job.name(), event);
  };
  for (const std::string& raw : lines) {
    if (record.log_lines > options_.max_log_lines) break;
    std::string line = LogLine(raw, kMaxLogLineBytes);
    if (record.log_lines == options_.max_log_lines ||
        record.log_bytes + static_cast<int64_t>(line.size()) > options_.max_log_bytes) {
      line = absl::StrCat("(the log is full: it holds ", options_.max_log_lines, " lines or ",
                          options_.max_log_bytes, " bytes; further lines are dropped)");
      record.log_lines = options_.max_log_lines;
    }
    ++record.log_lines;
    record.log_bytes += static_cast<int64_t>(line.size());
    v1::JobLog* log = event.mutable_log();
    log->set_line(std::move(line));
    log->set_attempt(record.attempts_begun);
    *log->mutable_time() = event.time();
    RETURN_IF_ERROR(append());
  }
  if (progress.has_value()) {
    *record.job.mutable_progress() = *progress;
    *event.mutable_progress() = *progress;
    RETURN_IF_ERROR(append());
    if (++record.progress_events > options_.max_progress_events) {
      ASSIGN_OR_RETURN(record.progress_events, tx.ThinProgressEvents(record.job.name()));
    }
  }
  return absl::OkStatus();
}

absl::Status JobService::Impl::StoreReport(const std::string& job, int64_t token,
                                           const std::vector<std::string>& lines) {
  const std::optional<v1::JobProgress> progress = TakeProgress(job, token, /*force=*/false);
  if (!progress.has_value() && lines.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(store_->Write([&](WriteTransaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(JobRecord record, tx.GetJob(job));
    if (record.lease_token != token) return StaleLease(job, token);
    RETURN_IF_ERROR(AppendReport(tx, record, lines, progress));
    return tx.UpdateJob(record);
  }));
  absl::MutexLock lock(&mutex_);
  if (versions_.count(job) != 0) ChangedLocked(job, /*ended=*/false);
  return absl::OkStatus();
}

void JobService::Impl::StoreReports(const v1::SynchronizeRequest& request) {
  for (const v1::RunningAttempt& running : request.running()) {
    const std::vector<std::string> lines(running.log_lines().begin(), running.log_lines().end());
    const absl::Status status = StoreReport(running.job(), running.lease_token(), lines);
    // A report that cannot be kept must not cost the attempt its lease.
    if (!status.ok()) {
      LogDebug("a worker's report was not kept",
               {{"job", running.job()}, {"why", status.message()}});
    }
  }
}

}  // namespace lathe::server
