// /metrics and /healthz over real HTTP.
#include "server/http/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>

#include "tests/support/prometheus_text.h"

namespace lathe::server {
namespace {

using lathe::testing::ParsePrometheusText;
using lathe::testing::PrometheusText;
using ::testing::HasSubstr;

class HttpServerTest : public ::testing::Test {
 protected:
  HttpServerTest() { Start({}); }
  void Start(HttpOptions options) {
    if (options.listen.empty()) options.listen = "127.0.0.1:0";
    server_.reset();
    auto server = HttpServer::Start(std::move(options), &metrics_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  httplib::Result Get(const std::string& path) {
    return httplib::Client("http://" + server_->address()).Get(path.c_str());
  }

  Metrics metrics_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, MetricsAreInPrometheusTextWithATypeAndAHelpEach) {
  metrics_.JobSubmitted();
  const httplib::Result answer = Get("/metrics");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->get_header_value("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  const PrometheusText text = ParsePrometheusText(answer->body);
  EXPECT_EQ(text.At("lathe_jobs_submitted_total"), 1);
  for (const auto& [name, type] : text.types) EXPECT_EQ(text.helped.count(name), 1u) << name;
  EXPECT_GE(text.types.size(), 20u);
}

TEST_F(HttpServerTest, GaugesAreRefreshedBeforeEachScrape) {
  std::atomic<int> scrapes{0};
  HttpOptions options;
  options.before_scrape = [&] { metrics_.SetStoreBytes(++scrapes, 0); };
  Start(options);
  const std::string sample = R"(lathe_store_bytes{kind="database"})";
  EXPECT_EQ(ParsePrometheusText(Get("/metrics")->body).At(sample), 1);
  EXPECT_EQ(ParsePrometheusText(Get("/metrics")->body).At(sample), 2);
}

TEST_F(HttpServerTest, HealthIsOkOr503WithTheReason) {
  EXPECT_EQ(Get("/healthz")->status, 200);
  EXPECT_EQ(Get("/healthz")->body, "ok\n");
  std::atomic<bool> draining{false};
  HttpOptions options;
  options.health = [&]() -> absl::Status {
    return draining ? absl::UnavailableError("draining") : absl::OkStatus();
  };
  Start(options);
  EXPECT_EQ(Get("/healthz")->status, 200);
  draining = true;
  EXPECT_EQ(Get("/healthz")->status, 503);
  EXPECT_EQ(Get("/healthz")->body, "draining\n");
}

TEST_F(HttpServerTest, EverythingElseIsNotFoundAndNothingCanBeSent) {
  for (const char* path : {"/", "/metric", "/metrics/", "/healthz/x", "/../etc/passwd"}) {
    const httplib::Result answer = Get(path);
    ASSERT_TRUE(answer) << path;
    EXPECT_GE(answer->status, 400) << path;
    EXPECT_LT(answer->status, 500) << path;
  }
  const httplib::Result post = httplib::Client("http://" + server_->address())
                                   .Post("/metrics", "lathe_jobs_submitted_total 9", "text/plain");
  ASSERT_TRUE(post);
  EXPECT_EQ(post->status, 404);
}

TEST_F(HttpServerTest, TwoServersNeverShareAPort) {
  HttpOptions options;
  options.listen = server_->address();
  const auto second = HttpServer::Start(options, &metrics_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("--metrics-listen"));
}

TEST_F(HttpServerTest, AnAddressThatIsNoneIsRefused) {
  HttpOptions options;
  options.listen = "nowhere";
  EXPECT_EQ(HttpServer::Start(options, &metrics_).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace lathe::server
