// How jobs come to be: definition, idempotency, the result cache, published results.
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/digest.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "server/jobs/cache_key.h"
#include "server/jobs/job_service_impl.h"
#include "server/jobs/timestamps.h"

namespace lathe::server {
namespace {

// What the user may say of a job; all else is the server's.
v1::Job UserFields(const v1::Job& given) {
  v1::Job job;
  job.set_model(given.model());
  *job.mutable_recipe() = given.recipe();
  *job.mutable_datasets() = given.datasets();
  *job.mutable_bindings() = given.bindings();
  job.set_priority(given.priority());
  if (given.has_max_pending_duration())
    *job.mutable_max_pending_duration() = given.max_pending_duration();
  if (given.has_max_run_duration()) *job.mutable_max_run_duration() = given.max_run_duration();
  *job.mutable_labels() = given.labels();
  const bool evaluate = given.kind() == v1::JOB_KIND_EVALUATE;
  job.set_kind(evaluate ? v1::JOB_KIND_EVALUATE : v1::JOB_KIND_COMPRESS);
  if (evaluate) job.set_compared_model(given.compared_model());
  if (!evaluate) job.set_teacher_model(given.teacher_model());
  return job;
}

absl::Status Missing(const absl::Status& status, absl::string_view what, absl::string_view name,
                     absl::string_view reason, absl::string_view field) {
  if (status.code() != absl::StatusCode::kNotFound) return status;
  return WithField(
      WithReason(absl::FailedPreconditionError(absl::StrCat("there is no ", what, " ", name)),
                 reason),
      field);
}

// A model that cannot be read is the caller's affair; a worker that died of it, or never came, is
// not.
absl::Status InspectFailure(const v1::JobError& error) {
  const bool callers = error.reason() == v1::JOB_ERROR_REASON_INVALID_MODEL ||
                       error.reason() == v1::JOB_ERROR_REASON_UNSUPPORTED_OP;
  return WithReason(
      callers ? absl::InvalidArgumentError(error.message()) : absl::InternalError(error.message()),
      ReasonLabel(error.reason()));
}

}  // namespace

absl::Status JobService::Impl::Define(ReadTransaction& tx, const v1::Job& user,
                                      const std::string& recipe_json, JobRecord* record) {
  record->kind = v1::ATTEMPT_KIND_COMPRESS;
  v1::Job& job = record->job;
  job = UserFields(user);
  const absl::StatusOr<v1::Model> model = tx.GetModel(job.model());
  if (!model.ok())
    return Missing(model.status(), "model", job.model(), "MODEL_NOT_FOUND", "job.model");
  v1::Attempt& attempt = record->attempt;
  const bool evaluate = job.kind() == v1::JOB_KIND_EVALUATE;
  attempt.set_kind(evaluate ? v1::ATTEMPT_KIND_EVALUATE : v1::ATTEMPT_KIND_COMPRESS);
  *attempt.mutable_files() = model->files();
  attempt.set_main_file(model->main_file());
  if (!job.compared_model().empty()) {
    const absl::StatusOr<v1::Model> compared = tx.GetModel(job.compared_model());
    if (!compared.ok()) {
      return Missing(compared.status(), "model", job.compared_model(), "MODEL_NOT_FOUND",
                     "job.compared_model");
    }
    *attempt.mutable_compared_files() = compared->files();
    attempt.set_compared_main_file(compared->main_file());
  }
  if (!job.teacher_model().empty()) {
    const absl::StatusOr<v1::Model> teacher = tx.GetModel(job.teacher_model());
    if (!teacher.ok()) {
      return Missing(teacher.status(), "model", job.teacher_model(), "MODEL_NOT_FOUND",
                     "job.teacher_model");
    }
    *attempt.mutable_teacher_files() = teacher->files();
    attempt.set_teacher_main_file(teacher->main_file());
  }
  attempt.set_recipe_json(recipe_json);
  *attempt.mutable_bindings() = job.bindings();
  for (int i = 0; i < job.datasets_size(); ++i) {
    const absl::StatusOr<v1::Dataset> dataset = tx.GetDataset(job.datasets(i).dataset());
    if (!dataset.ok()) {
      return Missing(dataset.status(), "dataset", job.datasets(i).dataset(), "DATASET_NOT_FOUND",
                     absl::StrCat("job.datasets[", i, "].dataset"));
    }
    v1::AttemptDataset* out = attempt.add_datasets();
    out->set_role(job.datasets(i).role());
    out->set_display_name(dataset->display_name());
    out->set_digest(dataset->digest());
    out->set_size_bytes(dataset->size_bytes());
  }
  *attempt.mutable_max_run_duration() = job.has_max_run_duration()
                                            ? job.max_run_duration()
                                            : ToProto(options_.default_max_run_duration);
  const absl::Time now = clock_->Now();
  job.set_state(v1::JOB_STATE_PENDING);
  job.set_max_attempts(options_.max_attempts);
  *job.mutable_create_time() = ToProto(now);
  record->queued_time = now;
  return absl::OkStatus();
}

absl::Status JobService::Impl::PublishModel(WriteTransaction& tx, const JobRecord& record,
                                            v1::JobResult* result) {
  v1::Model model;
  model.set_name(absl::StrCat("models/", ids_->NewId()));
  model.set_display_name(result->rejected() ? absl::StrCat(result->main_file(), " (rejected)")
                                            : result->main_file());
  model.set_main_file(result->main_file());
  *model.mutable_files() = result->files();
  int64_t total = 0;
  for (const v1::ModelFile& file : result->files()) total += file.size_bytes();
  model.set_total_bytes(total);
  *model.mutable_create_time() = ToProto(clock_->Now());
  model.set_source_job(record.job.name());
  result->set_model(model.name());
  return tx.InsertModel(model);
}

absl::StatusOr<bool> JobService::Impl::FromCache(WriteTransaction& tx, JobRecord* record) {
  const std::string key = ResultCacheKey(record->attempt, options_.build_id);
  ASSIGN_OR_RETURN(std::optional<CachedResult> cached, tx.FindResult(key));
  if (!cached) return false;
  v1::JobResult& result = cached->result;
  std::vector<std::string> digests = {result.report_digest()};
  if (!cached->report_text_digest.empty()) digests.push_back(cached->report_text_digest);
  for (const v1::ModelFile& file : result.files()) digests.push_back(file.digest());
  for (const std::string& digest : digests) {
    if (!blobs_->BlobSize(digest).ok()) {  // collected since
      RETURN_IF_ERROR(tx.DeleteResult(key));
      return false;
    }
  }
  if (result.files_size() > 0 && !tx.GetModel(result.model()).ok()) {
    RETURN_IF_ERROR(PublishModel(tx, *record, &result));
  }
  v1::Job& job = record->job;
  result.set_from_cache(true);
  *job.mutable_result() = result;
  record->report_text_digest = cached->report_text_digest;
  job.set_state(v1::JOB_STATE_SUCCEEDED);
  const absl::Time now = clock_->Now();
  *job.mutable_start_time() = ToProto(now);
  *job.mutable_end_time() = ToProto(now);
  return true;
}

absl::StatusOr<v1::Job> JobService::Impl::Insert(const v1::Job& user,
                                                 const std::string& recipe_json,
                                                 const std::string& tenant, const RequestKey& key,
                                                 const std::string& retry_of, bool use_cache) {
  JobRecord record;
  std::optional<std::string> earlier;
  bool from_cache = false;
  const absl::Status status = store_->Write([&](WriteTransaction& tx) -> absl::Status {
    record = JobRecord();
    from_cache = false;
    ASSIGN_OR_RETURN(earlier, FindEarlier(tx, key));
    if (earlier) {
      const absl::StatusOr<JobRecord> found = tx.GetJob(*earlier);
      if (found.status().code() == absl::StatusCode::kNotFound)
        return ResourceOfRequestIsGone(key, *earlier);
      if (!found.ok()) return found.status();
      record = *found;
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(Define(tx, user, recipe_json, &record));
    record.job.set_name(absl::StrCat("jobs/", ids_->NewId()));
    record.job.set_retry_of(retry_of);
    record.tenant = tenant;
    if (use_cache) {
      ASSIGN_OR_RETURN(from_cache, FromCache(tx, &record));
    }
    record.job.set_event_sequence(1);
    RETURN_IF_ERROR(tx.InsertJob(&record));
    // Event 1 of a job that waits follows from the job (creation_event.h) and need not be written.
    if (from_cache) {
      record.job.set_event_sequence(0);
      RETURN_IF_ERROR(AppendStateEvent(tx, record));
    }
    return RememberRequest(tx, key, record.job.name());
  });
  if (!status.ok()) return status;
  if (earlier) return record.job;
  observer_->JobSubmitted();
  if (use_cache) observer_->CacheLookup(from_cache);
  if (from_cache) {
    Ended(record);
  } else {
    absl::MutexLock lock(&mutex_);
    EnqueueLocked(record);
    ChangedLocked(record.job.name(), /*ended=*/false);
  }
  return record.job;
}

absl::StatusOr<v1::Job> JobService::Impl::CreateJob(const CreateJobArgs& args) {
  if (args.validate_only) {
    JobRecord record;
    RETURN_IF_ERROR(store_->Read(
        [&](ReadTransaction& tx) { return Define(tx, args.job, args.recipe_json, &record); }));
    return record.job;
  }
  const RequestKey key{absl::StrCat(args.tenant, "/CreateJob"), args.request_id,
                       Fingerprint(UserFields(args.job))};
  RETURN_IF_ERROR(CheckRequestId(args.request_id));
  return Insert(args.job, args.recipe_json, args.tenant, key, "", options_.use_result_cache);
}

absl::StatusOr<v1::Job> JobService::Impl::RetryJob(absl::string_view name,
                                                   const std::string& request_id) {
  RETURN_IF_ERROR(CheckRequestId(request_id));
  ASSIGN_OR_RETURN(const JobRecord old, Find(name));
  if (!IsTerminal(old.job.state())) {
    return WithReason(absl::FailedPreconditionError(
                          absl::StrCat(name, " has not ended; cancel it first, or wait")),
                      "JOB_NOT_ENDED");
  }
  const RequestKey key{absl::StrCat(old.tenant, "/RetryJob"), request_id,
                       Sha256Hex(old.job.name())};
  return Insert(old.job, old.attempt.recipe_json(), old.tenant, key, old.job.name(),
                /*use_cache=*/false);
}

absl::StatusOr<InspectSummary> JobService::Impl::InspectModel(
    absl::string_view model, const std::map<std::string, int64_t>& bindings,
    const WaitOptions& wait) {
  v1::Attempt identity;
  identity.set_kind(v1::ATTEMPT_KIND_INSPECT);
  for (const auto& [symbol, size] : bindings) (*identity.mutable_bindings())[symbol] = size;
  const std::string key = ResultCacheKey(identity, options_.build_id);
  const absl::Time give_up = absl::Now() + wait.timeout;
  std::string job;
  {
    std::optional<InspectSummary> kept;
    JobRecord record;
    record.kind = v1::ATTEMPT_KIND_INSPECT;
    const absl::Status status = store_->Read([&](ReadTransaction& tx) -> absl::Status {
      ASSIGN_OR_RETURN(const v1::Model found, tx.GetModel(model));
      ASSIGN_OR_RETURN(kept, tx.FindInspect(model, key));
      *record.attempt.mutable_files() = found.files();
      record.attempt.set_main_file(found.main_file());
      return absl::OkStatus();
    });
    if (status.code() == absl::StatusCode::kNotFound) {
      return WithReason(absl::NotFoundError(absl::StrCat("there is no model ", model)),
                        "MODEL_NOT_FOUND");
    }
    if (!status.ok()) return status;
    if (kept && blobs_->BlobSize(kept->summary_digest).ok() &&
        (kept->text_digest.empty() || blobs_->BlobSize(kept->text_digest).ok())) {
      return *kept;
    }
    bool ours = false;
    {
      absl::MutexLock lock(&mutex_);
      std::string& running = inspecting_[{std::string(model), key}];
      ours = running.empty();
      if (ours) running = absl::StrCat("jobs/", ids_->NewId());
      job = running;
    }
    if (ours) {  // others who join meanwhile wait for a job that is about to exist
      record.job.set_name(job);
      record.job.set_model(std::string(model));
      record.job.set_state(v1::JOB_STATE_PENDING);
      record.job.set_max_attempts(options_.max_attempts);
      *record.job.mutable_create_time() = ToProto(clock_->Now());
      record.queued_time = clock_->Now();
      record.attempt.set_kind(record.kind);
      *record.attempt.mutable_bindings() = identity.bindings();
      *record.attempt.mutable_max_run_duration() = ToProto(options_.default_max_run_duration);
      const absl::Status inserted =
          store_->Write([&](WriteTransaction& tx) { return tx.InsertJob(&record); });
      absl::MutexLock lock(&mutex_);
      if (!inserted.ok()) {
        inspecting_.erase({std::string(model), key});
        ChangedLocked(job, /*ended=*/true);
        return inserted;
      }
      EnqueueLocked(record);
      ChangedLocked(job, /*ended=*/false);
    }
  }
  while (true) {
    const int64_t seen = VersionOf(job);
    JobRecord record;
    const absl::Status status = store_->Read([&](ReadTransaction& tx) -> absl::Status {
      ASSIGN_OR_RETURN(record, tx.GetJob(job));
      return absl::OkStatus();
    });
    if (status.code() != absl::StatusCode::kNotFound) {
      if (!status.ok()) return status;
      if (record.job.state() == v1::JOB_STATE_SUCCEEDED) {
        return InspectSummary{record.job.result().report_digest(), record.report_text_digest};
      }
      if (IsTerminal(record.job.state())) return InspectFailure(record.job.error());
    }
    ASSIGN_OR_RETURN(const bool changed, AwaitChange(job, seen, give_up, wait));
    if (!changed) {
      return WithReason(
          absl::DeadlineExceededError(absl::StrCat(
              model,
              " is still being read; ask again, or see whether there are workers (ListWorkers)")),
          "INSPECT_TIMEOUT");
    }
  }
}

}  // namespace lathe::server
