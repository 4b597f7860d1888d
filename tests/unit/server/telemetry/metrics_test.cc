// Every metric of design and documentation exists, and moves when its event happens in a real
// server.
#include "server/telemetry/metrics.h"

#include <prometheus/text_serializer.h>

#include <functional>

#include "common/build_info.h"
#include "common/digest.h"
#include "tests/support/prometheus_text.h"
#include "tests/support/refusal.h"
#include "tests/support/test_server.h"

namespace lathe::server {
namespace {

using lathe::testing::IsOk;
using lathe::testing::ParsePrometheusText;
using lathe::testing::PrometheusText;

class MetricsTest : public ::testing::Test {
 protected:
  MetricsTest() : calls_(server_.NewChannel()) {}

  PrometheusText Scrape() {
    if (const auto stats = server_.jobs().Stats(); stats.ok())
      server_.metrics().SetJobStats(*stats);
    return ParsePrometheusText(
        prometheus::TextSerializer().Serialize(server_.metrics().registry()->Collect()));
  }
  // By how much `event` moves a sample; one that is not there yet counts as 0.
  double Moves(const std::string& sample, const std::function<void()>& event) {
    const auto before = Scrape().samples;
    event();
    const auto it = before.find(sample);
    return Scrape().At(sample) - (it == before.end() ? 0 : it->second);
  }
  v1::Attempt SubmitAndLease() {
    calls_.Submit(calls_.MakeModel(absl::StrCat("weights", ++models_)));
    return calls_.Lease();
  }
  grpc::Status Upload(const std::string& bytes, int64_t offset, const std::string& chunk) {
    grpc::ClientContext context;
    v1::Blob blob;
    const auto writer = calls_.blobs->UploadBlob(&context, &blob);
    v1::UploadBlobRequest message;
    message.mutable_header()->set_digest(Sha256Hex(bytes));
    message.mutable_header()->set_size_bytes(static_cast<int64_t>(bytes.size()));
    message.mutable_header()->set_offset(offset);
    writer->Write(message);
    message.set_chunk(chunk);
    writer->Write(message);
    writer->WritesDone();
    return writer->Finish();
  }

  TestServer server_;
  TestCalls calls_;
  int models_ = 0;
};

TEST_F(MetricsTest, EveryMetricIsThereFromTheStartWithItsType) {
  const std::map<std::string, std::string> expected = {
      {"lathe_jobs_submitted_total", "counter"},
      {"lathe_jobs_completed_total", "counter"},
      {"lathe_jobs_retried_total", "counter"},
      {"lathe_jobs", "gauge"},
      {"lathe_queue_oldest_age_seconds", "gauge"},
      {"lathe_job_queue_duration_seconds", "histogram"},
      {"lathe_job_run_duration_seconds", "histogram"},
      {"lathe_lease_expirations_total", "counter"},
      {"lathe_stale_completions_rejected_total", "counter"},
      {"lathe_workers", "gauge"},
      {"lathe_worker_slots", "gauge"},
      {"lathe_worker_exits_total", "counter"},
      {"lathe_worker_peak_rss_bytes", "histogram"},
      {"lathe_upload_bytes_total", "counter"},
      {"lathe_upload_resumes_total", "counter"},
      {"lathe_digest_mismatches_total", "counter"},
      {"lathe_store_bytes", "gauge"},
      {"lathe_cache_lookups_total", "counter"},
      {"lathe_sqlite_commit_duration_seconds", "histogram"},
      {"lathe_compression_ratio", "histogram"},
      {"lathe_build_info", "gauge"},
  };
  const auto types = Scrape().types;
  for (const auto& [name, type] : expected) {
    ASSERT_EQ(types.count(name), 1u) << name;
    EXPECT_EQ(types.at(name), type) << name;
  }
  EXPECT_EQ(Scrape().At(absl::StrCat("lathe_build_info{build_id=\"", BuildId(), "\",version=\"",
                                     Version(), "\"}")),
            1);
}

TEST_F(MetricsTest, SubmissionAndCompletion) {
  EXPECT_EQ(Moves("lathe_jobs_submitted_total", [&] { calls_.Submit(); }), 1);
  const v1::Attempt attempt = calls_.Lease();
  EXPECT_EQ(Moves(R"(lathe_jobs_completed_total{method="fp16",outcome="succeeded",reason=""})",
                  [&] { EXPECT_THAT(calls_.Complete(calls_.SuccessOf(attempt)), IsOk()); }),
            1);
  const v1::Attempt failing = SubmitAndLease();
  EXPECT_EQ(Moves(R"(lathe_jobs_completed_total{method="fp16",outcome="failed",)"
                  R"(reason="INVALID_MODEL"})",
                  [&] {
                    calls_.Complete(TestCalls::FailureOf(
                        failing, v1::JOB_ERROR_REASON_INVALID_MODEL, /*transient=*/false));
                  }),
            1);
}

TEST_F(MetricsTest, ACompletedAttemptTellsItsTimesMemoryAndRatio) {
  calls_.Submit();
  const std::string queued = "lathe_job_queue_duration_seconds";
  EXPECT_EQ(Moves(queued + "_sum",
                  [&] {
                    server_.Advance(absl::Seconds(20));
                    const v1::Attempt attempt = calls_.Lease();
                    server_.Advance(absl::Seconds(7));
                    calls_.Complete(calls_.SuccessOf(attempt));
                  }),
            20);
  const PrometheusText text = Scrape();
  EXPECT_EQ(text.At(queued + "_count"), 1);
  EXPECT_EQ(text.At("lathe_job_run_duration_seconds_sum"), 7);
  EXPECT_EQ(text.At(R"(lathe_job_run_duration_seconds_bucket{le="3"})"), 0);
  EXPECT_EQ(text.At(R"(lathe_job_run_duration_seconds_bucket{le="10"})"), 1);
  EXPECT_EQ(text.At("lathe_worker_peak_rss_bytes_sum"), 1 << 20);
  EXPECT_EQ(text.At(R"(lathe_compression_ratio_sum{method="fp16"})"), 4);
}

TEST_F(MetricsTest, ACrashIsAnExitAndARetry) {
  const v1::Attempt attempt = SubmitAndLease();
  const auto crash = [&] {
    calls_.Complete(TestCalls::FailureOf(attempt, v1::JOB_ERROR_REASON_WORKER_OOM_KILLED,
                                         /*transient=*/true));
  };
  EXPECT_EQ(Moves(R"(lathe_jobs_retried_total{reason="WORKER_OOM_KILLED"})", crash), 1);
  EXPECT_EQ(Scrape().At(R"(lathe_worker_exits_total{cause="WORKER_OOM_KILLED"})"), 1);
}

TEST_F(MetricsTest, ASilentWorkerIsAnExpirationThenAStaleCompletion) {
  const v1::Attempt attempt = SubmitAndLease();
  EXPECT_EQ(Moves("lathe_lease_expirations_total", [&] { server_.Advance(absl::Seconds(16)); }), 1);
  EXPECT_EQ(Scrape().At(R"(lathe_jobs_retried_total{reason="LEASE_LOST"})"), 1);
  EXPECT_EQ(Moves("lathe_stale_completions_rejected_total",
                  [&] { calls_.Complete(calls_.SuccessOf(attempt)); }),
            1);
}

TEST_F(MetricsTest, GaugesFollowJobsAndWorkers) {
  EXPECT_EQ(Moves(R"(lathe_jobs{state="pending"})", [&] { calls_.Submit(); }), 1);
  EXPECT_EQ(Moves("lathe_queue_oldest_age_seconds", [&] { server_.Advance(absl::Seconds(5)); }), 5);
  EXPECT_EQ(Moves(R"(lathe_workers{state="ready"})", [&] { calls_.Lease(); }), 1);
  const PrometheusText text = Scrape();
  EXPECT_EQ(text.At(R"(lathe_jobs{state="pending"})"), 0);
  EXPECT_EQ(text.At(R"(lathe_jobs{state="running"})"), 1);
  EXPECT_EQ(text.At("lathe_queue_oldest_age_seconds"), 0);
  EXPECT_EQ(text.At(R"(lathe_worker_slots{state="busy"})"), 1);
  EXPECT_EQ(text.At(R"(lathe_worker_slots{state="free"})"), 0);
}

TEST_F(MetricsTest, UploadsCountBytesByEveryWayResumesAndMismatches) {
  EXPECT_EQ(Moves("lathe_upload_bytes_total", [&] { calls_.Put("12345"); }), 5);
  EXPECT_EQ(Moves("lathe_upload_bytes_total", [&] { calls_.MakeModel("1234567"); }), 7);
  EXPECT_EQ(Moves("lathe_upload_bytes_total", [&] { Upload("one two", 0, "one "); }), 4);
  EXPECT_EQ(Moves("lathe_upload_resumes_total",
                  [&] { EXPECT_THAT(Upload("one two", 4, "two"), IsOk()); }),
            1);
  EXPECT_EQ(Moves("lathe_digest_mismatches_total", [&] { Upload("right", 0, "wrong"); }), 1);
}

TEST_F(MetricsTest, TheResultCacheCountsMissesAndHits) {
  const std::string model = calls_.MakeModel();
  EXPECT_EQ(Moves(R"(lathe_cache_lookups_total{result="miss"})", [&] { calls_.Finished(model); }),
            1);
  EXPECT_EQ(Moves(R"(lathe_cache_lookups_total{result="hit"})", [&] { calls_.Submit(model); }), 1);
}

TEST_F(MetricsTest, CallsAreCountedByMethodAndCode) {
  EXPECT_EQ(Moves(R"(lathe_rpc_started_total{method="GetJob"})",
                  [&] {
                    grpc::ClientContext context;
                    v1::GetJobRequest request;
                    request.set_name("jobs/none");
                    v1::Job job;
                    calls_.jobs->GetJob(&context, request, &job);
                  }),
            1);
  EXPECT_EQ(Scrape().At(R"(lathe_rpc_duration_seconds_count{code="NOT_FOUND",method="GetJob"})"),
            1);
}

TEST_F(MetricsTest, DurableCommitsAreTimed) {
  EXPECT_GE(Moves("lathe_sqlite_commit_duration_seconds_count", [&] { calls_.Submit(); }), 1);
}

TEST_F(MetricsTest, TheStoresBytesAreWhatWasMeasured) {
  server_.metrics().SetStoreBytes(10, 20);
  EXPECT_EQ(Scrape().At(R"(lathe_store_bytes{kind="database"})"), 10);
  EXPECT_EQ(Scrape().At(R"(lathe_store_bytes{kind="blobs"})"), 20);
}

TEST_F(MetricsTest, NoSeriesIsLabelledByAJobOrAModel) {
  calls_.Finished();
  for (const auto& [sample, _] : Scrape().samples) {
    EXPECT_EQ(sample.find("jobs/"), std::string::npos) << sample;
    EXPECT_EQ(sample.find("models/"), std::string::npos) << sample;
  }
}

}  // namespace
}  // namespace lathe::server
