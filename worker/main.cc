// lathe-worker: wiring only. `lathe-worker --help` tells what it does.
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/build_info.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "worker/agent/agent.h"
#include "worker/agent/config.h"
#include "worker/agent/kept_states.h"
#include "worker/agent/ort_check.h"
#include "worker/agent/process_folder.h"
#include "worker/job/sandbox/sandbox.h"

namespace lathe::worker {
namespace {

// Trainings whose state is kept although no attempt of theirs runs here now.
constexpr size_t kStatesBesideSlots = 4;

AgentOptions ToAgentOptions(const WorkerConfig& config, const std::string& worker_id,
                            const std::string& folder) {
  AgentOptions options;
  options.worker_id = worker_id;
  options.host = config.name;
  options.slots = config.slots;
  options.drain = absl::Seconds(config.drain_seconds);
  options.attempt.worker_id = worker_id;
  options.attempt.job_binary = config.job_binary;
  options.attempt.work_root = absl::StrCat(folder, "/work");
  options.attempt.limits = {config.memory_limit_bytes, config.cpu_seconds_limit,
                            config.file_limit_bytes};
  options.attempt.threads = config.threads;
  options.attempt.ort_library = config.ort_library;
  options.attempt.checkpoint_seconds = config.checkpoint_seconds;
  options.attempt.hang_after = absl::Seconds(config.hang_seconds);
  options.attempt.share_inputs = LandlockVersion() > 0;
  return options;
}

// Waits for the signals that drain, until told that the work is over.
void WatchSignals(const sigset_t& signals, const std::atomic<bool>& over, Agent* agent) {
  while (!over.load()) {
    int number = 0;
    if (sigwait(&signals, &number) != 0 || over.load()) return;
    LogInfo("draining", {{"signal", number}});
    agent->Drain();
  }
}

absl::Status Serve(const WorkerConfig& config, const sigset_t& signals) {
  if (access(config.job_binary.c_str(), X_OK) != 0) {
    return absl::NotFoundError(absl::StrCat("there is no program ", config.job_binary,
                                            "; install lathe-job next to lathe-worker or name it "
                                            "with --job-binary"));
  }
  std::string onnxruntime_version;
  if (!config.ort_library.empty()) {
    ASSIGN_OR_RETURN(onnxruntime_version, CheckOrtLibrary(config.job_binary, config.ort_library));
  }
  if (config.check) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto connection,
                   ServerConnection::Create({config.server, config.token_file, config.tls_ca}));
  const std::string worker_id = config.worker_id.empty()
                                    ? MakeWorkerId(config.name, RandomIdGenerator().NewId())
                                    : config.worker_id;
  ASSIGN_OR_RETURN(const auto folder, ProcessFolder::Create(config.cache_dir, worker_id));
  const std::string blob_folder = absl::StrCat(folder->path(), "/blobs");
  const std::string state_folder = absl::StrCat(folder->path(), "/states");
  for (const std::string& path : {blob_folder, state_folder}) {
    std::error_code error;
    std::filesystem::create_directory(path, error);
    if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot make ", path));
  }

  RemoteBlobs blobs(connection.get());
  BlobCache cache(blob_folder, config.cache_limit_bytes, &blobs);
  KeptStates states(state_folder, static_cast<size_t>(config.slots) + kStatesBesideSlots);
  WorkerMetrics metrics(config.slots, BuildId());
  if (!config.metrics_listen.empty()) RETURN_IF_ERROR(metrics.Listen(config.metrics_listen));
  AgentOptions options = ToAgentOptions(config, worker_id, folder->path());
  options.onnxruntime_version = onnxruntime_version;
  Agent agent(std::move(options), {connection.get(), &blobs, &cache, &metrics, &states});
  LogInfo("worker starts", {{"worker_id", worker_id},
                            {"server", config.server},
                            {"slots", config.slots},
                            {"threads", config.threads},
                            {"memory_limit_bytes", config.memory_limit_bytes},
                            {"landlock", LandlockVersion()},
                            {"onnxruntime", onnxruntime_version},
                            {"build_id", BuildId()}});
  std::atomic<bool> over{false};
  std::thread watcher([&] { WatchSignals(signals, over, &agent); });
  const absl::Status status = agent.Run();
  over.store(true);
  pthread_kill(watcher.native_handle(), SIGTERM);  // out of sigwait
  watcher.join();
  LogInfo("worker ends", {{"worker_id", worker_id}});
  return status;
}

int Main(int argc, char** argv) {
  const ParsedConfig parsed = ParseCommandLine(argc, argv);
  if (!parsed.config.has_value()) return parsed.exit_code;
  LogLevel level = LogLevel::kInfo;
  ParseLogLevel(parsed.config->log_level, &level);
  InitLog(level, parsed.config->log_format == "json" ? LogFormat::kJson : LogFormat::kText,
          "worker");
  // Blocked in every thread, so that only WatchSignals takes them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  const absl::Status status = Serve(*parsed.config, signals);
  if (status.ok()) return 0;
  LogError("the worker cannot go on", {{"error", status.ToString()}});
  return 1;
}

}  // namespace
}  // namespace lathe::worker

int main(int argc, char** argv) { return lathe::worker::Main(argc, argv); }
