// What a job process is asked to do: the contract between the agent, which writes it, and
// `lathe-job`, which reads it.
#ifndef LATHE_WORKER_JOB_SPEC_H_
#define LATHE_WORKER_JOB_SPEC_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lathe::worker {

enum class JobKind { kCompress, kInspect, kEvaluate };

struct JobFile {
  std::string path;  // relative to JobSpec::input_folder
  std::string sha256;
  int64_t size_bytes = 0;
};

struct JobDataset {
  std::string role;
  std::string name;
  std::string sha256;
  std::string path;  // absolute
};

// Hard bounds on the process, set with setrlimit before the model is touched. 0: no bound.
struct JobLimits {
  int64_t memory_bytes = 0;  // private memory; the agent also watches the resident part
  int64_t cpu_seconds = 0;   // over all threads; past it the process gets SIGXCPU
  int64_t file_bytes = 0;    // size of any one file it writes
};

// The state of training, which outlives the process.
struct JobCheckpoints {
  // Absolute; written to, as kCheckpointName. "": no state is saved.
  std::string folder;
  int64_t seconds = 0;  // least time between two; 0: no state is saved
  // File with the state that an earlier attempt saved; absolute, in a folder of its own, read only.
  // "": none.
  std::string resume;
};

struct JobSpec {
  JobKind kind = JobKind::kCompress;
  std::string input_folder;   // absolute; read only
  std::string main_file;      // relative to input_folder
  std::string output_folder;  // absolute; empty at start; the model's files go there
  std::string meta_folder;    // absolute; report.json and report.txt go there
  std::string temp_folder;    // absolute; scratch space
  std::string recipe_json;    // empty for kInspect
  // kEvaluate: the model that the first is compared with. Empty: none.
  std::string compared_folder;     // absolute; read only
  std::string compared_main_file;  // relative to it
  // kCompress: the model that steps that distil learn from. Empty: none.
  std::string teacher_folder;     // absolute; read only
  std::string teacher_main_file;  // relative to it
  std::string processor;          // what this machine runs on, for the report; may be empty
  std::map<std::string, int64_t> bindings;
  int threads = 1;
  std::vector<JobFile> files;
  std::vector<JobDataset> datasets;
  JobLimits limits;
  JobCheckpoints checkpoints;
  // Process id of the agent: the job ends itself when its parent is somebody else. 0: not checked.
  int64_t parent_pid = 0;
  // ONNX Runtime's shared library, to measure latency in; absolute. "": none.
  std::string ort_library;
};

// Names of the files in meta_folder. For kInspect the first holds the model summary.
inline constexpr char kReportJsonName[] = "report.json";
inline constexpr char kReportTextName[] = "report.txt";
// In JobCheckpoints::folder: a whole state, replaced by the next.
inline constexpr char kCheckpointName[] = "state";

std::string EncodeJobSpec(const JobSpec& spec);
// INVALID_ARGUMENT naming the key that is missing or has another type.
absl::StatusOr<JobSpec> DecodeJobSpec(absl::string_view json);

}  // namespace lathe::worker

#endif  // LATHE_WORKER_JOB_SPEC_H_
