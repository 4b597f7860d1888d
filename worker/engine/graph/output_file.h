// A file that appears under its name only when it is complete.
#ifndef LATHE_WORKER_ENGINE_GRAPH_OUTPUT_FILE_H_
#define LATHE_WORKER_ENGINE_GRAPH_OUTPUT_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace lathe::engine {

// Written as `<path>.partial`, renamed by Commit, removed when destroyed before. A file of that
// name that is mapped keeps its old content. Errors are remembered: after the first, Append does
// nothing and Commit reports it. RESOURCE_EXHAUSTED: the disk is full, or the file too large for it
// or for the process's limit. INTERNAL: other refusals.
class OutputFile {
 public:
  explicit OutputFile(std::string path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  bool Append(absl::string_view bytes);
  // Zeros up to a multiple of `alignment`.
  bool AlignTo(int64_t alignment);
  // Flushes and closes; the file still has its temporary name.
  absl::Status Finish();
  absl::Status Commit();

  int64_t size() const { return size_; }
  const absl::Status& status() const { return status_; }

 private:
  bool Flush();
  bool WriteAll(absl::string_view bytes);
  bool Fail(absl::string_view doing, int error);

  const std::string path_;
  const std::string temporary_path_;
  int fd_ = -1;
  bool committed_ = false;
  int64_t size_ = 0;
  std::string buffer_;
  absl::Status status_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_OUTPUT_FILE_H_
