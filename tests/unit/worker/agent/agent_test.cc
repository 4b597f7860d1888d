// The whole agent, with real job processes and a real channel, against a server that fails to
// order.
#include "worker/agent/agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/digest.h"
#include "common/ids.h"
#include "tests/unit/worker/agent/fake_server.h"

namespace lathe::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

grpc::Status Unavailable() { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "down"); }

class AgentTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + "/agent-" + RandomIdGenerator().NewId();
    std::filesystem::create_directories(root_ + "/blobs");
    std::filesystem::create_directories(root_ + "/states");
    states_ = std::make_unique<KeptStates>(root_ + "/states", 4);
    std::ofstream(root_ + "/token") << "secret\n";
    auto connection = ServerConnection::Create({server_.address(), root_ + "/token", ""});
    ASSERT_TRUE(connection.ok()) << connection.status();
    connection_ = *std::move(connection);
    blobs_ = std::make_unique<RemoteBlobs>(connection_.get());
    cache_ = std::make_unique<BlobCache>(root_ + "/blobs", 1 << 30, blobs_.get());
    options_.worker_id = "worker-1";
    options_.slots = 1;
    options_.busy_wait = absl::Milliseconds(20);
    options_.attempt.worker_id = options_.worker_id;
    options_.attempt.job_binary = LATHE_FAKE_JOB;
    options_.attempt.work_root = root_ + "/work";
    options_.attempt.kill_grace = absl::Milliseconds(200);
  }

  void TearDown() override {
    if (agent_ != nullptr) {
      EXPECT_TRUE(Finish().ok());
    }
    EXPECT_TRUE(!std::filesystem::exists(root_ + "/work") ||
                std::filesystem::is_empty(root_ + "/work"))
        << "an attempt left its folder behind";
    std::filesystem::remove_all(root_);
  }

  void StartAgent() {
    agent_ = std::make_unique<Agent>(
        options_,
        AttemptServices{connection_.get(), blobs_.get(), cache_.get(), &metrics_, states_.get()});
    thread_ = std::thread([this] { run_status_ = agent_->Run(); });
  }

  // Interrupts what runs and waits for Run.
  absl::Status Finish() {
    agent_->Drain();
    agent_->Drain();
    return Join();
  }
  absl::Status Join() {
    thread_.join();
    agent_.reset();
    return run_status_;
  }

  // Another attempt of the job of the first one.
  int64_t AddAttemptOfFirst(const std::string& what) {
    const int64_t token = server_.AddAttempt(what);
    server_.LastAttempt()->set_job("jobs/1");
    return token;
  }
  // The log of the attempt whose completion is the `index`-th.
  std::string LogOf(size_t index) {
    const auto completion = server_.completions()[index];
    std::string log = server_.log_of(completion.lease_token());
    for (const std::string& line : completion.log_lines()) absl::StrAppend(&log, line, "\n");
    return log;
  }

  double Metric(const std::string& name, const std::string& label = "") {
    for (const auto& family : metrics_.registry().Collect()) {
      if (family.name != name) continue;
      for (const auto& metric : family.metric) {
        if (label.empty() || metric.label[0].value == label) {
          return metric.counter.value + metric.gauge.value;
        }
      }
    }
    return -1;
  }

  FakeServer server_;
  std::string root_;
  std::unique_ptr<ServerConnection> connection_;
  std::unique_ptr<RemoteBlobs> blobs_;
  std::unique_ptr<BlobCache> cache_;
  std::unique_ptr<KeptStates> states_;
  WorkerMetrics metrics_{1, "build"};
  AgentOptions options_;
  std::unique_ptr<Agent> agent_;
  std::thread thread_;
  absl::Status run_status_;
};

TEST_F(AgentTest, ASuccessIsUploadedAndCompletedWithItsToken) {
  const int64_t token = server_.AddAttempt("succeed");
  StartAgent();
  ASSERT_TRUE(server_.AwaitCompletions(1));
  const auto completion = server_.completions()[0];
  EXPECT_EQ(completion.lease_token(), token);
  EXPECT_EQ(completion.worker_id(), "worker-1");
  ASSERT_TRUE(completion.has_success()) << completion.DebugString();
  EXPECT_EQ(completion.success().main_file(), "model.onnx");
  ASSERT_EQ(completion.success().files_size(), 1);
  EXPECT_EQ(completion.success().files(0).digest(), Sha256Hex("small"));
  EXPECT_EQ(completion.success().files(0).size_bytes(), 5);
  EXPECT_EQ(completion.success().compression_ratio(), 4.0);
  const auto stored = server_.blobs();
  EXPECT_EQ(stored.at(Sha256Hex("small")), "small");
  EXPECT_EQ(stored.at(completion.success().report_digest()), "{}");
  EXPECT_EQ(stored.at(completion.success().report_text_digest()), "report");
  EXPECT_EQ(server_.token_seen(), "Bearer secret");
  EXPECT_TRUE(Finish().ok());
  EXPECT_EQ(Metric("lathe_worker_exits_total", "ok"), 1);
}

TEST_F(AgentTest, AFailureIsToldWithItsReasonAndTheNextAttemptRuns) {
  server_.AddAttempt("segv");
  server_.AddAttempt("error 3 INVALID_MODEL");
  server_.AddAttempt("succeed");
  StartAgent();
  ASSERT_TRUE(server_.AwaitCompletions(3));
  const auto completions = server_.completions();
  EXPECT_EQ(completions[0].failure().reason(), lathe::v1::JOB_ERROR_REASON_WORKER_CRASHED);
  EXPECT_TRUE(completions[0].failure().transient());
  EXPECT_EQ(completions[1].failure().reason(), lathe::v1::JOB_ERROR_REASON_INVALID_MODEL);
  EXPECT_FALSE(completions[1].failure().transient());
  EXPECT_EQ(completions[1].peak_rss_bytes() > 0, true);
  EXPECT_TRUE(completions[2].has_success());
}

TEST_F(AgentTest, SlotsRunSideBySide) {
  options_.slots = 2;
  const int64_t first = server_.AddAttempt("stop_never");
  const int64_t second = server_.AddAttempt("stop_never");
  StartAgent();
  EXPECT_TRUE(server_.AwaitStage(first, "deaf"));
  EXPECT_TRUE(server_.AwaitStage(second, "deaf"));
}

TEST_F(AgentTest, ACancelledAttemptStopsAndSaysSo) {
  const int64_t token = server_.AddAttempt("stop_never");
  StartAgent();
  ASSERT_TRUE(server_.AwaitStage(token, "deaf"));
  server_.StopAttempt(token);
  ASSERT_TRUE(server_.AwaitCompletions(1));
  EXPECT_TRUE(server_.completions()[0].has_cancelled());
}

TEST_F(AgentTest, AnAttemptStopsWhenItsLeaseIsSurelyLost) {
  server_.SetLease(absl::Milliseconds(300));
  const int64_t token = server_.AddAttempt("stop_never");
  StartAgent();
  ASSERT_TRUE(server_.AwaitStage(token, "deaf"));
  FakeServer::Faults faults;
  faults.synchronize = Unavailable();
  server_.SetFaults(faults);
  // The only thing that frees the slot is the end of the attempt; then the next one can start.
  while (Metric("lathe_worker_exits_total", "lease_lost") < 1)
    absl::SleepFor(absl::Milliseconds(5));
  server_.SetFaults({});
  server_.AddAttempt("succeed");
  ASSERT_TRUE(server_.AwaitCompletions(1));
  EXPECT_EQ(server_.completions()[0].lease_token(), token + 1);
}

TEST_F(AgentTest, AShortOutageCostsNothing) {
  const int64_t token = server_.AddAttempt("stop_never");
  StartAgent();
  ASSERT_TRUE(server_.AwaitStage(token, "deaf"));
  FakeServer::Faults faults;
  faults.synchronize = Unavailable();
  server_.SetFaults(faults);
  while (Metric("lathe_worker_synchronize_failures_total") < 2) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  server_.SetFaults({});
  server_.StopAttempt(token);
  ASSERT_TRUE(server_.AwaitCompletions(1));
  EXPECT_TRUE(server_.completions()[0].has_cancelled());
  EXPECT_EQ(Metric("lathe_worker_exits_total", "lease_lost"), 0);
}

TEST_F(AgentTest, AStaleResultIsDroppedAndTheWorkerGoesOn) {
  FakeServer::Faults faults;
  faults.completions = {grpc::Status(grpc::StatusCode::ABORTED, "STALE_LEASE")};
  server_.SetFaults(faults);
  server_.AddAttempt("succeed");
  server_.AddAttempt("succeed", "other weights");
  StartAgent();
  ASSERT_TRUE(server_.AwaitCompletions(2));
  EXPECT_TRUE(Finish().ok());
  EXPECT_THAT(server_.completions(), SizeIs(2));  // an ABORTED one is not repeated
  EXPECT_EQ(Metric("lathe_worker_stale_completions_total"), 1);
}

TEST_F(AgentTest, ACompletionIsRepeatedUntilItIsHeard) {
  FakeServer::Faults faults;
  faults.completions = {Unavailable(), Unavailable()};
  server_.SetFaults(faults);
  server_.AddAttempt("succeed");
  StartAgent();
  ASSERT_TRUE(server_.AwaitCompletions(3));
  EXPECT_TRUE(Finish().ok());
  EXPECT_THAT(server_.completions(), SizeIs(3));
}

TEST_F(AgentTest, DrainLetsWhatRunsFinish) {
  const int64_t token = server_.AddAttempt("stop_politely");
  StartAgent();
  ASSERT_TRUE(server_.AwaitStage(token, "prune_weights"));
  agent_->Drain();
  ASSERT_TRUE(server_.Await([this] { return server_.last_synchronize_is_draining(); }));
  server_.AddAttempt("succeed");  // nobody takes it
  server_.StopAttempt(token);
  EXPECT_TRUE(Join().ok());
  ASSERT_THAT(server_.completions(), SizeIs(1));
  EXPECT_EQ(server_.completions()[0].lease_token(), token);
  EXPECT_THAT(server_.last_synchronize().running(), IsEmpty());
}

TEST_F(AgentTest, DrainInterruptsWhatTakesTooLong) {
  options_.drain = absl::Milliseconds(50);
  const int64_t token = server_.AddAttempt("stop_never");
  StartAgent();
  ASSERT_TRUE(server_.AwaitStage(token, "deaf"));
  agent_->Drain();
  EXPECT_TRUE(Join().ok());
  ASSERT_THAT(server_.completions(), SizeIs(1));
  EXPECT_TRUE(server_.completions()[0].has_interrupted());
}

TEST_F(AgentTest, DrainEndsAlthoughTheServerIsGone) {
  options_.goodbye = absl::Milliseconds(300);
  const int64_t token = server_.AddAttempt("stop_never");
  StartAgent();
  ASSERT_TRUE(server_.AwaitStage(token, "deaf"));
  FakeServer::Faults faults;
  faults.synchronize = Unavailable();
  faults.completions = std::deque<grpc::Status>(1000, Unavailable());
  server_.SetFaults(faults);
  EXPECT_TRUE(Finish().ok());
}

TEST_F(AgentTest, AServerThatRefusesTheWorkerEndsIt) {
  FakeServer::Faults faults;
  faults.synchronize = grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "wrong token");
  server_.SetFaults(faults);
  StartAgent();
  EXPECT_EQ(Join().code(), absl::StatusCode::kUnauthenticated);
}

TEST_F(AgentTest, AMissingInputIsPermanent) {
  server_.AddAttempt("succeed");
  server_.LastAttempt()->mutable_files(0)->set_digest(Sha256Hex("never uploaded"));
  StartAgent();
  ASSERT_TRUE(server_.AwaitCompletions(1));
  const auto completion = server_.completions()[0];
  EXPECT_EQ(completion.failure().reason(), lathe::v1::JOB_ERROR_REASON_BLOB_MISSING);
  EXPECT_FALSE(completion.failure().transient());
}

TEST_F(AgentTest, AnInputPathOutOfItsFolderIsRefused) {
  server_.AddAttempt("succeed");
  server_.LastAttempt()->mutable_files(0)->set_path("../../escape");
  StartAgent();
  ASSERT_TRUE(server_.AwaitCompletions(1));
  const auto completion = server_.completions()[0];
  EXPECT_THAT(completion.failure().message(), HasSubstr("stay in its folder"));
  EXPECT_EQ(completion.failure().reason(), lathe::v1::JOB_ERROR_REASON_INVALID_MODEL);
  EXPECT_FALSE(completion.failure().transient());
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::path(root_) / "work" / "escape"));
}

TEST_F(AgentTest, AResultThatIsALinkIsNotFollowed) {
  server_.AddAttempt("link");
  StartAgent();
  ASSERT_TRUE(server_.AwaitCompletions(1));
  EXPECT_THAT(server_.completions()[0].failure().message(), HasSubstr("not a regular file"));
}

TEST_F(AgentTest, ACutDownloadGoesOnWhereItStopped) {
  FakeServer::Faults faults;
  faults.cut_download_after = 3;
  server_.SetFaults(faults);
  server_.AddAttempt("succeed", "0123456789");
  StartAgent();
  ASSERT_TRUE(server_.AwaitCompletions(1));
  EXPECT_TRUE(server_.completions()[0].has_success());
  EXPECT_THAT(server_.download_offsets(), ElementsAre(0, 3, 6, 9));
}

TEST_F(AgentTest, DamagedInputNeverReachesTheJob) {
  FakeServer::Faults faults;
  faults.flip_first_byte = true;
  server_.SetFaults(faults);
  server_.AddAttempt("succeed");
  StartAgent();
  ASSERT_TRUE(server_.AwaitCompletions(1));
  EXPECT_THAT(server_.completions()[0].failure().message(), HasSubstr("arrived with digest"));
  EXPECT_TRUE(server_.completions()[0].failure().transient());
}

TEST_F(AgentTest, TheWholeLogArrivesOnce) {
  const int64_t token = server_.AddAttempt("talk");
  StartAgent();
  ASSERT_TRUE(server_.AwaitCompletions(1));
  EXPECT_TRUE(Finish().ok());
  std::string log = server_.log_of(token);
  const auto completions = server_.completions();
  for (const std::string& line : completions[0].log_lines()) {
    absl::StrAppend(&log, line, "\n");
  }
  // 5000 lines at once may be more than is kept between two calls; then a note says how many are
  // left out.
  int next = 0;
  int arrived = 0;
  for (const absl::string_view line : absl::StrSplit(log, '\n')) {
    int number = 0;
    if (sscanf(std::string(line).c_str(), "line %d", &number) == 1) {
      EXPECT_GE(number, next) << "twice, or out of order";
      next = number + 1;
      ++arrived;
    } else if (sscanf(std::string(line).c_str(), "(%d lines left out", &number) == 1) {
      arrived += number;
    } else if (line == "last words \xef\xbf\xbd") {
      ++arrived;
    }
  }
  EXPECT_EQ(arrived, 5001);
}

TEST_F(AgentTest, AStateOfTheTrainingIsUploadedAndNamed) {
  const int64_t token = server_.AddAttempt("train one stop_politely");
  StartAgent();
  ASSERT_TRUE(server_.AwaitCheckpoints(1));
  const auto saved = server_.checkpoints()[0];
  EXPECT_EQ(saved.job(), "jobs/1");
  EXPECT_EQ(saved.lease_token(), token);
  EXPECT_EQ(saved.digest(), Sha256Hex("one"));
  EXPECT_EQ(server_.blobs().at(saved.digest()), "one");
  server_.StopAttempt(token);
  ASSERT_TRUE(server_.AwaitCompletions(1));
}

TEST_F(AgentTest, AStateIsNamedUntilTheServerHasIt) {
  FakeServer::Faults faults;
  faults.checkpoints = {Unavailable(), Unavailable(),
                        grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "BLOB_MISSING")};
  server_.SetFaults(faults);
  const int64_t token = server_.AddAttempt("train one stop_politely");
  StartAgent();
  ASSERT_TRUE(server_.AwaitCheckpoints(4));
  server_.StopAttempt(token);
  ASSERT_TRUE(server_.AwaitCompletions(1));
  EXPECT_THAT(server_.checkpoints(), SizeIs(4));
}

TEST_F(AgentTest, AStateThatIsRefusedCostsTheAttemptNothing) {
  FakeServer::Faults faults;
  faults.checkpoints = {grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "too large")};
  server_.SetFaults(faults);
  const int64_t token = server_.AddAttempt("train one stop_politely");
  StartAgent();
  ASSERT_TRUE(server_.AwaitCheckpoints(1));
  ASSERT_TRUE(server_.AwaitLog(token, "could not be sent to the server: too large"));
  server_.StopAttempt(token);
  ASSERT_TRUE(server_.AwaitCompletions(1));
  EXPECT_TRUE(server_.completions()[0].has_cancelled());
  EXPECT_THAT(server_.checkpoints(), SizeIs(1));
}

TEST_F(AgentTest, AStateThatIsALinkIsNotFollowed) {
  const int64_t token = server_.AddAttempt("train link stop_politely");
  StartAgent();
  ASSERT_TRUE(server_.AwaitLog(token, "is not a regular file"));
  server_.StopAttempt(token);
  ASSERT_TRUE(server_.AwaitCompletions(1));
  EXPECT_THAT(server_.checkpoints(), IsEmpty());
}

TEST_F(AgentTest, AnAttemptGoesOnFromWhatTheServerHandsOut) {
  server_.AddAttempt("train mine succeed");
  lathe::v1::AttemptCheckpoint* checkpoint = server_.LastAttempt()->mutable_checkpoint();
  checkpoint->set_digest(server_.AddBlob("earlier"));
  checkpoint->set_size_bytes(7);
  checkpoint->set_lease_token(0);
  StartAgent();
  ASSERT_TRUE(server_.AwaitCompletions(1));
  EXPECT_TRUE(server_.completions()[0].has_success());
  EXPECT_THAT(LogOf(0), HasSubstr("resumed from <earlier>"));
}

TEST_F(AgentTest, AStateThatCannotBeFetchedMakesTheTrainingStartOver) {
  struct Case {
    std::string digest;
    int64_t size_bytes;
    const char* why;
  };
  const std::string stored = server_.AddBlob("earlier");
  const std::vector<Case> cases = {{Sha256Hex("never uploaded"), 7, "no such blob"},
                                   {stored, 6, "longer than"},
                                   {stored, int64_t{1} << 50, "at most"},
                                   {"../../etc/passwd", 7, "digest"}};
  for (const Case& c : cases) {
    server_.AddAttempt("train mine succeed");
    server_.LastAttempt()->mutable_checkpoint()->set_digest(c.digest);
    server_.LastAttempt()->mutable_checkpoint()->set_size_bytes(c.size_bytes);
  }
  StartAgent();
  ASSERT_TRUE(server_.AwaitCompletions(cases.size()));
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(cases[i].why);
    EXPECT_TRUE(server_.completions()[i].has_success());
    EXPECT_THAT(LogOf(i), HasSubstr("could not be fetched, it starts over"));
    EXPECT_THAT(LogOf(i), HasSubstr(cases[i].why));
    EXPECT_THAT(LogOf(i), HasSubstr("resumed from <>"));
  }
}

TEST_F(AgentTest, AWorkerThatTriesAgainGoesOnFromItsOwnStateUnlessTheServersIsNewer) {
  const int64_t first = server_.AddAttempt("train local kill_self");
  AddAttemptOfFirst("train again kill_self");  // the server has nothing
  AddAttemptOfFirst("train third kill_self");  // the server has what the first attempt sent
  server_.LastAttempt()->mutable_checkpoint()->set_digest(server_.AddBlob("sent"));
  server_.LastAttempt()->mutable_checkpoint()->set_size_bytes(4);
  server_.LastAttempt()->mutable_checkpoint()->set_lease_token(first);
  AddAttemptOfFirst("train fourth succeed");  // another worker has been further
  server_.LastAttempt()->mutable_checkpoint()->set_digest(server_.AddBlob("sent"));
  server_.LastAttempt()->mutable_checkpoint()->set_size_bytes(4);
  server_.LastAttempt()->mutable_checkpoint()->set_lease_token(first + 100);
  AddAttemptOfFirst("train fifth succeed");  // what has ended leaves nothing
  server_.AddAttempt("train other succeed");
  StartAgent();
  ASSERT_TRUE(server_.AwaitCompletions(6));
  EXPECT_TRUE(server_.completions()[0].failure().transient());
  EXPECT_THAT(LogOf(0), HasSubstr("resumed from <>"));
  EXPECT_THAT(LogOf(1), HasSubstr("resumed from <local>"));
  EXPECT_THAT(LogOf(2), HasSubstr("resumed from <again>"));
  EXPECT_THAT(LogOf(3), HasSubstr("resumed from <sent>"));
  EXPECT_THAT(LogOf(4), HasSubstr("resumed from <>"));
  EXPECT_THAT(LogOf(5), HasSubstr("resumed from <>"));
}

TEST_F(AgentTest, ACutUploadGoesOnFromTheCommittedSize) {
  const std::string path = root_ + "/result";
  const std::string bytes(5 << 20, 'z');
  std::ofstream(path, std::ios::binary) << bytes;
  FakeServer::Faults faults;
  faults.cut_upload_after = 2 << 20;
  server_.SetFaults(faults);
  CancelScope scope;
  const LocalBlob blob = {path, Sha256Hex(bytes), static_cast<int64_t>(bytes.size())};
  ASSERT_TRUE(blobs_->Upload({blob}, &scope).ok());
  EXPECT_EQ(server_.blobs().at(blob.digest), bytes);
  EXPECT_THAT(server_.upload_offsets(), ElementsAre(0, 2 << 20, 4 << 20));
  // What the server has is not sent again.
  ASSERT_TRUE(blobs_->Upload({blob}, &scope).ok());
  EXPECT_THAT(server_.upload_offsets(), SizeIs(3));
}

TEST_F(AgentTest, AnUploadThatGetsNowhereIsGivenUpWhenStopped) {
  const std::string path = root_ + "/result";
  const std::string bytes(2 << 20, 'z');
  std::ofstream(path, std::ios::binary) << bytes;
  CancelScope scope;
  scope.Cancel();
  EXPECT_EQ(blobs_->Upload({{path, Sha256Hex(bytes), 2 << 20}}, &scope).code(),
            absl::StatusCode::kCancelled);
}

TEST(WorkerId, HasOnlyAllowedCharactersAndFits) {
  EXPECT_EQ(MakeWorkerId("Host.Example_1", "abc"), "host-example-1-abc");
  EXPECT_EQ(MakeWorkerId("", "abc"), "abc");
  const std::string id = MakeWorkerId(std::string(300, 'X'), RandomIdGenerator().NewId());
  EXPECT_EQ(id.size(), 63u);
}

}  // namespace
}  // namespace lathe::worker
