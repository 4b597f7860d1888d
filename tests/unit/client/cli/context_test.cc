// Exit codes, errors as JSON, and what flags hold.
#include "client/cli/context.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "proto/grpc_status.h"

namespace lathe::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::internal::CaptureStderr;
using ::testing::internal::CaptureStdout;
using ::testing::internal::GetCapturedStderr;
using ::testing::internal::GetCapturedStdout;

TEST(ExitCodeOf, FollowsTheTableOfTheDocumentation) {
  const std::vector<std::pair<absl::StatusCode, int>> cases = {
      {absl::StatusCode::kOk, 0},
      {absl::StatusCode::kNotFound, 1},
      {absl::StatusCode::kFailedPrecondition, 1},
      {absl::StatusCode::kInternal, 1},
      {absl::StatusCode::kDataLoss, 1},
      {absl::StatusCode::kDeadlineExceeded, 1},
      {absl::StatusCode::kInvalidArgument, 2},
      {absl::StatusCode::kUnavailable, 5},
      {absl::StatusCode::kUnauthenticated, 5},
      {absl::StatusCode::kPermissionDenied, 5},
      {absl::StatusCode::kCancelled, 130},
  };
  for (const auto& [code, expected] : cases)
    EXPECT_EQ(ExitCodeOf(absl::Status(code, "why")), expected) << absl::StatusCodeToString(code);
}

TEST(ContextFail, TellsPeopleOnStandardErrorAlone) {
  Context context;
  CaptureStdout();
  CaptureStderr();
  EXPECT_EQ(context.Fail(absl::NotFoundError("no such job")), 1);
  EXPECT_EQ(GetCapturedStderr(), "lathe: no such job\n");
  EXPECT_EQ(GetCapturedStdout(), "");
  EXPECT_EQ(context.exit_code, 1);
}

TEST(ContextFail, TellsProgramsInJsonOnOneLine) {
  Context context;
  context.json = true;
  CaptureStdout();
  CaptureStderr();
  context.Fail(BadRequestError({{"job.model", "must be \"models/ID\""}}));
  GetCapturedStderr();
  const std::string out = GetCapturedStdout();
  EXPECT_EQ(out.find('\n'), out.size() - 1);
  const nlohmann::json error = nlohmann::json::parse(out).at("error");
  EXPECT_EQ(error.at("code"), "INVALID_ARGUMENT");
  EXPECT_EQ(error.at("reason"), "BAD_REQUEST");
  EXPECT_EQ(error.at("exit_code"), 2);
  EXPECT_EQ(error.at("fields")[0].at("field"), "job.model");
  EXPECT_THAT(error.at("message").get<std::string>(), HasSubstr("models/ID"));
}

TEST(ErrorJson, TakesTextThatIsNotUtf8) {
  EXPECT_FALSE(nlohmann::json::parse(ErrorJson(absl::InternalError("\xff\xfe"), 1), nullptr, false)
                   .is_discarded());
}

TEST(ParseBindings, TakesNamesAndSizes) {
  const auto bound = ParseBindings({"batch=8", "a=b=3"});
  ASSERT_TRUE(bound.ok()) << bound.status();
  EXPECT_EQ(bound->at("batch"), 8);
  EXPECT_EQ(bound->at("a=b"), 3);  // a name may hold anything
}

TEST(ParseBindings, RefusesEverythingElseWithTheFlag) {
  for (const char* bad : {"batch", "=8", "batch=", "batch=0", "batch=-1", "batch=x",
                          "batch=2147483648", "batch=1.5"}) {
    const absl::Status status = ParseBindings({bad}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("--bind ", bad)));
  }
  EXPECT_THAT(std::string(ParseBindings({"n=1", "n=2"}).status().message()), HasSubstr("twice"));
}

TEST(ParseDurationFlag, TakesSecondsAndUnits) {
  const std::vector<std::pair<const char*, absl::Duration>> cases = {
      {"90", absl::Seconds(90)},  {"0.5", absl::Milliseconds(500)}, {"90s", absl::Seconds(90)},
      {"15m", absl::Minutes(15)}, {"1h30m", absl::Minutes(90)},     {"0", absl::ZeroDuration()}};
  for (const auto& [text, expected] : cases)
    EXPECT_EQ(*ParseDurationFlag("--timeout", text), expected) << text;
}

TEST(ParseDurationFlag, RefusesEverythingElseWithTheFlag) {
  for (const char* bad : {"", "soon", "-1s", "-1", "10 minutes", "nan"}) {
    const auto parsed = ParseDurationFlag("--timeout", bad);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("--timeout")) << bad;
  }
}

TEST(ResourceName, AddsTheCollectionWhereItWasLeftOut) {
  EXPECT_EQ(ResourceName("jobs", "abc"), "jobs/abc");
  EXPECT_EQ(ResourceName("jobs", "jobs/abc"), "jobs/abc");
}

TEST(ContextConnect, RefusesATokenFileThatCannotBeRead) {
  Context context;
  context.token_file = "/nonexistent/token";
  EXPECT_EQ(context.ConnectTo("127.0.0.1:1").status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace lathe::cli
