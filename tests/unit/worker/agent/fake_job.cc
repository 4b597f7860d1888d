// A job process that misbehaves on demand: recipe_json names how. It speaks the real contract, so
// that the real agent runs it.
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <new>
#include <string>
#include <vector>

#include "worker/job/event_writer.h"
#include "worker/job/sandbox/sandbox.h"
#include "worker/job/spec.h"

namespace {

using namespace lathe::worker;  // NOLINT: a test program of one file

volatile sig_atomic_t terminated = 0;

int Succeed(const JobSpec& spec, EventWriter* events) {
  std::ofstream(spec.output_folder + "/model.onnx") << "small";
  std::ofstream(spec.meta_folder + "/report.json") << "{}";
  std::ofstream(spec.meta_folder + "/report.txt") << "report";
  events->Write(ResultEvent{{{"model.onnx", 5}}, "", 4.0, PeakRssBytes(-1)});
  return kExitOk;
}

// Waits for ever, or until a SIGTERM that is not ignored.
void Pause() {
  sigset_t none;
  sigemptyset(&none);
  while (terminated == 0) sigsuspend(&none);
}

int Run(const JobSpec& spec, const std::string& what, EventWriter* events) {
  events->Write(ProgressEvent{1, 3, "prune_weights", 0.5, "layer 7"});
  if (what == "succeed") return Succeed(spec, events);
  if (what == "talk") {
    for (int i = 0; i < 5000; ++i) events->Write(LogEvent{"line " + std::to_string(i)});
    fprintf(stderr, "last words \xff\n");
    return Succeed(spec, events);
  }
  if (what == "link") {  // a result that is not where it seems to be
    Succeed(spec, events);
    std::filesystem::remove(spec.output_folder + "/model.onnx");
    std::filesystem::create_symlink("/etc/passwd", spec.output_folder + "/model.onnx");
    return kExitOk;
  }
  if (what.rfind("error ", 0) == 0) {  // "error CODE REASON"
    const size_t blank = what.find(' ', 6);
    events->Write(ErrorEvent{static_cast<absl::StatusCode>(atoi(what.c_str() + 6)),
                             what.substr(blank + 1), "node conv_7 is bad", 12345678});
    return kExitError;
  }
  if (what == "segv") {
    fprintf(stderr, "about to fail\n");
    fflush(stderr);
    signal(SIGSEGV, SIG_DFL);  // a sanitizer's handler would turn it into an exit code
    raise(SIGSEGV);
  }
  if (what == "abort") abort();
  if (what == "abort_bad_alloc") {
    fprintf(stderr, "terminate called after throwing an instance of 'std::bad_alloc'\n");
    fflush(stderr);
    abort();
  }
  if (what == "exit_7") return 7;
  if (what.rfind("train ", 0) == 0) {  // "train STATE THEN": leaves a state, then does THEN
    const size_t blank = what.find(' ', 6);
    const std::string state = spec.checkpoints.folder + "/" + kCheckpointName;
    std::string resumed;
    if (!spec.checkpoints.resume.empty()) {
      std::ifstream in(spec.checkpoints.resume, std::ios::binary);
      resumed.assign(std::istreambuf_iterator<char>(in), {});
    }
    events->Write(LogEvent{"resumed from <" + resumed + ">"});
    const std::string name = what.substr(6, blank - 6);
    std::filesystem::remove(state);
    if (name == "link") {
      std::filesystem::create_symlink("/etc/passwd", state);
    } else {
      std::ofstream(state, std::ios::binary) << name;
    }
    events->Write(CheckpointEvent{static_cast<int64_t>(name.size())});
    return Run(spec, what.substr(blank + 1), events);
  }
  if (what == "exit_out_of_memory") return kExitOutOfMemory;
  if (what == "exit_0_without_result") return 0;
  if (what == "kill_self") raise(SIGKILL);
  if (what == "eat_memory") {
    std::vector<char*> eaten;
    while (true) {
      eaten.push_back(static_cast<char*>(malloc(4 << 20)));
      memset(eaten.back(), 1, 4 << 20);
      usleep(1000);
    }
  }
  if (what == "hang") Pause();
  if (what == "hang_with_closed_pipes") {
    close(1);
    close(2);
    close(kEventDescriptor);
    Pause();
  }
  if (what == "stop_politely") {
    Pause();
    events->Write(ErrorEvent{absl::StatusCode::kCancelled, "", "cancelled", 0});
    return kExitError;
  }
  if (what == "stop_never") {
    signal(SIGTERM, SIG_IGN);
    events->Write(ProgressEvent{2, 3, "deaf", 0.6, ""});
    Pause();
  }
  if (what == "spin") {
    while (true) {
    }
  }
  if (what == "leave_child") {  // a process that outlives the job and keeps its pipes open
    if (fork() == 0) Pause();
    return Succeed(spec, events);
  }
  if (what == "garbage") {
    const std::string junk = "{\"event\": [1,2\n\xff\xfe\n" + std::string(100000, 'x') + "\n";
    if (write(kEventDescriptor, junk.data(), junk.size()) < 0) return 3;
    return 0;
  }
  return 99;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 98;
  struct sigaction action = {};
  action.sa_handler = [](int) { terminated = 1; };
  sigaction(SIGTERM, &action, nullptr);
  std::ifstream in(argv[1], std::ios::binary);
  const absl::StatusOr<JobSpec> spec =
      DecodeJobSpec(std::string(std::istreambuf_iterator<char>(in), {}));
  if (!spec.ok()) return 97;
  if (spec->parent_pid > 0 && !DieWithParent(spec->parent_pid).ok()) return 96;
  if (!ApplyResourceLimits({0, spec->limits.cpu_seconds, spec->limits.file_bytes}).ok()) return 95;
  EventWriter events(kEventDescriptor);
  const int code = Run(*spec, spec->recipe_json, &events);
  fflush(nullptr);
  _exit(code);
}
