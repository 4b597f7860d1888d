// A real lathed with real workers, for the length of a benchmark.
#ifndef LATHE_BENCH_LATHED_PROCESS_H_
#define LATHE_BENCH_LATHED_PROCESS_H_

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace lathe::bench {

// The server that must not outlive the program; -1: none.
inline pid_t running_server = -1;

// Ends the program with a message: a benchmark that cannot measure has nothing to say.
[[noreturn]] inline void Fail(const std::string& why) {
  if (running_server > 0) kill(running_server, SIGTERM);
  std::fprintf(stderr, "%s\n", why.c_str());
  std::exit(1);
}

// The server beside this binary, on free loopback ports, with its data in `folder`/data.
class LathedProcess {
 public:
  LathedProcess(const std::string& folder, int local_workers) {
    const std::string binary =
        (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "lathed").string();
    const std::string ports = folder + "/ports.json";
    std::filesystem::remove(ports);
    const std::vector<std::string> arguments = {binary,
                                                "--data-dir",
                                                folder + "/data",
                                                "--listen",
                                                "127.0.0.1:0",
                                                "--metrics-listen",
                                                "127.0.0.1:0",
                                                "--port-file",
                                                ports,
                                                "--local-workers",
                                                std::to_string(local_workers),
                                                "--log-level",
                                                "warning"};
    std::vector<char*> argv;
    for (const std::string& argument : arguments) {
      argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);
    if (posix_spawn(&pid_, binary.c_str(), nullptr, nullptr, argv.data(), environ) != 0) {
      Fail("cannot start " + binary);
    }
    running_server = pid_;
    const absl::Time give_up = absl::Now() + absl::Seconds(30);
    while (address_.empty()) {
      if (absl::Now() > give_up) Fail("lathed did not come up");
      absl::SleepFor(absl::Milliseconds(10));
      std::ifstream in(ports);
      const nlohmann::json read = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
      if (read.is_object()) address_ = read.value("listen", "");
    }
  }
  ~LathedProcess() {
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
    running_server = -1;
  }
  LathedProcess(const LathedProcess&) = delete;
  LathedProcess& operator=(const LathedProcess&) = delete;

  const std::string& address() const { return address_; }

  // Seconds of processor time that all its threads have used since it started.
  double CpuSeconds() const {
    std::ifstream in("/proc/" + std::to_string(pid_) + "/stat");
    std::string text;
    std::getline(in, text);
    // The second field is a name that may hold spaces; utime and stime are the 14th and 15th.
    std::istringstream fields(text.substr(text.rfind(')') + 1));
    std::string skipped;
    for (int field = 3; field < 14; ++field) fields >> skipped;
    double user_ticks = 0;
    double system_ticks = 0;
    if (!(fields >> user_ticks >> system_ticks)) Fail("cannot read the server's processor time");
    return (user_ticks + system_ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
  }

 private:
  pid_t pid_ = -1;
  std::string address_;
};

// Seconds since the epoch.
inline double Now() { return absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()); }

// A folder of one's own on disk, removed at the end.
class BenchFolder {
 public:
  BenchFolder() {
    path_ = (std::filesystem::temp_directory_path() / "lathe-bench-XXXXXX").string();
    if (mkdtemp(path_.data()) == nullptr) Fail("cannot make a folder " + path_);
  }
  ~BenchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  BenchFolder(const BenchFolder&) = delete;
  BenchFolder& operator=(const BenchFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace lathe::bench

#endif  // LATHE_BENCH_LATHED_PROCESS_H_
