#include "worker/engine/runtime_trial.h"

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/graph/writer.h"

namespace lathe::engine {
namespace {

namespace fs = std::filesystem;

// Removes a folder when it goes.
class Emptied {
 public:
  explicit Emptied(fs::path path) : path_(std::move(path)) {}
  ~Emptied() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Emptied(const Emptied&) = delete;
  Emptied& operator=(const Emptied&) = delete;

 private:
  fs::path path_;
};

}  // namespace

absl::StatusOr<std::optional<double>> TryInRuntime(const Model& candidate,
                                                   const RuntimeModel& original,
                                                   const CalibrationData& data,
                                                   const std::string& scratch_folder,
                                                   const Hooks& hooks) {
  if (!hooks.runtime || !hooks.seconds || scratch_folder.empty()) return std::nullopt;
  ASSIGN_OR_RETURN(const CalibrationData::Next next, data.Read(CalibrationData::Part::kHeldBack));
  ASSIGN_OR_RETURN(const std::optional<CalibrationBatch> batch, next());
  if (!batch) return std::nullopt;
  const fs::path folder = fs::path(scratch_folder) / "candidate";
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return std::nullopt;
  const Emptied emptied(folder);
  ASSIGN_OR_RETURN(const std::vector<WrittenFile> files,
                   WriteModel(candidate, folder.string(), "candidate.onnx"));
  RuntimeLatencyRequest request;
  request.runtime = hooks.runtime;
  request.before = original;
  request.after.path = (folder / "candidate.onnx").string();
  for (const WrittenFile& file : files) request.after.file_bytes += file.size_bytes;
  request.after.file_bytes = std::max(request.after.file_bytes, original.file_bytes);
  request.inputs = &batch->inputs;
  request.examples = batch->examples;
  request.seconds = hooks.seconds;
  request.cancelled = hooks.cancelled;
  ASSIGN_OR_RETURN(const nlohmann::json figure, MeasureInRuntime(request));
  if (!figure.contains("ratio")) return std::nullopt;
  return figure["ratio"].get<double>();
}

}  // namespace lathe::engine
