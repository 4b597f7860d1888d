#include "client/cli/private_server.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "client/cli/interrupt.h"

namespace lathe::cli {
namespace {

namespace fs = std::filesystem;

// lathed beside this binary (also where it is installed), else on PATH; "" when there is none.
std::string FindServer() {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  std::vector<fs::path> candidates = {self.parent_path() / "lathed"};
  if (const char* path = std::getenv("PATH"); path != nullptr) {
    for (const absl::string_view folder : absl::StrSplit(path, ':', absl::SkipEmpty())) {
      candidates.push_back(fs::path(std::string(folder)) / "lathed");
    }
  }
  for (const fs::path& candidate : candidates) {
    if (access(candidate.c_str(), X_OK) == 0) return candidate.string();
  }
  return "";
}

// The end of a log, and where all of it is.
std::string EndOfLog(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  std::vector<std::string> lines = absl::StrSplit(text.str(), '\n', absl::SkipEmpty());
  std::string out;
  for (size_t i = lines.size() > 5 ? lines.size() - 5 : 0; i < lines.size(); ++i)
    absl::StrAppend(&out, "\n  ", lines[i]);
  return absl::StrCat(out, "\nall of its log is in ", path);
}

// The gRPC address in a port file; "" while there is none.
std::string ReadAddress(const std::string& path) {
  std::ifstream in(path);
  if (!in) return "";
  const nlohmann::json ports = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!ports.is_object() || !ports.contains("listen") || !ports["listen"].is_string()) return "";
  return ports["listen"].get<std::string>();
}

}  // namespace

absl::StatusOr<std::unique_ptr<PrivateServer>> PrivateServer::Start(
    const std::string& ort_library) {
  const std::string binary = FindServer();
  if (binary.empty()) {
    return absl::NotFoundError(
        "no lathed beside this command or on PATH to run the job with; name a server with --server "
        "HOST:PORT or LATHE_SERVER");
  }
  std::string pattern = (fs::temp_directory_path() / "lathe-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) {
    return absl::InternalError(absl::StrCat("cannot make a folder in ",
                                            fs::temp_directory_path().string(), ": ",
                                            std::strerror(errno)));
  }
  std::unique_ptr<PrivateServer> server(new PrivateServer);
  server->folder_ = pattern;
  const std::string port_file = pattern + "/ports.json";
  const std::string log_file = server->log_path();
  std::vector<std::string> arguments = {binary,
                                        "--data-dir",
                                        pattern + "/data",
                                        "--listen",
                                        "127.0.0.1:0",
                                        "--metrics-listen",
                                        "127.0.0.1:0",
                                        "--port-file",
                                        port_file,
                                        "--local-workers",
                                        "1"};
  if (!ort_library.empty()) arguments.insert(arguments.end(), {"--ort-library", ort_library});
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const int log_fd = open(log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const pid_t parent = getpid();
  server->pid_ = fork();
  if (server->pid_ < 0)
    return absl::ResourceExhaustedError(absl::StrCat("cannot fork: ", std::strerror(errno)));
  if (server->pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(1);
    setpgid(0, 0);  // Ctrl-C is for us: we cancel the job first
    if (log_fd >= 0) {
      dup2(log_fd, STDOUT_FILENO);
      dup2(log_fd, STDERR_FILENO);
    }
    execv(binary.c_str(), argv.data());
    _exit(127);
  }
  if (log_fd >= 0) close(log_fd);
  const absl::Time give_up = absl::Now() + absl::Seconds(20);
  while (absl::Now() < give_up) {
    server->address_ = ReadAddress(port_file);
    if (!server->address_.empty()) return server;
    if (InterruptCount() > 0) return absl::CancelledError("interrupted");
    int status = 0;
    if (waitpid(server->pid_, &status, WNOHANG) == server->pid_) {
      server->pid_ = -1;
      server->KeepLog();
      return absl::UnavailableError(
          absl::StrCat("the private lathed ended at once:", EndOfLog(log_file)));
    }
    absl::SleepFor(absl::Milliseconds(5));
  }
  server->KeepLog();
  return absl::UnavailableError(
      absl::StrCat("the private lathed did not come up in 20 s:", EndOfLog(log_file)));
}

PrivateServer::~PrivateServer() {
  if (pid_ > 0) {
    kill(pid_, SIGTERM);
    const absl::Time give_up = absl::Now() + absl::Seconds(10);
    while (waitpid(pid_, nullptr, WNOHANG) == 0) {
      if (absl::Now() > give_up) {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
        break;
      }
      absl::SleepFor(absl::Milliseconds(5));
    }
  }
  std::error_code error;
  if (folder_.empty()) return;
  if (!keep_log_) {
    fs::remove_all(folder_, error);
    return;
  }
  fs::remove_all(folder_ + "/data", error);
  fs::remove(folder_ + "/ports.json", error);
}

void PrivateServer::AppendLog(const std::string& line) {
  std::ofstream(log_path(), std::ios::app) << line << "\n";
}

}  // namespace lathe::cli
