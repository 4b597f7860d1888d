#include "worker/job/event_writer.h"

#include <errno.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace lathe::worker {
namespace {

// Value of the line "Name:   123 kB" of /proc/self/status, in bytes; 0 when there is none.
int64_t StatusBytes(int status_descriptor, const char* name) {
  char text[4096];
  const ssize_t n = pread(status_descriptor, text, sizeof(text) - 1, 0);
  if (n <= 0) return 0;
  text[n] = '\0';
  const char* line = std::strstr(text, name);
  return line == nullptr ? 0 : std::atoll(line + std::strlen(name)) * 1024;
}

}  // namespace

void EventWriter::Write(const JobEvent& event) {
  const std::string line = EncodeJobEvent(event) + "\n";
  size_t done = 0;
  while (done < line.size()) {
    const ssize_t n = write(descriptor_, line.data() + done, line.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    done += static_cast<size_t>(n);
  }
}

void EventWriter::WriteProgress(const ProgressEvent& event, double seconds) {
  if (event.stage == last_stage_ && seconds - last_seconds_ < 0.04) return;
  last_stage_ = event.stage;
  last_seconds_ = seconds;
  Write(event);
}

int64_t PeakRssBytes(int status_descriptor) { return StatusBytes(status_descriptor, "VmHWM:"); }

int64_t PrivateBytes(int status_descriptor) {
  return StatusBytes(status_descriptor, "RssAnon:") + StatusBytes(status_descriptor, "RssShmem:");
}

}  // namespace lathe::worker
