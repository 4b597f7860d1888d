#include "worker/agent/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

namespace lathe::worker {
namespace {

using ::testing::HasSubstr;

ParsedConfig Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "lathe-worker");
  return ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
}

TEST(Config, DefaultsAreResolved) {
  const auto parsed = Parse({"--server", "localhost:1", "--cache-dir", "/c"});
  ASSERT_TRUE(parsed.config.has_value());
  EXPECT_GE(parsed.config->threads, 1);
  EXPECT_EQ(parsed.config->slots, 1);
  EXPECT_GT(parsed.config->memory_limit_bytes, 0);
  EXPECT_LE(parsed.config->memory_limit_bytes, AvailableMemoryBytes());
  EXPECT_THAT(parsed.config->job_binary, HasSubstr("/lathe-job"));
}

TEST(Config, MemoryIsSharedAmongSlots) {
  const auto one = Parse({"--server", "h:1", "--cache-dir", "/c"});
  const auto four = Parse({"--server", "h:1", "--cache-dir", "/c", "--slots", "4"});
  EXPECT_NEAR(static_cast<double>(four.config->memory_limit_bytes) * 4,
              static_cast<double>(one.config->memory_limit_bytes), 16);
}

TEST(Config, AnOrtLibraryIsNamedByItsWholePath) {
  const auto parsed = Parse({"--server", "h:1", "--cache-dir", "/c", "--ort-library", "ort.so"});
  EXPECT_EQ(parsed.config->ort_library, std::filesystem::current_path() / "ort.so");
  EXPECT_EQ(Parse({"--server", "h:1", "--cache-dir", "/c"}).config->ort_library, "");
}

TEST(Config, LimitsAreInMebibytes) {
  const auto parsed = Parse({"--server", "h:1", "--cache-dir", "/c", "--memory-limit-mb", "3",
                             "--file-limit-mb", "4", "--cache-limit-mb", "5"});
  EXPECT_EQ(parsed.config->memory_limit_bytes, 3 << 20);
  EXPECT_EQ(parsed.config->file_limit_bytes, 4 << 20);
  EXPECT_EQ(parsed.config->cache_limit_bytes, 5 << 20);
}

TEST(Config, AWorkerIdIsTakenWhenTheServerWouldTakeIt) {
  const auto given = Parse({"--server", "h:1", "--cache-dir", "/c", "--worker-id", "local-0-a1"});
  EXPECT_EQ(given.config->worker_id, "local-0-a1");
  for (const char* bad : {"", "Local", "a_b", "workers/a"}) {
    ::testing::internal::CaptureStderr();
    const auto parsed = Parse({"--server", "h:1", "--cache-dir", "/c", "--worker-id", bad});
    EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("[a-z0-9-]"));
    EXPECT_FALSE(parsed.config.has_value()) << bad;
    EXPECT_EQ(parsed.exit_code, 2);
  }
}

TEST(Config, HelpAndVersionEndWell) {
  for (const char* flag : {"--help", "--version"}) {
    ::testing::internal::CaptureStdout();
    const auto parsed = Parse({flag});
    EXPECT_THAT(::testing::internal::GetCapturedStdout(), HasSubstr("lathe-worker"));
    EXPECT_FALSE(parsed.config.has_value());
    EXPECT_EQ(parsed.exit_code, 0);
  }
}

TEST(Config, HelpNamesUnitsAndExitCodesAndNothingOfThisMachine) {
  ::testing::internal::CaptureStdout();
  Parse({"--help"});
  const std::string help = ::testing::internal::GetCapturedStdout();
  for (const char* needed : {"HOST:PORT", "SECONDS", "MIB", "Exit codes: 0", "2 wrong usage"}) {
    EXPECT_THAT(help, HasSubstr(needed));
  }
  // Types of the parser's own, and the folder this test runs from.
  const std::string folder = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  for (const std::string& unwanted : {std::string("TEXT"), folder}) {
    EXPECT_THAT(help, ::testing::Not(HasSubstr(unwanted)));
  }
}

TEST(Config, MistakesEndWithTwoAndSayWhat) {
  const std::vector<std::pair<std::vector<const char*>, const char*>> cases = {
      {{}, "--server"},
      {{"--server", "h:1", "--slots", "0"}, "--slots"},
      {{"--server", "h:1", "--threads", "-1"}, "--threads"},
      {{"--server", "h:1", "--log-format", "xml"}, "--log-format"},
      {{"--server", "h:1", "--token-file", "/no/such/file"}, "--token-file"},
      {{"--server", "h:1", "--frobnicate"}, "--frobnicate"},
  };
  for (const auto& [arguments, message] : cases) {
    ::testing::internal::CaptureStderr();
    const auto parsed = Parse(arguments);
    EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr(message));
    EXPECT_FALSE(parsed.config.has_value());
    EXPECT_EQ(parsed.exit_code, 2);
  }
}

}  // namespace
}  // namespace lathe::worker
