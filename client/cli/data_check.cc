#include "client/cli/data_check.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/data/match_inputs.h"
#include "common/formats/array_file.h"
#include "common/formats/byte_source.h"
#include "common/formats/onnx_interface.h"
#include "common/recipe/catalogue.h"
#include "common/status_macros.h"

namespace lathe::cli {
namespace {

std::vector<InputSpec> SpecsOf(const OnnxInterface& model) {
  std::vector<InputSpec> specs;
  for (const OnnxInterface::Input& input : model.inputs) {
    InputSpec& spec = specs.emplace_back(InputSpec{input.name, input.dtype, std::nullopt});
    if (!input.shape) continue;
    spec.dims.emplace();
    for (const OnnxInterface::Axis& axis : *input.shape) {
      spec.dims->push_back({axis.value, axis.symbol});
    }
  }
  return specs;
}

absl::Status CheckOutputs(const OnnxInterface& model, const Step& evaluate) {
  for (const char* param : {"output", "boxes_output", "scores_output", "classes_output"}) {
    if (!IsGiven(evaluate, param)) continue;
    const std::string name = GetString(evaluate, param);
    if (std::count(model.outputs.begin(), model.outputs.end(), name) > 0) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("evaluate.", param, ": the model has no output '", name, "'; it has ",
                     absl::StrJoin(model.outputs, ", ")));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckData(const std::string& model_path, const Recipe& recipe,
                       const std::vector<std::string>& paths) {
  std::error_code error;
  if (absl::StartsWith(model_path, "models/") ||
      !std::filesystem::is_regular_file(model_path, error)) {
    return absl::OkStatus();
  }
  const Step evaluate = SectionOf(recipe, "evaluate");
  if (paths.empty() || GetString(evaluate, "task") == "none") return absl::OkStatus();
  const absl::StatusOr<std::unique_ptr<ByteSource>> source = ByteSource::OpenFile(model_path);
  if (!source.ok()) return absl::OkStatus();
  const absl::StatusOr<OnnxInterface> model = ReadOnnxInterface(**source);
  if (!model.ok()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckOutputs(*model, evaluate));
  const Preprocess preprocess = Preprocess::FromRecipe(recipe);
  for (const std::string& path : paths) {
    const absl::StatusOr<std::unique_ptr<ArrayFile>> file = ArrayFile::Open(path);
    if (!file.ok()) {
      return absl::Status(file.status().code(), absl::StrCat(path, ": ", file.status().message()));
    }
    RETURN_IF_ERROR(MatchInputs(path, (*file)->arrays(), SpecsOf(*model), preprocess).status());
  }
  return absl::OkStatus();
}

}  // namespace lathe::cli
