// Waiting for, watching and reading the log of a job over a real channel.
#include <thread>

#include "tests/unit/server/rpc/rpc_test_util.h"

namespace lathe::server {
namespace {

using grpc::StatusCode;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Stub = v1::JobService::Stub;

class JobStreamsTest : public RpcTest {
 protected:
  grpc::Status Wait(const std::string& name, absl::Duration timeout, v1::Job* job) {
    v1::WaitJobRequest request = Named<v1::WaitJobRequest>(name);
    request.mutable_timeout()->set_seconds(absl::ToInt64Seconds(timeout));
    request.mutable_timeout()->set_nanos(
        static_cast<int>(absl::ToInt64Nanoseconds(timeout % absl::Seconds(1))));
    return Call(*calls_.jobs, &Stub::WaitJob, request, job);
  }
  std::vector<v1::JobEvent> Watch(const std::string& name, int64_t after, grpc::Status* status) {
    v1::WatchJobRequest request = Named<v1::WatchJobRequest>(name);
    request.set_after_sequence(after);
    grpc::ClientContext context;
    return ReadAll(*calls_.jobs->WatchJob(&context, request), status);
  }
  std::vector<std::string> Log(const std::string& name, int64_t after, bool follow,
                               grpc::Status* status) {
    v1::StreamLogsRequest request = Named<v1::StreamLogsRequest>(name);
    request.set_after_sequence(after);
    request.set_follow(follow);
    grpc::ClientContext context;
    std::vector<std::string> lines;
    for (const v1::JobLog& log : ReadAll(*calls_.jobs->StreamLogs(&context, request), status))
      lines.push_back(log.line());
    return lines;
  }
};

TEST_F(JobStreamsTest, WaitingAnswersWithThePresentStateWhenTheTimeIsUp) {
  const std::string name = calls_.Submit();
  v1::Job job;
  ASSERT_THAT(Wait(name, absl::ZeroDuration(), &job), IsOk());
  EXPECT_EQ(job.state(), v1::JOB_STATE_PENDING);
  ASSERT_THAT(Wait(name, absl::Milliseconds(20), &job), IsOk());
  EXPECT_EQ(job.state(), v1::JOB_STATE_PENDING);
}

TEST_F(JobStreamsTest, WaitingEndsWithTheJob) {
  const std::string name = calls_.Submit();
  const v1::Attempt attempt = calls_.Lease();
  v1::Job job;
  grpc::Status status;
  std::thread waiting([&] { status = Wait(name, absl::Minutes(10), &job); });
  EXPECT_THAT(calls_.Complete(calls_.SuccessOf(attempt)), IsOk());
  waiting.join();
  ASSERT_THAT(status, IsOk());
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(JobStreamsTest, WaitingAnswersBeforeTheCallersOwnDeadline) {
  v1::WaitJobRequest request = Named<v1::WaitJobRequest>(calls_.Submit());
  request.mutable_timeout()->set_seconds(600);
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(2)));
  v1::Job job;
  EXPECT_THAT(calls_.jobs->WaitJob(&context, request, &job), IsOk());
}

TEST_F(JobStreamsTest, WaitsOutsideTheirRangeAreRefused) {
  v1::Job job;
  const std::string name = calls_.Submit();
  for (const absl::Duration timeout : {absl::Seconds(-1), absl::Minutes(10) + absl::Seconds(1)}) {
    EXPECT_THAT(Wait(name, timeout, &job),
                Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "timeout"));
  }
}

TEST_F(JobStreamsTest, AWatchTellsEveryChangeInOrderAndEndsWithTheJob) {
  const std::string name = calls_.Finished();
  grpc::Status status;
  const std::vector<v1::JobEvent> events = Watch(name, 0, &status);
  ASSERT_THAT(status, IsOk());
  std::vector<v1::JobState> states;
  int64_t last = 0;
  for (const v1::JobEvent& event : events) {
    EXPECT_GT(event.sequence(), last);
    last = event.sequence();
    if (event.has_state_change()) states.push_back(event.state_change().state());
  }
  EXPECT_THAT(states,
              ElementsAre(v1::JOB_STATE_PENDING, v1::JOB_STATE_RUNNING, v1::JOB_STATE_SUCCEEDED));
  EXPECT_EQ(last, calls_.Get(name).event_sequence());
}

TEST_F(JobStreamsTest, AWatchFromASequenceNumberTellsOnlyWhatCameAfterIt) {
  const std::string name = calls_.Finished();
  grpc::Status status;
  const std::vector<v1::JobEvent> all = Watch(name, 0, &status);
  ASSERT_GE(all.size(), 3u);
  const std::vector<v1::JobEvent> rest = Watch(name, all[0].sequence(), &status);
  ASSERT_THAT(status, IsOk());
  ASSERT_THAT(rest, SizeIs(all.size() - 1));
  EXPECT_EQ(rest[0].sequence(), all[1].sequence());
  EXPECT_THAT(Watch(name, all.back().sequence(), &status), IsEmpty());
  EXPECT_THAT(status, IsOk());
}

TEST_F(JobStreamsTest, AWatchFollowsALiveJob) {
  const std::string name = calls_.Submit();
  v1::WatchJobRequest request = Named<v1::WatchJobRequest>(name);
  grpc::ClientContext context;
  const auto reader = calls_.jobs->WatchJob(&context, request);
  v1::JobEvent event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.state_change().state(), v1::JOB_STATE_PENDING);
  const v1::Attempt attempt = calls_.Lease();
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.state_change().state(), v1::JOB_STATE_RUNNING);
  v1::JobProgress progress;
  progress.set_stage("fp16");
  progress.set_fraction(0.5);
  progress.set_step_count(1);
  server_.clock().Advance(absl::Seconds(1));
  calls_.Synchronize(&attempt, &progress);
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.progress().stage(), "fp16");
  EXPECT_EQ(event.progress().fraction(), 0.5);
  ASSERT_THAT(calls_.Complete(calls_.SuccessOf(attempt)), IsOk());
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.state_change().state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_THAT(reader->Finish(), IsOk());
}

TEST_F(JobStreamsTest, AWatchThatIsGivenUpHoldsNothing) {
  grpc::ClientContext context;
  v1::WatchJobRequest request = Named<v1::WatchJobRequest>(calls_.Submit());
  const auto reader = calls_.jobs->WatchJob(&context, request);
  v1::JobEvent event;
  ASSERT_TRUE(reader->Read(&event));
  context.TryCancel();
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::CANCELLED);
}  // the server's destructor would wait for a handler that hangs

TEST_F(JobStreamsTest, LogLinesComeInOrderFromASequenceNumber) {
  const std::string name = calls_.Submit();
  v1::CompleteAttemptRequest completion = calls_.SuccessOf(calls_.Lease());
  for (const char* line : {"one", "two", "three"}) completion.add_log_lines(line);
  ASSERT_THAT(calls_.Complete(completion), IsOk());
  grpc::Status status;
  EXPECT_THAT(Log(name, 0, /*follow=*/false, &status), ElementsAre("one", "two", "three"));
  EXPECT_THAT(status, IsOk());
  EXPECT_THAT(Log(name, 0, /*follow=*/true, &status), ElementsAre("one", "two", "three"));
  EXPECT_THAT(status, IsOk());
  v1::StreamLogsRequest request = Named<v1::StreamLogsRequest>(name);
  grpc::ClientContext context;
  const auto logs = ReadAll(*calls_.jobs->StreamLogs(&context, request), &status);
  ASSERT_THAT(logs, SizeIs(3));
  EXPECT_EQ(logs[0].attempt(), 1);
  EXPECT_THAT(Log(name, logs[1].sequence(), false, &status), ElementsAre("three"));
}

TEST_F(JobStreamsTest, ALogThatIsNotFollowedEndsWithAJobStillRunning) {
  const std::string name = calls_.Submit();
  grpc::Status status;
  EXPECT_THAT(Log(name, 0, /*follow=*/false, &status), IsEmpty());
  EXPECT_THAT(status, IsOk());
}

TEST_F(JobStreamsTest, StreamsOfUnknownJobsAreRefused) {
  grpc::Status status;
  Watch("jobs/none", 0, &status);
  EXPECT_THAT(status, Refused(StatusCode::NOT_FOUND, "JOB_NOT_FOUND", ""));
  Log("jobs/none", 0, true, &status);
  EXPECT_THAT(status, Refused(StatusCode::NOT_FOUND, "JOB_NOT_FOUND", ""));
  Watch("none", 0, &status);
  EXPECT_THAT(status, Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "name"));
  Log("none", 0, true, &status);
  EXPECT_THAT(status, Refused(StatusCode::INVALID_ARGUMENT, "BAD_REQUEST", "name"));
}

TEST_F(JobStreamsTest, AShutdownEndsAllWaits) {
  const std::string name = calls_.Submit();
  grpc::Status watch_status;
  grpc::ClientContext context;
  v1::WatchJobRequest request = Named<v1::WatchJobRequest>(name);
  const auto reader = calls_.jobs->WatchJob(&context, request);
  v1::JobEvent event;
  ASSERT_TRUE(reader->Read(&event));
  server_.jobs().Shutdown();
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_THAT(reader->Finish(), Refused(StatusCode::UNAVAILABLE, "SHUTTING_DOWN", ""));
  v1::Job job;
  EXPECT_THAT(Wait(name, absl::Minutes(1), &job),
              Refused(StatusCode::UNAVAILABLE, "SHUTTING_DOWN", ""));
}

}  // namespace
}  // namespace lathe::server
