// The job's end of the event channel.
#ifndef LATHE_WORKER_JOB_EVENT_WRITER_H_
#define LATHE_WORKER_JOB_EVENT_WRITER_H_

#include "worker/job/event.h"

namespace lathe::worker {

// Writes events to a descriptor, which it does not own. Not thread-safe.
class EventWriter {
 public:
  explicit EventWriter(int descriptor) : descriptor_(descriptor) {}

  // Blocks while the agent is behind. Errors are ignored: without an agent nobody is left to tell.
  void Write(const JobEvent& event);
  // As Write, but leaves out progress that follows the last within 40 ms in the same stage: a model
  // has thousands of layers. `seconds` is a steady clock.
  void WriteProgress(const ProgressEvent& event, double seconds);

 private:
  const int descriptor_;
  std::string last_stage_;
  double last_seconds_ = -1e9;
};

// High-water mark of this process's resident memory, in bytes; 0 when unknown. `status_descriptor`
// is /proc/self/status, opened before a sandbox closed /proc.
int64_t PeakRssBytes(int status_descriptor);
// Memory of its own now, in bytes, as JobLimits::memory_bytes counts it: without pages of mapped
// files.
int64_t PrivateBytes(int status_descriptor);

}  // namespace lathe::worker

#endif  // LATHE_WORKER_JOB_EVENT_WRITER_H_
