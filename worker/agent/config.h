// The command line of lathe-worker.
#ifndef LATHE_WORKER_AGENT_CONFIG_H_
#define LATHE_WORKER_AGENT_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace lathe::worker {

struct WorkerConfig {
  std::string server;
  std::string cache_dir;
  int slots = 1;
  int threads = 0;  // resolved: at least 1
  std::string name;
  std::string worker_id;  // "": name and a random part
  std::string token_file;
  std::string tls_ca;
  int64_t memory_limit_bytes = 0;  // a job; resolved
  int64_t cpu_seconds_limit = 0;   // a job; 0: none
  int64_t file_limit_bytes = 0;    // any one file a job writes
  int64_t cache_limit_bytes = 0;
  int64_t hang_seconds = 0;
  int64_t drain_seconds = 0;
  int64_t checkpoint_seconds = 0;  // between states of a training; 0: none are saved
  std::string metrics_listen;      // "": off
  std::string log_format;          // "text" or "json"
  std::string log_level;
  std::string job_binary;   // resolved: lathe-job next to this program
  std::string ort_library;  // absolute; "": none
  bool check = false;       // check what is configured, then end
};

// Parses and resolves defaults. When there is nothing left to do (--help, --version, a mistake),
// the text has been printed and `exit_code` is set instead.
struct ParsedConfig {
  std::optional<WorkerConfig> config;
  int exit_code = 0;
};
ParsedConfig ParseCommandLine(int argc, const char* const* argv);

// Physical memory, or what the control group allows if that is less. Unit: bytes.
int64_t AvailableMemoryBytes();

}  // namespace lathe::worker

#endif  // LATHE_WORKER_AGENT_CONFIG_H_
