// Where the training of a running job stands: kept for its next attempt.
#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "proto/grpc_status.h"
#include "server/jobs/job_service_impl.h"
#include "server/jobs/timestamps.h"

namespace lathe::server {

absl::StatusOr<v1::SaveCheckpointResponse> JobService::Impl::SaveCheckpoint(
    const v1::SaveCheckpointRequest& request) {
  const absl::StatusOr<int64_t> size = blobs_->BlobSize(request.digest());
  if (absl::IsNotFound(size.status())) {
    return PreconditionError(
        "BLOB_MISSING",
        {{request.digest(), "this checkpoint is not stored; upload it and repeat"}});
  }
  RETURN_IF_ERROR(size.status());
  if (*size > limits::kMaxCheckpointBytes) {
    return WithField(WithReason(absl::InvalidArgumentError(
                                    absl::StrCat("the checkpoint has ", *size, " bytes; at most ",
                                                 limits::kMaxCheckpointBytes, " are kept")),
                                "BAD_REQUEST"),
                     "digest");
  }
  std::string before;
  const absl::Status kept = store_->Write([&](WriteTransaction& tx) -> absl::Status {
    before.clear();
    absl::StatusOr<JobRecord> record = tx.GetJob(request.job());
    const bool gone = absl::IsNotFound(record.status());
    if (!gone) RETURN_IF_ERROR(record.status());
    // A job that nobody runs has the token 0.
    if (gone || request.lease_token() <= 0 || record->lease_token != request.lease_token()) {
      return StaleLease(request.job(), request.lease_token());
    }
    ASSIGN_OR_RETURN(const std::optional<KeptCheckpoint> old, tx.FindCheckpoint(request.job()));
    if (old && old->digest != request.digest()) before = old->digest;
    RETURN_IF_ERROR(
        tx.PutCheckpoint(request.job(), {request.digest(), *size, request.lease_token()}));
    *record->job.mutable_checkpoint_time() = ToProto(clock_->Now());
    return tx.UpdateJob(*record);
  });
  RETURN_IF_ERROR(kept);
  DiscardUnlessNamed(before);
  return v1::SaveCheckpointResponse();
}

absl::StatusOr<std::string> JobService::Impl::DropCheckpoint(WriteTransaction& tx,
                                                             JobRecord& record) {
  if (!record.job.has_checkpoint_time()) return std::string();
  record.job.clear_checkpoint_time();
  ASSIGN_OR_RETURN(const std::optional<KeptCheckpoint> old, tx.FindCheckpoint(record.job.name()));
  RETURN_IF_ERROR(tx.DeleteCheckpoint(record.job.name()));
  return old ? old->digest : std::string();
}

void JobService::Impl::DiscardUnlessNamed(const std::string& digest) {
  if (digest.empty() || !options_.discard_blob) return;
  bool named = true;
  const absl::Status asked = store_->Read([&](ReadTransaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(named, tx.IsReferenced(digest));
    return absl::OkStatus();
  });
  // A worker of an equal job that is about to name it finds it missing, and uploads it again.
  if (asked.ok() && !named) options_.discard_blob(digest);
}

}  // namespace lathe::server
