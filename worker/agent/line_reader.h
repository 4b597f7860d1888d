// Lines out of a non-blocking descriptor.
#ifndef LATHE_WORKER_AGENT_LINE_READER_H_
#define LATHE_WORKER_AGENT_LINE_READER_H_

#include <functional>
#include <string>

#include "absl/strings/string_view.h"

namespace lathe::worker {

// Splits what a job process writes. Memory is bounded by `max_line_bytes`: the rest of a longer
// line is dropped. Not thread-safe.
class LineReader {
 public:
  // Owns `descriptor`, which must be non-blocking.
  LineReader(int descriptor, size_t max_line_bytes, std::function<void(absl::string_view)> on_line);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // Reads what there is, at most a few MiB so that a flood cannot hold the caller. False: the other
  // side has closed; a last line without a newline has been given out too.
  bool ReadAvailable();
  bool open() const { return descriptor_ >= 0; }
  int descriptor() const { return descriptor_; }

 private:
  void Take(absl::string_view bytes);
  void Close();

  int descriptor_;
  const size_t max_line_bytes_;
  const std::function<void(absl::string_view)> on_line_;
  std::string line_;  // begun, at most max_line_bytes_
};

}  // namespace lathe::worker

#endif  // LATHE_WORKER_AGENT_LINE_READER_H_
