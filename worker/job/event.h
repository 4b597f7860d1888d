// What a job process tells the agent: one JSON object a line, on descriptor kEventDescriptor.
#ifndef LATHE_WORKER_JOB_EVENT_H_
#define LATHE_WORKER_JOB_EVENT_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lathe::worker {

inline constexpr int kEventDescriptor = 3;
// Longest line the agent takes; the job cuts messages long before.
inline constexpr size_t kMaxEventBytes = 4 << 20;
// How lathe-job exits when an allocation failed, on whatever thread.
inline constexpr int kExitOutOfMemory = 86;
// How it exits after telling a ResultEvent or an ErrorEvent.
inline constexpr int kExitOk = 0;
inline constexpr int kExitError = 1;

struct ProgressEvent {
  int step_index = 0;
  int step_count = 0;
  std::string stage;
  double fraction = 0;  // [0, 1]
  std::string message;
};

struct LogEvent {
  std::string line;
};

// A state of the training is in its file (JobCheckpoints::folder).
struct CheckpointEvent {
  int64_t size_bytes = 0;
};

struct ResultFile {
  std::string path;  // relative to the output folder
  int64_t size_bytes = 0;
};

// The attempt succeeded: the files are written and closed. Main file first; none for an inspection
// or an evaluation.
struct ResultEvent {
  std::vector<ResultFile> files;
  // Which constraints of the recipe the result misses: then the attempt has failed after all, with
  // its report and files kept. "" when it misses none.
  std::string rejected;
  double compression_ratio = 0;
  int64_t peak_rss_bytes = 0;
};

// The attempt failed in an orderly way.
struct ErrorEvent {
  absl::StatusCode code = absl::StatusCode::kInternal;
  std::string reason;  // payload "lathe/reason" of the engine's status; may be empty
  std::string message;
  int64_t peak_rss_bytes = 0;
};

using JobEvent = std::variant<ProgressEvent, LogEvent, CheckpointEvent, ResultEvent, ErrorEvent>;

// One line, without its newline. Text that is not UTF-8 has its bad bytes replaced.
std::string EncodeJobEvent(const JobEvent& event);
// INVALID_ARGUMENT on anything else: the process may have been taken over by a hostile model.
absl::StatusOr<JobEvent> DecodeJobEvent(absl::string_view line);

// `text` with bytes that are not UTF-8 replaced by U+FFFD, cut to about `max_bytes`: protobuf
// refuses other strings.
std::string CleanText(absl::string_view text, size_t max_bytes);

}  // namespace lathe::worker

#endif  // LATHE_WORKER_JOB_EVENT_H_
