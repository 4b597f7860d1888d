#include "worker/agent/attempt.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <fstream>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/build_info.h"
#include "common/digest.h"
#include "common/file_error.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "worker/agent/checkpoint_sender.h"

namespace lathe::worker {
namespace {

using lathe::v1::JobProgress;

constexpr size_t kMaxPendingLines = 2000;
constexpr size_t kMaxReportBytes = 256 << 10;    // log a Synchronize carries, each attempt
constexpr size_t kMaxCompletionBytes = 1 << 20;  // log a CompleteAttempt carries
constexpr absl::Duration kCompleteTimeout = absl::Seconds(15);
// Part of the progress that the job process covers; sending the result is the rest.
constexpr double kComputeShare = 0.97;

absl::Duration ToDuration(const google::protobuf::Duration& d) {
  return absl::Seconds(d.seconds()) + absl::Nanoseconds(d.nanos());
}

void SetDuration(absl::Duration from, google::protobuf::Duration* to) {
  const int64_t seconds = absl::IDivDuration(from, absl::Seconds(1), &from);
  to->set_seconds(seconds);
  to->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(from)));
}

absl::Status WriteSpec(const JobSpec& spec, const std::string& path) {
  errno = 0;
  std::ofstream out(path, std::ios::binary);
  out << EncodeJobSpec(spec);
  out.close();
  return out ? absl::OkStatus() : FileError(errno, absl::StrCat("write ", path));
}

}  // namespace

AttemptRunner::AttemptRunner(AttemptOptions options, AttemptServices services,
                             lathe::v1::Attempt attempt)
    : options_(std::move(options)),
      services_(services),
      attempt_(std::move(attempt)),
      start_(absl::Now()) {}

void AttemptRunner::Run() {
  Outcome outcome;
  try {
    outcome = Execute();
  } catch (const std::exception& e) {  // an allocation of our own, or a library's
    outcome.end = ClassifyTransferError(absl::InternalError(absl::StrCat("worker: ", e.what())));
  }
  pins_.clear();
  // Another attempt comes, perhaps here: what fetched inputs take may be what it lacks.
  if (outcome.end.reason == lathe::v1::JOB_ERROR_REASON_DISK_FULL) services_.cache->EvictUnused();
  Complete(std::move(outcome));
  absl::MutexLock lock(&mutex_);
  ended_ = true;
}

AttemptRunner::Outcome AttemptRunner::Execute() {
  LogInfo("attempt begins",
          {{"job", job()}, {"attempt", attempt_.attempt_number()}, {"lease_token", lease_token()}});
  const auto folder =
      WorkFolder::Create(absl::StrCat(options_.work_root, "/attempt-", lease_token()));
  if (!folder.ok()) return FailedTransfer(folder.status());
  const absl::StatusOr<JobSpec> spec = Prepare(**folder);
  if (!spec.ok()) {
    Outcome failed = FailedTransfer(spec.status());
    if (absl::IsInvalidArgument(spec.status())) {  // a digest or a path that cannot be
      failed.end.reason = lathe::v1::JOB_ERROR_REASON_INVALID_MODEL;
    }
    return failed;
  }

  JobProcessOptions process_options;
  process_options.job_binary = options_.job_binary;
  process_options.spec_path = (*folder)->path() + "/spec.json";
  process_options.limits = options_.limits;
  process_options.hang_after = options_.hang_after;
  process_options.kill_grace = options_.kill_grace;
  const absl::Duration max_run = ToDuration(attempt_.max_run_duration());
  if (max_run > absl::ZeroDuration()) process_options.max_run = max_run;
  if (absl::Status told = WriteSpec(*spec, process_options.spec_path); !told.ok()) {
    return FailedTransfer(told);
  }

  const JobExit exit = RunProcess(process_options, **folder);
  Outcome outcome;
  outcome.end = ClassifyExit(exit, process_options);
  outcome.peak_rss_bytes = exit.peak_rss_bytes;
  services_.metrics->OnExit(outcome.end.cause, exit.peak_rss_bytes, exit.elapsed);
  // Only what another attempt may go on from is kept.
  const bool again = outcome.end.kind == AttemptEnd::Kind::kInterrupted ||
                     outcome.end.kind == AttemptEnd::Kind::kLeaseLost ||
                     (outcome.end.kind == AttemptEnd::Kind::kFailed && outcome.end.transient);
  if (services_.states != nullptr && !again) services_.states->Forget(job());
  if (outcome.end.kind != AttemptEnd::Kind::kSucceeded) return outcome;
  absl::StatusOr<lathe::v1::AttemptSuccess> success = SendResult(**folder, *exit.result);
  if (!success.ok()) {
    Outcome failed = FailedTransfer(success.status());
    failed.peak_rss_bytes = exit.peak_rss_bytes;
    return failed;
  }
  outcome.success = *std::move(success);
  if (!exit.result->rejected.empty()) {
    outcome.end = {AttemptEnd::Kind::kFailed, "rejected",
                   lathe::v1::JOB_ERROR_REASON_TOLERANCE_NOT_MET, exit.result->rejected, false};
  }
  return outcome;
}

JobExit AttemptRunner::RunProcess(const JobProcessOptions& process_options,
                                  const WorkFolder& folder) {
  std::optional<CheckpointSender> sender;  // made with the first state: most jobs do not train
  JobCallbacks callbacks;
  callbacks.checkpoint = [this, &sender,
                          path = absl::StrCat(folder.checkpoint(), "/", kCheckpointName)] {
    if (services_.states == nullptr) return;
    const absl::StatusOr<std::string> kept = services_.states->Keep(job(), lease_token(), path);
    if (!kept.ok()) {
      AddLogLine(std::string(kept.status().message()));
      return;
    }
    if (!sender) {
      sender.emplace(services_.connection, services_.blobs, job(), lease_token(),
                     [this](const std::string& line) { AddLogLine(line); });
    }
    sender->Send(*kept);
  };
  callbacks.log = [this](const std::string& line) { AddLogLine(line); };
  callbacks.progress = [this](const ProgressEvent& event) {
    JobProgress progress;
    progress.set_step_index(event.step_index);
    progress.set_step_count(event.step_count);
    progress.set_stage(event.stage);
    progress.set_fraction(event.fraction * kComputeShare);
    progress.set_message(event.message);
    const absl::Duration elapsed = absl::Now() - start_;
    if (event.fraction > 0.05 && elapsed > absl::Seconds(1)) {
      SetDuration(elapsed * ((1 - event.fraction) / event.fraction), progress.mutable_time_left());
    }
    SetProgress(std::move(progress));
  };
  JobProcess process(process_options, std::move(callbacks));
  {
    absl::MutexLock lock(&mutex_);
    process_ = &process;
    if (stop_cause_ != StopCause::kNone) process.Stop(stop_cause_);
  }
  JobExit exit = process.Run();
  absl::MutexLock lock(&mutex_);
  process_ = nullptr;
  peak_rss_bytes_ = exit.peak_rss_bytes;
  computed_ = exit.stop_cause == StopCause::kNone && exit.result.has_value();
  return exit;
}

absl::StatusOr<lathe::v1::AttemptSuccess> AttemptRunner::SendResult(const WorkFolder& folder,
                                                                    const ResultEvent& result) {
  {
    absl::MutexLock lock(&mutex_);
    progress_.set_step_index(progress_.step_count());
    progress_.set_stage("upload");
    progress_.set_fraction(kComputeShare);
    progress_.clear_message();
    progress_.clear_time_left();
    ++progress_version_;
  }
  lathe::v1::AttemptSuccess success;
  std::vector<LocalBlob> blobs;
  const auto add = [&blobs](const std::string& in, const std::string& relative) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string path, RegularFileBelow(in, relative));
    ASSIGN_OR_RETURN(const FileDigest digest, Sha256File(path));
    blobs.push_back({path, digest.sha256, digest.size_bytes});
    return absl::OkStatus();
  };
  for (const ResultFile& file : result.files) {
    RETURN_IF_ERROR(add(folder.out(), file.path));
    lathe::v1::ModelFile* out = success.add_files();
    out->set_path(file.path);
    out->set_digest(blobs.back().digest);
    out->set_size_bytes(blobs.back().size_bytes);
  }
  if (!result.files.empty()) success.set_main_file(result.files[0].path);
  RETURN_IF_ERROR(add(folder.meta(), kReportJsonName));
  success.set_report_digest(blobs.back().digest);
  RETURN_IF_ERROR(add(folder.meta(), kReportTextName));
  success.set_report_text_digest(blobs.back().digest);
  success.set_compression_ratio(result.compression_ratio);
  RETURN_IF_ERROR(services_.blobs->Upload(blobs, &transfers_));
  return success;
}

AttemptRunner::Outcome AttemptRunner::FailedTransfer(const absl::Status& status) {
  Outcome outcome;
  absl::MutexLock lock(&mutex_);
  switch (stop_cause_) {
    case StopCause::kCancelled:
      outcome.end = {AttemptEnd::Kind::kCancelled, "cancelled", {}, "", false};
      break;
    case StopCause::kInterrupted:
      outcome.end = {AttemptEnd::Kind::kInterrupted, "interrupted", {}, "", false};
      break;
    case StopCause::kLeaseLost:
      outcome.end = {AttemptEnd::Kind::kLeaseLost, "lease_lost", {}, "", false};
      break;
    default:
      outcome.end = ClassifyTransferError(status);
      break;
  }
  return outcome;
}

void AttemptRunner::Complete(Outcome outcome) {
  const AttemptEnd& end = outcome.end;
  if (end.kind == AttemptEnd::Kind::kLeaseLost) {
    LogWarning("attempt dropped: its lease is lost", {{"job", job()}});
    return;
  }
  lathe::v1::CompleteAttemptRequest request;
  request.set_worker_id(options_.worker_id);
  request.set_job(job());
  request.set_lease_token(lease_token());
  request.set_build_id(BuildId());
  request.set_peak_rss_bytes(outcome.peak_rss_bytes);
  switch (end.kind) {
    case AttemptEnd::Kind::kSucceeded:
      *request.mutable_success() = std::move(outcome.success);
      break;
    case AttemptEnd::Kind::kCancelled:
      request.mutable_cancelled();
      break;
    case AttemptEnd::Kind::kInterrupted:
      request.mutable_interrupted();
      break;
    default:
      request.mutable_failure()->set_reason(end.reason);
      request.mutable_failure()->set_message(CleanText(end.message, 16 << 10));
      request.mutable_failure()->set_transient(end.transient);
      if (end.reason == lathe::v1::JOB_ERROR_REASON_TOLERANCE_NOT_MET) {
        *request.mutable_failure()->mutable_rejected() = std::move(outcome.success);
      }
      break;
  }
  {
    absl::MutexLock lock(&mutex_);
    NoteDroppedLines();
    // What the last report carries is on its way, and goes no second time. The rest goes here, and
    // in no later report.
    CopyLogLines(lines_reported_, kMaxCompletionBytes, request.mutable_log_lines());
    log_lines_.resize(std::min(lines_reported_, log_lines_.size()));
  }
  RetryDelay delay(absl::Seconds(2));
  const absl::Time give_up = absl::Now() + options_.completion_patience;
  absl::Status told;
  do {
    ServerCall call(*services_.connection, &completion_, kCompleteTimeout);
    lathe::v1::CompleteAttemptResponse response;
    told = FromGrpc(
        services_.connection->workers().CompleteAttempt(call.context(), request, &response));
  } while (IsRetryable(told) && absl::Now() < give_up && completion_.SleepFor(delay.Next()));
  if (told.code() == absl::StatusCode::kAborted) {
    services_.metrics->OnStaleCompletion();
    LogWarning("result thrown away: the lease has passed on", {{"job", job()}});
  } else if (!told.ok()) {
    LogError("the server was not told how an attempt ended",
             {{"job", job()}, {"cause", end.cause}, {"error", told.message()}});
  } else if (end.kind == AttemptEnd::Kind::kFailed) {
    LogWarning("attempt failed", {{"job", job()},
                                  {"reason", lathe::v1::JobErrorReason_Name(end.reason)},
                                  {"transient", end.transient ? "yes" : "no"},
                                  {"message", end.message}});
  } else {
    LogInfo("attempt ended", {{"job", job()},
                              {"cause", end.cause},
                              {"milliseconds", absl::ToInt64Milliseconds(absl::Now() - start_)},
                              {"peak_rss_bytes", outcome.peak_rss_bytes}});
  }
}

void AttemptRunner::Stop(StopCause cause) {
  absl::MutexLock lock(&mutex_);
  if (stop_cause_ != StopCause::kNone || ended_) return;
  if (cause == StopCause::kLeaseLost && computed_) return;
  stop_cause_ = cause;
  transfers_.Cancel();
  if (process_ != nullptr) process_->Stop(cause);
}

void AttemptRunner::Abandon() { completion_.Cancel(); }

bool AttemptRunner::ended() const {
  absl::MutexLock lock(&mutex_);
  return ended_;
}

void AttemptRunner::SetProgress(JobProgress progress) {
  absl::MutexLock lock(&mutex_);
  progress_ = std::move(progress);
  ++progress_version_;
}

void AttemptRunner::AddLogLine(const std::string& line) {
  absl::MutexLock lock(&mutex_);
  if (log_lines_.size() >= kMaxPendingLines) {
    ++lines_dropped_;
    return;
  }
  NoteDroppedLines();
  log_lines_.push_back(line);
}

void AttemptRunner::NoteDroppedLines() {
  if (lines_dropped_ == 0) return;
  log_lines_.push_back(absl::StrCat("(", lines_dropped_, " lines left out here)"));
  lines_dropped_ = 0;
}

void AttemptRunner::CopyLogLines(size_t first, size_t most_bytes,
                                 google::protobuf::RepeatedPtrField<std::string>* out) const {
  size_t bytes = 0;
  for (size_t i = first; i < log_lines_.size(); ++i) {
    bytes += log_lines_[i].size() + 8;
    if (bytes > most_bytes && !out->empty()) break;
    *out->Add() = log_lines_[i];
  }
}

lathe::v1::RunningAttempt AttemptRunner::Report() {
  absl::MutexLock lock(&mutex_);
  lathe::v1::RunningAttempt report;
  report.set_job(job());
  report.set_lease_token(lease_token());
  if (progress_version_ != progress_acknowledged_) *report.mutable_progress() = progress_;
  progress_reported_ = progress_version_;
  CopyLogLines(0, kMaxReportBytes, report.mutable_log_lines());
  lines_reported_ = static_cast<size_t>(report.log_lines_size());
  report.set_peak_rss_bytes(process_ != nullptr ? process_->peak_rss_bytes() : peak_rss_bytes_);
  return report;
}

void AttemptRunner::Acknowledge() {
  absl::MutexLock lock(&mutex_);
  progress_acknowledged_ = progress_reported_;
  const size_t lines = std::min(lines_reported_, log_lines_.size());
  log_lines_.erase(log_lines_.begin(), log_lines_.begin() + static_cast<ptrdiff_t>(lines));
  lines_reported_ = 0;
}

}  // namespace lathe::worker
