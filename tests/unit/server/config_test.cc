// Flags, the YAML file, what wins, what is refused; and what makes a server safe to start.
#include "server/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_folder.h"

namespace lathe::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ParsedConfig Parse(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "lathed");
  std::vector<const char*> argv;
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  return ParseConfig(static_cast<int>(argv.size()), argv.data());
}

class ConfigTest : public ::testing::Test {
 protected:
  ParsedConfig WithFile(const std::string& yaml, std::vector<std::string> flags = {}) {
    flags.insert(flags.begin(), {"--config", folder_.Write("lathed.yaml", yaml)});
    return Parse(flags);
  }
  static std::string Refusal(const ParsedConfig& parsed) {
    EXPECT_TRUE(parsed.exit_now);
    EXPECT_EQ(parsed.exit_code, 2);
    return parsed.output;
  }
  // What CheckConfig says of a server that was started with these flags; "" when it may start.
  static std::string Check(const std::vector<std::string>& flags, Config* config = nullptr) {
    ParsedConfig parsed = Parse(flags);
    EXPECT_FALSE(parsed.exit_now) << parsed.output;
    const absl::Status status = CheckConfig(&parsed.config);
    if (config != nullptr) *config = parsed.config;
    EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  }

  lathe::testing::TempFolder folder_;
};

TEST_F(ConfigTest, DefaultsServeThisMachineAlone) {
  const ParsedConfig parsed = Parse({});
  ASSERT_FALSE(parsed.exit_now) << parsed.output;
  EXPECT_EQ(parsed.config.listen, "127.0.0.1:50051");
  EXPECT_EQ(parsed.config.metrics_listen, "127.0.0.1:9464");
  EXPECT_EQ(parsed.config.data_dir, "./lathe-data");
  EXPECT_GE(parsed.config.local_workers, 1);
  EXPECT_LE(parsed.config.local_workers, 4);
  EXPECT_TRUE(parsed.config.result_cache);
  EXPECT_EQ(Check({}), "");
}

TEST_F(ConfigTest, TheFileSetsWhatFlagsDoNot) {
  const ParsedConfig parsed = WithFile(
      "listen: 127.0.0.1:1\nlocal-workers: 2\nlease-seconds: 2.5\nresult-cache: false\n"
      "allow-plaintext: true\n",
      {"--local-workers", "3", "--data-dir=/d"});
  ASSERT_FALSE(parsed.exit_now) << parsed.output;
  EXPECT_EQ(parsed.config.listen, "127.0.0.1:1");
  EXPECT_EQ(parsed.config.local_workers, 3);  // the flag wins
  EXPECT_EQ(parsed.config.data_dir, "/d");
  EXPECT_EQ(parsed.config.lease_s, 2.5);
  EXPECT_FALSE(parsed.config.result_cache);
  EXPECT_TRUE(parsed.config.allow_plaintext);
}

TEST_F(ConfigTest, FlagsWithoutAValueWinToo) {
  EXPECT_TRUE(WithFile("result-cache: false\n", {"--result-cache"}).config.result_cache);
  EXPECT_FALSE(WithFile("result-cache: true\n", {"--no-result-cache"}).config.result_cache);
}

TEST_F(ConfigTest, AnEmptyFileIsNone) {
  EXPECT_FALSE(WithFile("").exit_now);
  EXPECT_FALSE(WithFile("# nothing yet\n").exit_now);
}

TEST_F(ConfigTest, AnUnknownKeyIsRefusedWithTheNearestName) {
  const std::string refusal = Refusal(WithFile("local-worker: 2\n"));
  EXPECT_THAT(refusal, HasSubstr("lathed.yaml: unknown key \"local-worker\""));
  EXPECT_THAT(refusal, HasSubstr("did you mean \"local-workers\"?"));
  EXPECT_THAT(Refusal(WithFile("zzzzzzzz: 2\n")), HasSubstr("valid are: "));
  EXPECT_THAT(Refusal(WithFile("config: other.yaml\n")), HasSubstr("unknown key \"config\""));
}

TEST_F(ConfigTest, FilesOfAnotherShapeAreRefusedWithTheirName) {
  for (const char* yaml :
       {"- listen\n", "just text\n", "listen: [a, b]\n", "listen: {a: b}\n", "listen: {a\n"}) {
    EXPECT_THAT(Refusal(WithFile(yaml)), HasSubstr("lathed.yaml")) << yaml;
  }
  EXPECT_THAT(Refusal(Parse({"--config", folder_.File("none.yaml")})), HasSubstr("none.yaml"));
}

TEST_F(ConfigTest, ValuesOutsideTheirRangeAreRefusedWithTheFlag) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"local-workers", {"-1", "257", "many", "1.5"}},
      {"lease-seconds", {"0.5", "3601", "nan"}},
      {"max-attempts", {"0", "101"}},
      {"retry-seconds", {"-1", "3601", "nan"}},
      {"drain-seconds", {"-1", "86401", "nan"}},
      {"gc-interval-seconds", {"0", "nan"}},
      {"gc-grace-seconds", {"59", "inf"}},
      {"worker-memory-limit-mb", {"-1", "nan"}},
      {"log-level", {"loud"}},
      {"log-format", {"xml"}},
  };
  for (const auto& [flag, values] : cases) {
    for (const std::string& value : values) {
      EXPECT_THAT(Refusal(Parse({absl::StrCat("--", flag, "=", value)})), HasSubstr(flag)) << value;
      EXPECT_THAT(Refusal(WithFile(absl::StrCat(flag, ": ", value, "\n"))), HasSubstr(flag))
          << value;
    }
  }
  EXPECT_THAT(Refusal(Parse({"--no-such-flag"})), HasSubstr("--no-such-flag"));
  EXPECT_THAT(Refusal(Parse({"stray"})), HasSubstr("stray"));
}

TEST_F(ConfigTest, HelpAndVersionEndTheProgramWell) {
  const ParsedConfig help = Parse({"--help"});
  EXPECT_TRUE(help.exit_now);
  EXPECT_EQ(help.exit_code, 0);
  for (const char* text :
       {"--listen", "--data-dir", "127.0.0.1:50051", "--config", "SIGTERM", "Exit codes"})
    EXPECT_THAT(help.output, HasSubstr(text));
  EXPECT_THAT(Parse({"--version"}).output, HasSubstr("lathed "));
}

TEST_F(ConfigTest, BeyondLoopbackATokenAndTlsAreNeeded) {
  const std::string refusal = Check({"--listen", "0.0.0.0:50051"});
  EXPECT_THAT(refusal, HasSubstr("--auth-token-file"));
  EXPECT_THAT(refusal, HasSubstr("--tls-cert"));
  const std::string token = folder_.Write("token", "0123456789abcdef\n");
  EXPECT_THAT(Check({"--listen=[::]:1", "--auth-token-file", token}), HasSubstr("--tls-cert"));
  EXPECT_THAT(Check({"--listen=0.0.0.0:1", "--allow-plaintext"}), HasSubstr("--auth-token-file"));
  EXPECT_EQ(Check({"--listen=0.0.0.0:1", "--allow-plaintext", "--auth-token-file", token}), "");
  EXPECT_EQ(
      Check({"--listen=0.0.0.0:1", "--tls-cert=c", "--tls-key=k", "--auth-token-file", token}), "");
  for (const char* loopback : {"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"})
    EXPECT_EQ(Check({"--listen", loopback}), "") << loopback;
}

TEST_F(ConfigTest, TokensAreReadALineEach) {
  Config config;
  const std::string file =
      folder_.Write("tokens", "# ours\n\n  0123456789abcdef  \nfedcba9876543210\n");
  EXPECT_EQ(Check({"--auth-token-file", file}, &config), "");
  EXPECT_THAT(config.tokens, ElementsAre("0123456789abcdef", "fedcba9876543210"));
}

TEST_F(ConfigTest, BadTokenFilesAreRefusedWithoutQuotingThem) {
  const std::string refusal = Check({"--auth-token-file", folder_.Write("short", "hunter2\n")});
  EXPECT_THAT(refusal, HasSubstr("16 characters"));
  EXPECT_THAT(refusal, ::testing::Not(HasSubstr("hunter2")));
  EXPECT_THAT(Check({"--auth-token-file", folder_.Write("empty", "# none\n")}),
              HasSubstr("holds no token"));
  EXPECT_THAT(Check({"--auth-token-file", folder_.File("none")}), HasSubstr("cannot read"));
}

TEST_F(ConfigTest, WhatGoesTogetherMustBeGivenTogether) {
  EXPECT_THAT(Check({"--tls-cert=c"}), HasSubstr("--tls-key"));
  EXPECT_THAT(Check({"--tls-key=k"}), HasSubstr("--tls-cert"));
  EXPECT_THAT(Check({"--listen=nowhere"}), HasSubstr("HOST:PORT"));
  EXPECT_THAT(Check({"--listen=1.2.3.4:70000"}), HasSubstr("HOST:PORT"));
  EXPECT_THAT(Check({"--metrics-listen=:1"}), HasSubstr("HOST:PORT"));
}

}  // namespace
}  // namespace lathe::server
