// Watching and waiting over connections that break.
#include "tests/unit/client/cpp/client_test_util.h"

namespace lathe::client {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class WatchTest : public ClientTest {
 protected:
  // A finished job of three events: PENDING, RUNNING, SUCCEEDED.
  WatchTest() : job_(server_.real().Finished()) {}

  absl::StatusOr<v1::Job> Watch() {
    return client().WatchJob(job_, 0, [this](const v1::JobEvent& event) {
      sequences_.push_back(event.sequence());
      return true;
    });
  }
  void CutStreams(int cuts, int after, bool in_peace = false) {
    Faults faults;
    faults.cuts = cuts;
    faults.cut_after = after;
    faults.cut_in_peace = in_peace;
    server_.SetFaults(faults);
  }

  const std::string job_;
  std::vector<int64_t> sequences_;
};

TEST_F(WatchTest, EveryEventIsToldOnceThenTheFinishedJob) {
  const auto done = Watch();
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_THAT(sequences_, ElementsAre(1, 2, 3));
}

TEST_F(WatchTest, ABrokenWatchGoesOnFromTheLastEvent) {
  CutStreams(/*cuts=*/2, /*after=*/1);
  const auto done = Watch();
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_THAT(sequences_, ElementsAre(1, 2, 3));
  EXPECT_THAT(server_.starts(), ElementsAre(0, 1, 2));
}

TEST_F(WatchTest, AWatchThatBreaksBeforeAnyEventStartsOver) {
  CutStreams(/*cuts=*/1, /*after=*/0);
  ASSERT_TRUE(Watch().ok());
  EXPECT_THAT(sequences_, ElementsAre(1, 2, 3));
  EXPECT_THAT(server_.starts(), ElementsAre(0, 0));
}

TEST_F(WatchTest, AFailureThatWillNotPassEndsTheWatch) {
  Faults faults;
  faults.cuts = 1;
  faults.cut_after = 1;
  faults.failure = grpc::Status(grpc::StatusCode::INTERNAL, "injected");
  server_.SetFaults(faults);
  EXPECT_EQ(Watch().status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(server_.CallsOf("WatchJob"), 1);
}

TEST_F(WatchTest, ACallbackThatHasEnoughStopsTheWatch) {
  const auto stopped = client().WatchJob(job_, 0, [](const v1::JobEvent&) { return false; });
  EXPECT_EQ(stopped.status().code(), absl::StatusCode::kCancelled);
}

TEST_F(WatchTest, AStreamThatEndsInPeaceBeforeTheJobIsTakenUpAgain) {
  const std::string running = server_.real().Submit(server_.real().MakeModel("another"));
  const v1::Attempt attempt = server_.real().Lease();
  CutStreams(/*cuts=*/1, /*after=*/2, /*in_peace=*/true);
  std::vector<v1::JobState> states;
  const auto done = client().WatchJob(running, 0, [&](const v1::JobEvent& event) {
    states.push_back(event.state_change().state());
    if (states.size() == 2) {
      EXPECT_TRUE(server_.real().Complete(server_.real().SuccessOf(attempt)).ok());
    }
    return true;
  });
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(WatchTest, ABrokenLogGoesOnFromTheLastLine) {
  const std::string job = server_.real().Submit(server_.real().MakeModel("another"));
  v1::CompleteAttemptRequest completion = server_.real().SuccessOf(server_.real().Lease());
  for (const char* line : {"one", "two", "three"}) completion.add_log_lines(line);
  ASSERT_TRUE(server_.real().Complete(completion).ok());
  CutStreams(/*cuts=*/2, /*after=*/1);
  std::vector<std::string> lines;
  const absl::Status status = client().StreamLogs(job, /*follow=*/true, [&](const v1::JobLog& log) {
    lines.push_back(log.line());
    return true;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(lines, ElementsAre("one", "two", "three"));
}

TEST_F(WatchTest, WaitingEndsWithTheJobOrItsTimeout) {
  EXPECT_EQ(client().WaitJob(job_, absl::InfiniteDuration())->state(), v1::JOB_STATE_SUCCEEDED);
  const std::string pending = server_.real().Submit(server_.real().MakeModel("another"));
  const absl::Status status = client().WaitJob(pending, absl::Milliseconds(20)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("still PENDING"));
}

}  // namespace
}  // namespace lathe::client
