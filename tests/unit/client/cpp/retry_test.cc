// What the client repeats, what it does not, and how it stops.
#include <atomic>
#include <thread>

#include "tests/unit/client/cpp/client_test_util.h"

namespace lathe::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class RetryTest : public ClientTest {
 protected:
  void FailNext(int calls, grpc::StatusCode code = grpc::StatusCode::UNAVAILABLE) {
    Faults faults;
    faults.failing_calls = calls;
    faults.failure = grpc::Status(code, "injected");
    server_.SetFaults(faults);
  }
};

TEST_F(RetryTest, AnUnavailableServerIsTriedAgainUntilItAnswers) {
  const std::string job = server_.real().Submit();
  FailNext(2);
  const auto found = client().GetJob(job);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->name(), job);
  EXPECT_EQ(server_.CallsOf("GetJob"), 3);
  EXPECT_THAT(retried_, ElementsAre("GetJob", "GetJob"));
}

TEST_F(RetryTest, NoOtherFailureIsTriedAgain) {
  for (const grpc::StatusCode code :
       {grpc::StatusCode::CANCELLED, grpc::StatusCode::UNKNOWN, grpc::StatusCode::INVALID_ARGUMENT,
        grpc::StatusCode::DEADLINE_EXCEEDED, grpc::StatusCode::NOT_FOUND,
        grpc::StatusCode::PERMISSION_DENIED, grpc::StatusCode::RESOURCE_EXHAUSTED,
        grpc::StatusCode::FAILED_PRECONDITION, grpc::StatusCode::ABORTED,
        grpc::StatusCode::OUT_OF_RANGE, grpc::StatusCode::INTERNAL, grpc::StatusCode::DATA_LOSS,
        grpc::StatusCode::UNAUTHENTICATED}) {
    const int before = server_.CallsOf("GetJob");
    FailNext(1, code);
    EXPECT_EQ(static_cast<int>(client().GetJob("jobs/x").status().code()), static_cast<int>(code));
    EXPECT_EQ(server_.CallsOf("GetJob") - before, 1) << code;
  }
  EXPECT_THAT(retried_, IsEmpty());
}

TEST_F(RetryTest, ARetryAfterALostAnswerMakesNoSecondJob) {
  const std::string model = server_.real().MakeModel();
  FailNext(1);
  const auto job = client().CreateJob(server::TestCalls::JobOn(model).job());
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(server_.CallsOf("CreateJob"), 2);
  // The same request id again, as if that answer had been lost, gives the same job.
  const auto first = client().CreateJob(server::TestCalls::JobOn(model).job(), "mine");
  const auto second = client().CreateJob(server::TestCalls::JobOn(model).job(), "mine");
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->name(), second->name());
}

TEST_F(RetryTest, WithoutTimeToRetryTheServerAndTheFlagsAreNamedAtOnce) {
  options_.retry_for = absl::ZeroDuration();
  FailNext(1);
  const absl::Status status = client().GetJob("jobs/x").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(server_.address()));
  EXPECT_THAT(std::string(status.message()), HasSubstr("--server"));
  EXPECT_EQ(server_.CallsOf("GetJob"), 1);
}

TEST_F(RetryTest, AServersOwnReasonForBeingUnavailableIsKept) {
  options_.retry_for = absl::ZeroDuration();
  const std::string job = server_.real().Submit();
  server_.inner().jobs().Shutdown();
  const absl::Status status = client().WaitJob(job, absl::Minutes(1)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrorReason(status), "SHUTTING_DOWN");
  EXPECT_THAT(std::string(status.message()), ::testing::Not(HasSubstr("cannot reach")));
}

TEST_F(RetryTest, ACallerWhoStopsBetweenRetriesGetsCancelled) {
  std::atomic<bool> stop{false};
  options_.cancelled = [&] { return stop.load(); };
  options_.on_retry = [&](const std::string&, const absl::Status&, absl::Duration) { stop = true; };
  FailNext(1000);
  EXPECT_EQ(client().GetJob("jobs/x").status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(server_.CallsOf("GetJob"), 1);
}

TEST_F(RetryTest, ACallerWhoStopsEndsACallThatIsUnderWay) {
  const std::string job = server_.real().Submit();
  std::atomic<bool> stop{false};
  options_.cancelled = [&] { return stop.load(); };
  absl::Status status;
  client();
  std::thread waiting([&] { status = client().WaitJob(job, absl::InfiniteDuration()).status(); });
  while (server_.CallsOf("WaitJob") == 0) std::this_thread::yield();
  stop = true;
  waiting.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
}

TEST_F(RetryTest, ARefusalKeepsItsReasonAndItsFields) {
  v1::Job job = server::TestCalls::JobOn("models/none").job();
  EXPECT_EQ(ErrorReason(client().CreateJob(job).status()), "MODEL_NOT_FOUND");
  job.mutable_recipe()->mutable_steps(0)->mutable_quantize_weights()->set_bits(9);
  const absl::Status status = client().CreateJob(job).status();
  EXPECT_EQ(ErrorReason(status), "BAD_REQUEST");
  const std::vector<FieldError> fields = FieldErrors(status);
  ASSERT_EQ(fields.size(), 1u);
  EXPECT_EQ(fields[0].field, "job.recipe.steps[0].quantize_weights.bits");
  EXPECT_THAT(fields[0].description, HasSubstr("[2, 8]"));
  EXPECT_EQ(ErrorReason(absl::OkStatus()), "");
  EXPECT_THAT(FieldErrors(absl::InternalError("x")), IsEmpty());
}

}  // namespace
}  // namespace lathe::client
