// What lathed can be told, by flags and by a YAML file of the same names (flags win).
#ifndef LATHE_SERVER_CONFIG_H_
#define LATHE_SERVER_CONFIG_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/log.h"

namespace lathe::server {

struct Config {
  // Listening.
  std::string listen = "127.0.0.1:50051";
  std::string metrics_listen = "127.0.0.1:9464";
  std::string port_file;
  // Security.
  std::string tls_cert;
  std::string tls_key;
  std::string auth_token_file;
  bool allow_plaintext = false;
  // Storage.
  std::string data_dir = "./lathe-data";
  double gc_interval_s = 600;
  double gc_grace_s = 86400;
  // Jobs and workers.
  int local_workers = 1;
  std::string worker_binary;
  double worker_memory_limit_mb = 0;
  std::string ort_library;  // "": none
  double checkpoint_s = 60;
  double lease_s = 15;
  int max_attempts = 3;
  double retry_initial_s = 1;
  double drain_s = 20;
  bool result_cache = true;
  // Logging.
  std::string log_level = "info";
  std::string log_format = "text";

  // Read from auth_token_file by Check.
  std::vector<std::string> tokens;
};

struct ParsedConfig {
  Config config;
  // Set when the program should end now (--help, --version, a wrong flag): print this and exit.
  bool exit_now = false;
  int exit_code = 0;
  std::string output;
};

// Flags, then the file --config names. Unknown keys in the file are refused with the nearest name.
ParsedConfig ParseConfig(int argc, const char* const* argv);

// What must hold together: addresses parse; beyond loopback a token and TLS (or allow_plaintext);
// files are readable. Fills tokens. INVALID_ARGUMENT with the flags to set.
absl::Status CheckConfig(Config* config);

}  // namespace lathe::server

#endif  // LATHE_SERVER_CONFIG_H_
