// WorkerService and CapabilityService over a real channel.
#include "common/build_info.h"
#include "common/limits.h"
#include "common/recipe/catalogue.h"
#include "tests/unit/server/rpc/rpc_test_util.h"

namespace lathe::server {
namespace {

using grpc::StatusCode;
using Workers = v1::WorkerService::Stub;

class WorkerRpcTest : public RpcTest {};

TEST_F(WorkerRpcTest, AWorkerGetsAnAttemptWithAllItNeeds) {
  const std::string job = calls_.Submit();
  const v1::Attempt attempt = calls_.Lease();
  EXPECT_EQ(attempt.job(), job);
  EXPECT_EQ(attempt.attempt_number(), 1);
  EXPECT_GT(attempt.lease_token(), 0);
  EXPECT_EQ(attempt.main_file(), "net.onnx");
  EXPECT_EQ(attempt.recipe_json(), R"({"seed":0,"steps":[{"fp16":{"skip":[],"targets":[]}}]})");
  EXPECT_EQ(calls_.Synchronize(&attempt).start_size(), 0);  // its one slot is taken
}

TEST_F(WorkerRpcTest, WorkersAreListedWithTheirSlots) {
  calls_.Submit();
  calls_.Lease();
  v1::ListWorkersResponse list;
  ASSERT_THAT(Call(*calls_.workers, &Workers::ListWorkers, v1::ListWorkersRequest(), &list),
              IsOk());
  ASSERT_EQ(list.workers_size(), 1);
  EXPECT_EQ(list.workers(0).name(), "workers/w1");
  EXPECT_EQ(list.workers(0).state(), v1::WORKER_STATE_READY);
  EXPECT_EQ(list.workers(0).slots(), 1);
  EXPECT_EQ(list.workers(0).busy_slots(), 1);
}

TEST_F(WorkerRpcTest, BadSynchronizationsAreRefused) {
  v1::SynchronizeRequest request;
  request.set_worker_id("w1");
  request.set_slots(1);
  request.mutable_max_wait()->set_seconds(31);
  EXPECT_THAT(Call(*calls_.workers, &Workers::Synchronize, request),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "max_wait"));
  request.mutable_max_wait()->set_seconds(-1);
  EXPECT_THAT(Call(*calls_.workers, &Workers::Synchronize, request),
              Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "max_wait"));
  request.clear_max_wait();
  for (const int slots : {0, 257}) {
    request.set_slots(slots);
    EXPECT_THAT(Call(*calls_.workers, &Workers::Synchronize, request),
                Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "slots"));
  }
  request.set_slots(1);
  for (const char* id : {"", "UPPER", "with space"}) {
    request.set_worker_id(id);
    EXPECT_THAT(Call(*calls_.workers, &Workers::Synchronize, request),
                Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "worker_id"));
  }
}

TEST_F(WorkerRpcTest, ALostLeaseFencesTheResultOff) {
  const std::string job = calls_.Submit();
  const v1::Attempt lost = calls_.Lease();
  server_.Advance(absl::Seconds(16));  // past the lease
  server_.Advance(absl::Minutes(1));   // past the backoff
  const v1::Attempt current = calls_.Lease();
  EXPECT_GT(current.lease_token(), lost.lease_token());
  EXPECT_THAT(calls_.Complete(calls_.SuccessOf(lost)),
              Refused(StatusCode::ABORTED, "STALE_LEASE", ""));
  EXPECT_EQ(calls_.Get(job).state(), v1::JOB_STATE_RUNNING);
  EXPECT_THAT(calls_.Complete(calls_.SuccessOf(current)), IsOk());
  EXPECT_THAT(calls_.Complete(calls_.SuccessOf(current)), IsOk());  // a lost answer, repeated
  EXPECT_EQ(calls_.Get(job).state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(WorkerRpcTest, AResultWhoseBytesAreNotThereIsRefused) {
  calls_.Submit();
  v1::CompleteAttemptRequest request = calls_.SuccessOf(calls_.Lease());
  request.mutable_success()->mutable_files(0)->set_digest(std::string(64, '0'));
  EXPECT_THAT(calls_.Complete(request),
              Refused(StatusCode::FAILED_PRECONDITION, "BLOB_MISSING", ""));
}

TEST_F(WorkerRpcTest, ACheckpointIsFencedLikeAResult) {
  const std::string job = calls_.Submit();
  const v1::Attempt lost = calls_.Lease();
  v1::SaveCheckpointRequest request;
  request.set_job(job);
  request.set_lease_token(lost.lease_token());
  request.set_digest(std::string(64, '0'));
  const auto save = [&] { return Call(*calls_.workers, &Workers::SaveCheckpoint, request); };
  EXPECT_THAT(save(), Refused(StatusCode::FAILED_PRECONDITION, "BLOB_MISSING", ""));
  request.set_digest(lost.files(0).digest());  // some blob that is stored
  EXPECT_THAT(save(), IsOk());
  EXPECT_TRUE(calls_.Get(job).has_checkpoint_time());
  server_.Advance(absl::Seconds(16));  // past the lease
  server_.Advance(absl::Minutes(1));   // past the backoff
  EXPECT_THAT(save(), Refused(StatusCode::ABORTED, "STALE_LEASE", ""));
  const v1::Attempt current = calls_.Lease();
  EXPECT_EQ(current.checkpoint().digest(), request.digest());
  EXPECT_EQ(current.checkpoint().lease_token(), lost.lease_token());
  EXPECT_THAT(save(), Refused(StatusCode::ABORTED, "STALE_LEASE", ""));
  request.set_digest("short");
  EXPECT_THAT(save(), Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "digest"));
  request.set_digest(lost.files(0).digest());
  request.set_job("job");
  EXPECT_THAT(save(), Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "job"));
}

TEST_F(WorkerRpcTest, CapabilitiesDescribeTheCatalogueAndTheLimits) {
  v1::Capabilities answer;
  ASSERT_THAT(Call(*calls_.capabilities, &v1::CapabilityService::Stub::GetCapabilities,
                   v1::GetCapabilitiesRequest(), &answer),
              IsOk());
  EXPECT_EQ(answer.version(), Version());
  EXPECT_EQ(answer.build_id(), BuildId());
  EXPECT_EQ(answer.limits().max_inline_bytes(), limits::kMaxInlineBytes);
  EXPECT_EQ(answer.limits().max_attempts(), 3);
  ASSERT_EQ(answer.methods_size(), static_cast<int>(Catalogue().size()));
  for (size_t i = 0; i < Catalogue().size(); ++i) {
    const v1::Method& method = answer.methods(static_cast<int>(i));
    const MethodSpec& spec = Catalogue()[i];
    EXPECT_EQ(method.name(), spec.name);
    ASSERT_EQ(method.parameters_size(), static_cast<int>(spec.params.size()));
    for (const v1::Parameter& parameter : method.parameters()) {
      EXPECT_NE(parameter.type(), "") << method.name() << "." << parameter.name();
      EXPECT_NE(parameter.description(), "") << method.name() << "." << parameter.name();
    }
    if (method.name() != "quantize_weights") continue;
    for (const v1::Parameter& p : method.parameters()) {
      if (p.name() != "bits") continue;
      EXPECT_EQ(p.range(), "[2, 8]");
      EXPECT_EQ(p.default_value(), "8");
      EXPECT_EQ(p.minimum(), 2);
      EXPECT_EQ(p.maximum(), 8);
    }
  }
}

}  // namespace
}  // namespace lathe::server
