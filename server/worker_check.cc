#include "server/worker_check.h"

#include <errno.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/worker_arguments.h"

extern char** environ;

namespace lathe::server {

std::string WorkerBinary(const Config& config) {
  if (!config.worker_binary.empty()) return config.worker_binary;
  std::error_code error;
  return (std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / "lathe-worker")
      .string();
}

absl::Status CheckWorkers(const Config& config) {
  if (config.ort_library.empty() || config.local_workers == 0) return absl::OkStatus();
  // It checks and ends without calling the server, whose address is not known yet.
  std::vector<std::string> arguments = WorkerArguments(config, "127.0.0.1:0");
  arguments.insert(arguments.begin(), WorkerBinary(config));
  arguments.insert(arguments.end(), {"--cache-dir", config.data_dir, "--check"});
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t pid = -1;
  if (const int error = posix_spawn(&pid, argv[0], nullptr, nullptr, argv.data(), environ);
      error != 0) {
    return absl::InvalidArgumentError(absl::StrCat("cannot start the local workers' program ",
                                                   argv[0], ": ",
                                                   absl::ErrnoToStatus(error, "").message()));
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--ort-library ", config.ort_library,
                   " cannot be used by the local workers, see above; leave the flag out to go "
                   "without ONNX Runtime"));
}

}  // namespace lathe::server
