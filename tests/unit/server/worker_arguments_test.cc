// What lathed tells its local workers is what lathe-worker understands.
#include "server/worker_arguments.h"

#include <gtest/gtest.h>

#include "tests/support/temp_folder.h"
#include "worker/agent/config.h"

namespace lathe::server {
namespace {

worker::WorkerConfig Understood(const Config& config) {
  std::vector<std::string> arguments = WorkerArguments(config, "127.0.0.1:7");
  arguments.insert(arguments.begin(), "lathe-worker");
  arguments.insert(arguments.end(), {"--cache-dir", ::testing::TempDir()});
  std::vector<const char*> argv;
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  const worker::ParsedConfig parsed =
      worker::ParseCommandLine(static_cast<int>(argv.size()), argv.data());
  EXPECT_TRUE(parsed.config.has_value());
  return parsed.config.value_or(worker::WorkerConfig());
}

TEST(WorkerArguments, DefaultsAreUnderstood) {
  const worker::WorkerConfig config = Understood({});
  EXPECT_EQ(config.server, "127.0.0.1:7");
  EXPECT_EQ(config.drain_seconds, 20);
  EXPECT_EQ(config.log_level, "info");
  EXPECT_EQ(config.log_format, "text");
  EXPECT_EQ(config.checkpoint_seconds, 60);
}

TEST(WorkerArguments, FractionsAndLargeNumbersBecomeWholeOnes) {
  Config config;
  config.drain_s = 0.5;
  config.worker_memory_limit_mb = 2'000'000;  // would print as 2e+06
  config.checkpoint_s = 2.5;
  EXPECT_EQ(Understood(config).checkpoint_seconds, 3);
  EXPECT_EQ(Understood(config).drain_seconds, 1);
  EXPECT_EQ(Understood(config).memory_limit_bytes, int64_t{2'000'000} << 20);
}

TEST(WorkerArguments, OnnxRuntimeIsHandedOn) {
  Config config;
  EXPECT_EQ(Understood(config).ort_library, "");
  config.ort_library = "/opt/libonnxruntime.so";
  EXPECT_EQ(Understood(config).ort_library, "/opt/libonnxruntime.so");
}

TEST(WorkerArguments, CredentialsAreHandedOn) {
  const lathe::testing::TempFolder folder;
  Config config;
  config.auth_token_file = folder.Write("token", "0123456789abcdef\n");
  config.tls_cert = folder.Write("cert.pem", "pem");
  config.log_level = "warning";
  config.log_format = "json";
  const worker::WorkerConfig understood = Understood(config);
  EXPECT_EQ(understood.token_file, config.auth_token_file);
  EXPECT_EQ(understood.tls_ca, "");  // they come by the loopback port, in the clear
  EXPECT_EQ(understood.log_level, "warning");
  EXPECT_EQ(understood.log_format, "json");
}

}  // namespace
}  // namespace lathe::server
