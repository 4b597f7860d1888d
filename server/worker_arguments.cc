#include "server/worker_arguments.h"

#include <cmath>
#include <cstdint>

#include "absl/strings/str_cat.h"

namespace lathe::server {
namespace {

// lathe-worker counts in whole units.
std::string Whole(double value) { return absl::StrCat(static_cast<int64_t>(std::ceil(value))); }

}  // namespace

std::vector<std::string> WorkerArguments(const Config& config, const std::string& address) {
  std::vector<std::string> out = {
      "--server",    address,          "--drain-seconds", Whole(config.drain_s),
      "--log-level", config.log_level, "--log-format",    config.log_format};
  if (!config.auth_token_file.empty())
    out.insert(out.end(), {"--token-file", config.auth_token_file});
  if (config.worker_memory_limit_mb > 0)
    out.insert(out.end(), {"--memory-limit-mb", Whole(config.worker_memory_limit_mb)});
  out.insert(out.end(), {"--checkpoint-seconds", Whole(config.checkpoint_s)});
  if (!config.ort_library.empty()) out.insert(out.end(), {"--ort-library", config.ort_library});
  return out;
}

}  // namespace lathe::server
