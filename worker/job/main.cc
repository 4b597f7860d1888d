// lathe-job SPEC.json: one attempt of one job, in a process of its own. Started by lathe-worker,
// not by people. lathe-job --ort-version LIBRARY: whether a job could use that ONNX Runtime.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <new>

#include "absl/strings/str_cat.h"
#include "common/build_info.h"
#include "common/status_macros.h"
#include "worker/job/ort_access.h"
#include "worker/job/run.h"
#include "worker/job/sandbox/sandbox.h"
#include "worker/ort/ort_library.h"

namespace lathe::worker {
namespace {

// Signal handlers reach nothing but globals.
std::atomic<bool> cancel_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void OnTerminate(int) { cancel_requested.store(true); }

// An exception nobody caught, on any thread. Running out of memory is told apart from bugs by the
// exit code.
[[noreturn]] void OnUncaught() {
  if (const std::exception_ptr thrown = std::current_exception()) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::bad_alloc&) {
      _exit(kExitOutOfMemory);
    } catch (const std::exception& e) {
      fprintf(stderr, "uncaught exception: %s\n", e.what());
    } catch (...) {
      fprintf(stderr, "uncaught exception of unknown type\n");
    }
  }
  abort();
}

// Under memory pressure the kernel shall pick this process, not the worker or the server.
void VolunteerForOutOfMemoryKill() { std::ofstream("/proc/self/oom_score_adj") << "1000"; }

absl::StatusOr<JobSpec> ReadSpec(const char* path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  return DecodeJobSpec(std::string(std::istreambuf_iterator<char>(in), {}));
}

absl::StatusOr<std::string> LockIn(const JobSpec& spec) {
  SandboxOptions options;
  options.read_folders.push_back(spec.input_folder);
  if (!spec.compared_folder.empty()) options.read_folders.push_back(spec.compared_folder);
  if (!spec.teacher_folder.empty()) options.read_folders.push_back(spec.teacher_folder);
  if (!spec.checkpoints.resume.empty()) {
    options.read_folders.push_back(std::filesystem::path(spec.checkpoints.resume).parent_path());
  }
  for (const JobDataset& d : spec.datasets) {
    options.read_folders.push_back(std::filesystem::path(d.path).parent_path());
  }
  options.write_folders = {spec.output_folder, spec.meta_folder, spec.temp_folder};
  if (!spec.checkpoints.folder.empty()) options.write_folders.push_back(spec.checkpoints.folder);
  if (!spec.ort_library.empty()) AllowOrtLibrary(spec.ort_library, &options);
  options.limits = spec.limits;
  options.parent_pid = spec.parent_pid;
  return EnterSandbox(options);
}

int Main(const char* spec_path) {
  close_range(kEventDescriptor + 1, ~0U, 0);
  umask(077);
  std::set_terminate(OnUncaught);
  struct sigaction action = {};
  action.sa_handler = OnTerminate;
  action.sa_flags = SA_RESTART;
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
  VolunteerForOutOfMemoryKill();
  const int status_descriptor = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

  EventWriter events(kEventDescriptor);
  JobHooks hooks;
  hooks.cancelled = [] { return cancel_requested.load(); };
  hooks.peak_rss_bytes = [status_descriptor] { return PeakRssBytes(status_descriptor); };
  hooks.private_bytes = [status_descriptor] { return PrivateBytes(status_descriptor); };
  const absl::StatusOr<JobSpec> spec = ReadSpec(spec_path);
  const absl::StatusOr<std::string> applied =
      spec.ok() ? LockIn(*spec) : absl::StatusOr<std::string>(spec.status());
  if (!applied.ok()) {
    events.Write(ErrorEvent{
        absl::StatusCode::kInternal, "",
        absl::StrCat("the job process could not be set up: ", applied.status().message()), 0});
    return kExitError;
  }
  events.Write(LogEvent{absl::StrCat("sandbox: ", *applied)});
  try {
    return RunJob(*spec, hooks, &events);
  } catch (const std::bad_alloc&) {
    return kExitOutOfMemory;
  }
}

// Loads ONNX Runtime as a job would, locked in, and prints its version on standard output; what is
// wrong with it, on standard error.
int PrintOrtVersion(const char* path) {
  SandboxOptions options;
  AllowOrtLibrary(path, &options);
  const absl::StatusOr<std::string> applied = EnterSandbox(options);
  if (!applied.ok()) {
    fprintf(stderr, "%s\n", std::string(applied.status().message()).c_str());
    return kExitError;
  }
  const auto library = ort::OrtLibrary::Load(path, {});
  if (!library.ok()) {
    fprintf(stderr, "%s\n", std::string(library.status().message()).c_str());
    return kExitError;
  }
  printf("%s\n", (*library)->version().c_str());
  return kExitOk;
}

}  // namespace
}  // namespace lathe::worker

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "--version") == 0) {
    printf("lathe-job %s\n", lathe::BuildId());
    return 0;
  }
  if (argc == 3 && strcmp(argv[1], "--ort-version") == 0) {
    const int code = lathe::worker::PrintOrtVersion(argv[2]);
    fflush(nullptr);
    _exit(code);
  }
  if (argc != 2 || argv[1][0] == '-') {
    fprintf(stderr,
            "usage: lathe-job SPEC.json\nRuns one attempt of a job; lathe-worker starts it.\n");
    return 2;
  }
  const int code = lathe::worker::Main(argv[1]);
  fflush(nullptr);
  // No destructors: freeing gigabytes of tensors one by one takes time and changes nothing.
  _exit(code);
}
