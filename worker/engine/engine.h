// Lathe's compression engine: a model and a recipe in, a smaller model and a report out.
//
// A pure library: no clock, no network, no global state; threads, time and cancellation are handed
// in. Same files, recipe, build and seed give the same bytes, whatever the number of threads.
#ifndef LATHE_WORKER_ENGINE_ENGINE_H_
#define LATHE_WORKER_ENGINE_ENGINE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lathe::engine {

class RuntimeProbe;

// One file of a model, as a digest for the report.
struct InputFile {
  std::string path;
  std::string sha256;
  int64_t size_bytes = 0;
};

// A dataset given to the job.
struct InputDataset {
  std::string role;  // "calibration", "train", "test"; "": for all that the recipe needs
  std::string name;  // its ending tells the format: .npz, .safetensors
  std::string sha256;
  std::string path;  // of the file; "": named in the report, not read
};

struct CompressRequest {
  std::string input_folder;   // holds the model's files
  std::string main_file;      // relative to it
  std::string output_folder;  // must exist and be empty
  // Where large intermediate results go, so that they are not held in memory; must exist. "": they
  // stay in memory. Nothing is left there.
  std::string scratch_folder;
  std::string output_file;  // name of the ONNX file to write there; "" means main_file's base name
  std::string recipe_json;  // any form ParseRecipe takes; validated again here
  std::map<std::string, int64_t> bindings;  // symbolic dimension -> size, for MACs
  int threads = 1;
  std::vector<InputFile> input_files;  // digests for the report; may be empty
  // With some, the models before and after are run on them, measured and compared. May be empty.
  std::vector<InputDataset> datasets;
  // The model that `distill` steps learn from; "": the model as it was before the recipe.
  std::string teacher_folder;
  std::string teacher_main_file;  // relative to it
  // What Hooks::save_checkpoint was given in an earlier run of the same request; "": none. It is
  // taken up where it fits; one of another recipe, model, data or build is left aside with a note.
  std::string checkpoint_file;
  std::string processor;  // what it runs on, for the report; may be empty
};

// Where a run stands.
struct Progress {
  int step_index = 0;  // step_count while writing and reporting
  int step_count = 0;
  std::string stage;    // method's name, or "read", "write", "report"
  double fraction = 0;  // of the whole run, [0, 1], never falls
  std::string message;
};

// Called from the thread that called Compress. All may be empty.
struct Hooks {
  std::function<void(const Progress&)> progress;
  std::function<void(const std::string&)> log;  // one line for people
  std::function<bool()> cancelled;              // asked by several threads at once
  std::function<double()>
      seconds;  // a steady clock, for the report's timings; without it they are 0
  // Whether it is time to save where a step that trains stands; asked after each of its steps.
  std::function<bool()> checkpoint_due;
  // Gets the state that a later run can go on from (CompressRequest::checkpoint_file): these pieces
  // one after another, which are gone after the call. An error ends the run.
  std::function<absl::Status(const std::vector<absl::string_view>& pieces)> save_checkpoint;
  // Another runtime in which an evaluation measures latency too (evaluate/runtime_probe.h); called
  // at most once, when there is something to measure. An error is told in the report.
  std::function<absl::StatusOr<RuntimeProbe*>()> runtime;
};

struct OutputFile {
  std::string path;  // relative to output_folder
  int64_t size_bytes = 0;
};

struct CompressResult {
  std::vector<OutputFile> files;  // main file first
  std::string report_json;        // docs/report.md
  std::string report_text;        // the same as a table
  double compression_ratio = 1;   // file bytes before over after
  // Which constraints of the recipe the result misses, and by how much; "" when it misses none. The
  // files and the report are there all the same.
  std::string rejected;
};

// Errors: INVALID_ARGUMENT (the model or the recipe; says which, and where), UNIMPLEMENTED (an op a
// step cannot do without), CANCELLED, RESOURCE_EXHAUSTED (memory or disk), INTERNAL (a bug). The
// status payload "lathe/reason" holds INVALID_MODEL, INVALID_RECIPE, INVALID_DATASET or
// UNSUPPORTED_OP where one fits.
absl::StatusOr<CompressResult> Compress(const CompressRequest& request, const Hooks& hooks);

struct EvaluateRequest {
  std::string input_folder;  // holds the model's files
  std::string main_file;     // relative to it
  // The model that the first is compared with; "": the first alone is measured.
  std::string compared_folder;
  std::string compared_main_file;
  std::string recipe_json;  // without steps: `evaluate`, `preprocess`, `split`, `constraints`
  std::map<std::string, int64_t> bindings;
  int threads = 1;
  std::vector<InputFile> input_files;  // digests for the report; may be empty
  std::vector<InputDataset> datasets;  // at least one
  std::string processor;
};

// Measures a model on data, or compares two that take the same inputs. `files` of the result stays
// empty. Errors as Compress, and INVALID_ARGUMENT with reason INVALID_DATASET.
absl::StatusOr<CompressResult> Evaluate(const EvaluateRequest& request, const Hooks& hooks);

struct InspectResult {
  std::string summary_json;  // docs/report.md, "Model summary"
  std::string text;
};

// A runtime that says what it makes of a quantized model.
struct InspectRuntime {
  std::function<absl::StatusOr<RuntimeProbe*>()> runtime;  // as Hooks::runtime; empty: none
  std::string scratch_folder;  // where it saves its graph; must exist. Nothing is left there.
  int64_t model_bytes = 0;     // of the model's files
};

// Reads a model and tells what is in it. Errors as Compress.
absl::StatusOr<InspectResult> Inspect(const std::string& folder, const std::string& main_file,
                                      const std::map<std::string, int64_t>& bindings,
                                      const InspectRuntime& runtime = {});

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_ENGINE_H_
