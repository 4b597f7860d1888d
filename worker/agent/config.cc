#include "worker/agent/config.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <thread>

#include "absl/strings/numbers.h"
#include "common/build_info.h"

namespace lathe::worker {
namespace {

constexpr int64_t kMebibyte = 1 << 20;

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "worker";
}

std::string DefaultCacheDir() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') {
    return std::string(cache) + "/lathe-worker";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    return std::string(home) + "/.cache/lathe-worker";
  }
  return "";
}

// "" when it is an id that the server takes.
std::string CheckWorkerId(const std::string& id) {
  const bool plain =
      !id.empty() && id.size() <= 63 && std::all_of(id.begin(), id.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
      });
  return plain ? "" : "must be 1 to 63 characters of [a-z0-9-]";
}

std::string SiblingJobBinary() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? "lathe-job" : (self.parent_path() / "lathe-job").string();
}

}  // namespace

int64_t AvailableMemoryBytes() {
  int64_t bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream in(path);
    std::string text;
    int64_t limit;
    if (in >> text && absl::SimpleAtoi(text, &limit) && limit > 0) bytes = std::min(bytes, limit);
  }
  return bytes;
}

ParsedConfig ParseCommandLine(int argc, const char* const* argv) {
  WorkerConfig config;
  config.name = HostName();
  config.cache_dir = DefaultCacheDir();
  config.job_binary = SiblingJobBinary();
  int64_t memory_limit_mb = 0;
  int64_t file_limit_mb = 65536;
  int64_t cache_limit_mb = 20480;
  config.hang_seconds = 600;
  config.drain_seconds = 300;
  config.checkpoint_seconds = 60;
  config.log_format = "text";
  config.log_level = "info";

  CLI::App app(
      "lathe-worker: runs compression jobs for a Lathe server.\n\n"
      "Asks the server for jobs, runs each in a locked-in process of its own (lathe-job) and "
      "sends\n"
      "the result back. Run as many workers as you like, on any machine that reaches the server.\n"
      "SIGTERM or SIGINT drains: no new job, what runs may finish, exit code 0. A second one\n"
      "interrupts what runs; the server gives it to another worker and does not count the attempt.",
      "lathe-worker");
  app.set_version_flag("--version", std::string("lathe-worker ") + BuildId());
  app.footer(
      "Exit codes: 0 drained; 1 it cannot go on (the server refuses it, lathe-job is missing,\n"
      "--ort-library cannot be used);\n"
      "2 wrong usage.");
  app.get_formatter()->column_width(34);
  app.add_option("--server", config.server, "Server's address, HOST:PORT")
      ->type_name("HOST:PORT")
      ->envname("LATHE_SERVER")
      ->required();
  app.add_option("--token-file", config.token_file, "File that holds the bearer token")
      ->type_name("FILE")
      ->envname("LATHE_TOKEN_FILE")
      ->check(CLI::ExistingFile);
  app.add_option("--tls-ca", config.tls_ca,
                 "PEM file of the authority that signed the server's certificate; turns TLS on")
      ->type_name("FILE")
      ->envname("LATHE_TLS_CA")
      ->check(CLI::ExistingFile);
  app.add_option("--name", config.name,
                 "Name shown for this worker; a random part is added to make its id. Default: the "
                 "machine's name")
      ->type_name("NAME");
  app.add_option("--worker-id", config.worker_id,
                 "Id of this worker, [a-z0-9-]; never the same for two, nor for two lives of one. "
                 "Default: --name and a random part")
      ->type_name("ID")
      ->check(CheckWorkerId);
  app.add_option("--slots", config.slots, "Jobs to run at a time")
      ->type_name("N")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--threads", config.threads, "Threads of one job; 0: processors divided by slots")
      ->type_name("N")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--cache-dir", config.cache_dir,
                 "Folder for fetched inputs and work in progress; workers may share one. Default: "
                 "lathe-worker in $XDG_CACHE_HOME or ~/.cache")
      ->type_name("FOLDER")
      ->required(config.cache_dir.empty());
  app.add_option("--cache-limit-mb", cache_limit_mb,
                 "Fetched inputs kept, in MiB; the least lately used go first")
      ->type_name("MIB")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->capture_default_str();
  app.add_option("--memory-limit-mb", memory_limit_mb,
                 "Memory of one job, in MiB; 0: 80 % of this machine's divided by slots")
      ->type_name("MIB")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->capture_default_str();
  app.add_option("--cpu-seconds-limit", config.cpu_seconds_limit,
                 "Processor time of one job, in seconds over all its threads; 0: no limit")
      ->type_name("SECONDS")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->capture_default_str();
  app.add_option("--file-limit-mb", file_limit_mb,
                 "Largest file a job may write, in MiB; 0: no limit")
      ->type_name("MIB")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->capture_default_str();
  app.add_option("--hang-seconds", config.hang_seconds,
                 "A job that tells nothing for this long and uses no processor time is ended as "
                 "hung; one that is busy but silent, after 12 times as long")
      ->type_name("SECONDS")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--drain-seconds", config.drain_seconds,
                 "How long a drain waits for running jobs before it interrupts them")
      ->type_name("SECONDS")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--checkpoint-seconds", config.checkpoint_seconds,
                 "How often a job that trains saves where it stands, for the next attempt to go on "
                 "from when this one dies; 0: never")
      ->type_name("SECONDS")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--metrics-listen", config.metrics_listen,
                 "Serve Prometheus metrics at http://HOST:PORT/metrics; default: off")
      ->type_name("HOST:PORT");
  app.add_option("--job-binary", config.job_binary,
                 "The program that runs one job. Default: lathe-job beside lathe-worker")
      ->type_name("FILE");
  app.add_option(
         "--ort-library", config.ort_library,
         "ONNX Runtime's shared library (libonnxruntime.so.VERSION): jobs with data measure "
         "latency in it too. Default: none")
      ->type_name("FILE");
  app.add_flag("--check", config.check,
               "Check that lathe-job is there and --ort-library can be used, then end");
  app.add_option("--log-format", config.log_format, "text or json, on standard error")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.add_option("--log-level", config.log_level, "debug, info, warning or error")
      ->type_name("LEVEL")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    ParsedConfig out;
    out.exit_code = app.exit(e) == 0 ? 0 : 2;
    return out;
  }
  if (config.threads == 0) {
    const int processors = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    config.threads = std::max(1, processors / config.slots);
  }
  if (!config.ort_library.empty()) {
    std::error_code error;  // a relative path: jobs run in folders of their own
    const auto absolute = std::filesystem::absolute(config.ort_library, error);
    if (!error) config.ort_library = absolute.string();
  }
  config.memory_limit_bytes = memory_limit_mb > 0 ? memory_limit_mb * kMebibyte
                                                  : AvailableMemoryBytes() / 10 * 8 / config.slots;
  config.file_limit_bytes = file_limit_mb * kMebibyte;
  config.cache_limit_bytes = cache_limit_mb * kMebibyte;
  ParsedConfig out;
  out.config = std::move(config);
  return out;
}

}  // namespace lathe::worker
