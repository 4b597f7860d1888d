#include "worker/engine/fusion_check.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/engine/evaluate/runtime_probe.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/reader.h"
#include "worker/engine/lint/fusion.h"

namespace lathe::engine {
namespace {

namespace fs = std::filesystem;

constexpr char kFile[] = "optimized.onnx";

// Operators that groups of CompareFusion are made of.
bool HoldsGroups(const Model& model) {
  static constexpr std::array kOps = {"DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger"};
  bool holds = false;
  ForEachGraph(model, [&holds](const Graph& graph) {
    for (const auto& node : graph.nodes) {
      holds = holds || std::any_of(kOps.begin(), kOps.end(),
                                   [&node](const char* op) { return node->op_type == op; });
    }
  });
  return holds;
}

Finding NotLoaded(const std::string& runtime, const absl::Status& status) {
  Finding finding;
  finding.rule = "not_loaded";
  finding.severity = Severity::kError;
  finding.message = absl::StrCat(runtime, " does not load the file: ", status.message());
  finding.fix = "what the runtime says; the other findings may name the place";
  return finding;
}

}  // namespace

absl::StatusOr<FusionCheck> CheckFusion(const Model& model, const std::string& path,
                                        const InspectRuntime& runtime) {
  FusionCheck check;
  if (!runtime.runtime || runtime.scratch_folder.empty() || !HoldsGroups(model)) return check;
  const absl::StatusOr<RuntimeProbe*> probe = runtime.runtime();
  if (!probe.ok()) {
    check.note = absl::StrCat("what a runtime makes of the model was not compared: ",
                              probe.status().message());
    return check;
  }
  const std::string name = absl::StrCat("ONNX Runtime ", (*probe)->version());
  const fs::path saved = fs::path(runtime.scratch_folder) / kFile;
  RuntimeOptions options;
  options.optimized_path = saved.string();
  options.model_bytes = runtime.model_bytes;
  // It is not run: loading alone saves the file.
  const absl::Status loaded = (*probe)->Open(path, options).status();
  if (absl::IsResourceExhausted(loaded)) {
    check.note =
        absl::StrCat("what ", name, " makes of the model was not compared: ", loaded.message());
    return check;
  }
  if (!loaded.ok()) {
    check.findings.push_back(NotLoaded(name, loaded));
    return check;
  }
  absl::StatusOr<Model> optimized = ReadModel(runtime.scratch_folder, kFile);
  if (optimized.ok()) {
    check.findings = CompareFusion(model, *optimized);
    check.note = absl::StrCat("compared with the graph that ", name, " runs on this worker");
  } else {
    check.note = absl::StrCat("the graph that ", name,
                              " runs could not be read: ", optimized.status().message());
  }
  optimized = Model();  // it may map the file
  std::error_code ignored;
  fs::remove(saved, ignored);
  return check;
}

}  // namespace lathe::engine
