#include "worker/agent/job_environment.h"

#include <unistd.h>

#include "absl/strings/match.h"

extern char** environ;

namespace lathe::worker {

std::vector<std::string> JobEnvironment() {
  static constexpr const char* kKept[] = {"OPENBLAS_", "LD_",   "MALLOC_", "GLIBC_TUNABLES",
                                          "ASAN_",     "TSAN_", "UBSAN_",  "LSAN_",
                                          "FIU_",      "TZ="};
  std::vector<std::string> out = {
      "LANG=C.UTF-8", "PATH=/usr/bin:/bin",
      // The engine has threads of its own, and OpenBLAS's would fight them.
      "OPENBLAS_NUM_THREADS=1"};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (absl::StartsWith(*entry, "OPENBLAS_NUM_THREADS=")) continue;
    for (const char* prefix : kKept) {
      if (absl::StartsWith(*entry, prefix)) out.push_back(*entry);
    }
  }
  return out;
}

}  // namespace lathe::worker
