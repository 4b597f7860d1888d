#include "worker/agent/process_usage.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace lathe::worker {
namespace {

std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

// Value of a line "Name:   123 kB", in bytes; 0 when there is none.
int64_t StatusBytes(const std::string& status, const char* name) {
  const size_t at = status.find(absl::StrCat("\n", name, ":"));
  if (at == std::string::npos) return 0;
  return std::atoll(status.c_str() + status.find(':', at) + 1) * 1024;
}

// Fields 14 and 15 of /proc/PID/stat. Field 2, the name, may hold blanks and parentheses: count
// from the last ')'.
double CpuSeconds(const std::string& stat) {
  size_t at = stat.rfind(')');
  if (at == std::string::npos) return 0;
  for (int field = 2; field < 14; ++field) {
    at = stat.find(' ', at + 1);
    if (at == std::string::npos) return 0;
  }
  char* rest = nullptr;
  const double user = std::strtod(stat.c_str() + at, &rest);
  const double system = std::strtod(rest, nullptr);
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace

std::optional<ProcessUsage> ReadProcessUsage(pid_t pid) {
  const std::string status = ReadAll(absl::StrCat("/proc/", pid, "/status"));
  // A zombie has no memory lines.
  if (status.find("\nVmRSS:") == std::string::npos) return std::nullopt;
  ProcessUsage usage;
  usage.private_bytes = StatusBytes(status, "RssAnon") + StatusBytes(status, "RssShmem");
  usage.peak_rss_bytes = StatusBytes(status, "VmHWM");
  usage.cpu_seconds = CpuSeconds(ReadAll(absl::StrCat("/proc/", pid, "/stat")));
  return usage;
}

std::string ProcessorName() {
  std::ifstream info("/proc/cpuinfo");
  std::string line;
  while (std::getline(info, line)) {
    const size_t colon = line.find(": ");
    if (colon != std::string::npos && absl::StartsWith(line, "model name")) {
      return line.substr(colon + 2);
    }
  }
  return "";
}

}  // namespace lathe::worker
