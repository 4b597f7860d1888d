// Runs the engine on a job spec and tells how it went.
#ifndef LATHE_WORKER_JOB_RUN_H_
#define LATHE_WORKER_JOB_RUN_H_

#include <functional>

#include "worker/job/event_writer.h"
#include "worker/job/spec.h"

namespace lathe::worker {

struct JobHooks {
  std::function<bool()> cancelled;
  std::function<int64_t()> peak_rss_bytes;
  std::function<int64_t()> private_bytes;  // memory of its own now; may be empty
};

// Writes one ResultEvent or ErrorEvent, last; returns the exit code that goes with it.
// std::bad_alloc passes through.
int RunJob(const JobSpec& spec, const JobHooks& hooks, EventWriter* events);

}  // namespace lathe::worker

#endif  // LATHE_WORKER_JOB_RUN_H_
