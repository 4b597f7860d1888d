// What a running process uses, from /proc.
#ifndef LATHE_WORKER_AGENT_PROCESS_USAGE_H_
#define LATHE_WORKER_AGENT_PROCESS_USAGE_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

namespace lathe::worker {

struct ProcessUsage {
  // Memory of its own now: anonymous and shared-memory pages. Pages of mapped files are left out:
  // the kernel can take them back.
  int64_t private_bytes = 0;
  // Most memory ever resident, mapped files included.
  int64_t peak_rss_bytes = 0;
  double cpu_seconds = 0;  // user and system, over all threads
};

// nullopt when there is no such process, or it has ended.
std::optional<ProcessUsage> ReadProcessUsage(pid_t pid);

// What the processor calls itself ("AMD EPYC 7B13"); "" where the system does not tell.
std::string ProcessorName();

}  // namespace lathe::worker

#endif  // LATHE_WORKER_AGENT_PROCESS_USAGE_H_
