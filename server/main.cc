// lathed: wiring only.
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/build_info.h"
#include "common/clock.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "server/blobs/garbage_collector.h"
#include "server/blobs/local_blob_store.h"
#include "server/config.h"
#include "server/http/http_server.h"
#include "server/jobs/job_service.h"
#include "server/jobs/library.h"
#include "server/rpc/rpc_server.h"
#include "server/store/data_dir_lock.h"
#include "server/store/sqlite_store.h"
#include "server/supervisor.h"
#include "server/telemetry/metrics.h"
#include "server/worker_arguments.h"
#include "server/worker_check.h"

namespace lathe::server {
namespace {

namespace fs = std::filesystem;

int64_t FileBytes(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 ? info.st_size : 0;
}

absl::Status WritePortFile(const std::string& path, const std::string& listen,
                           const std::string& metrics_listen) {
  const std::string partial = path + ".partial";
  std::ofstream out(partial);
  out << nlohmann::json{{"listen", listen}, {"metrics_listen", metrics_listen}, {"pid", getpid()}}
             .dump()
      << "\n";
  out.close();
  if (!out || std::rename(partial.c_str(), path.c_str()) != 0) {
    return absl::PermissionDeniedError(absl::StrCat("cannot write --port-file ", path));
  }
  return absl::OkStatus();
}

// Ends the process when a shutdown takes longer than it may.
void ArmWatchdog(double seconds) { alarm(static_cast<unsigned>(seconds) + 60); }

absl::Status Serve(const Config& config, const sigset_t& signals) {
  RealClock clock;
  RandomIdGenerator ids;
  SystemRandom random;
  Metrics metrics;
  ASSIGN_OR_RETURN(const std::unique_ptr<DataDirLock> lock, DataDirLock::Acquire(config.data_dir));
  ASSIGN_OR_RETURN(const std::unique_ptr<LocalBlobStore> blobs,
                   LocalBlobStore::Create(config.data_dir + "/blobstore"));
  SqliteStoreOptions store_options;
  store_options.path = config.data_dir + "/lathe.db";
  store_options.on_commit = [&metrics](absl::Duration took, int) { metrics.Committed(took); };
  ASSIGN_OR_RETURN(const std::unique_ptr<SqliteStore> store,
                   SqliteStore::Open(store_options, &clock));
  JobServiceOptions job_options;
  job_options.lease_duration = absl::Seconds(config.lease_s);
  job_options.max_attempts = config.max_attempts;
  job_options.backoff.initial = absl::Seconds(config.retry_initial_s);
  job_options.use_result_cache = config.result_cache;
  job_options.build_id = BuildId();
  job_options.discard_blob = [&blobs](const std::string& digest) {
    if (const absl::Status gone = blobs->Delete(digest); !gone.ok()) {
      LogWarning("an old checkpoint was not deleted; the collector will",
                 {{"digest", digest}, {"error", gone.message()}});
    }
  };
  ASSIGN_OR_RETURN(
      const std::unique_ptr<JobService> jobs,
      JobService::Create(job_options, store.get(), blobs.get(), &clock, &ids, &random, &metrics));
  Library library(store.get(), blobs.get(), &clock, &ids);
  GarbageCollector collector(
      {absl::Seconds(config.gc_interval_s), absl::Seconds(config.gc_grace_s)}, blobs.get(), &clock,
      [&] { return jobs->ReferencedDigests(); },
      [&](const std::string& digest) { return jobs->IsReferenced(digest); });

  RpcOptions rpc_options;
  rpc_options.listen = config.listen;
  rpc_options.tls_cert_file = config.tls_cert;
  rpc_options.tls_key_file = config.tls_key;
  rpc_options.tokens = config.tokens;
  rpc_options.max_attempts = config.max_attempts;
  rpc_options.local_workers = config.local_workers > 0;
  ASSIGN_OR_RETURN(const std::unique_ptr<RpcServer> rpc,
                   RpcServer::Start(rpc_options, &library, jobs.get(), blobs.get(), &metrics));
  std::atomic<bool> draining{false};
  HttpOptions http_options;
  http_options.listen = config.metrics_listen;
  http_options.before_scrape = [&] {
    if (const absl::StatusOr<JobStats> stats = jobs->Stats(); stats.ok())
      metrics.SetJobStats(*stats);
    int64_t blob_bytes = 0;
    if (blobs->ForEach([&](const StoredBlob& blob) { blob_bytes += blob.size_bytes; }).ok()) {
      metrics.SetStoreBytes(FileBytes(store_options.path) + FileBytes(store_options.path + "-wal"),
                            blob_bytes);
    }
  };
  http_options.health = [&]() -> absl::Status {
    if (draining) return absl::UnavailableError("draining");
    return jobs->Stats().status();
  };
  ASSIGN_OR_RETURN(const std::unique_ptr<HttpServer> http,
                   HttpServer::Start(http_options, &metrics));
  JobTicker ticker(jobs.get(), absl::Milliseconds(250));
  collector.Start();

  SupervisorOptions worker_options;
  worker_options.binary = WorkerBinary(config);
  worker_options.workers = config.local_workers;
  worker_options.folder = config.data_dir + "/workers";
  worker_options.kill_after = absl::Seconds(config.drain_s + 15);
  worker_options.arguments = WorkerArguments(config, rpc->local_address());
  std::error_code error;
  fs::create_directories(worker_options.folder, error);
  worker_options.on_exit = [&jobs](const std::string& worker_id, const std::string& cause) {
    jobs->WorkerDied(worker_id, cause);
  };
  Supervisor supervisor(worker_options, &ids);
  RETURN_IF_ERROR(supervisor.Start());

  if (!config.port_file.empty())
    RETURN_IF_ERROR(WritePortFile(config.port_file, rpc->address(), http->address()));
  LogInfo("serving", {{"listen", rpc->address()},
                      {"metrics", absl::StrCat("http://", http->address(), "/metrics")},
                      {"data_dir", config.data_dir},
                      {"local_workers", config.local_workers},
                      {"tls", config.tls_cert.empty() ? "off" : "on"},
                      {"token", config.tokens.empty() ? "off" : "on"},
                      {"build", BuildId()}});

  int signal = 0;
  sigwait(&signals, &signal);
  LogInfo("draining", {{"signal", signal}, {"seconds", config.drain_s}});
  ArmWatchdog(config.drain_s);
  draining = true;
  rpc->SetNotServing();
  jobs->StopLeasing();
  supervisor.Stop();  // local workers finish what they can, and tell us of the rest
  if (config.local_workers == 0) absl::SleepFor(absl::Milliseconds(100));
  jobs->Shutdown();
  rpc->Shutdown(absl::Seconds(2));
  if (!config.port_file.empty()) unlink(config.port_file.c_str());
  LogInfo("stopped");
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
#ifdef NDEBUG
  // Debian's Abseil looks for lock cycles even in release builds, behind one lock for every mutex
  // of the process. Builds for development go on looking.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
  ParsedConfig parsed = ParseConfig(argc, argv);
  if (parsed.exit_now) {
    (parsed.exit_code == 0 ? std::cout : std::cerr) << parsed.output;
    return parsed.exit_code;
  }
  Config& config = parsed.config;
  LogLevel level = LogLevel::kInfo;
  ParseLogLevel(config.log_level, &level);
  InitLog(level, config.log_format == "json" ? LogFormat::kJson : LogFormat::kText, "lathed");
  // Chunks of uploads must not be mapped and unmapped each time: page faults would cost more than
  // the copying.
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  signal(SIGPIPE, SIG_IGN);
  // Blocked in every thread from here on; Serve waits for them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  absl::Status checked = CheckConfig(&config);
  if (checked.ok()) checked = CheckWorkers(config);
  const absl::Status status = checked.ok() ? Serve(config, signals) : checked;
  if (status.ok()) return 0;
  std::cerr << "lathed: " << status.message() << std::endl;
  return checked.ok() ? 1 : 2;
}

}  // namespace
}  // namespace lathe::server

int main(int argc, char** argv) { return lathe::server::Main(argc, argv); }
