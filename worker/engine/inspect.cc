#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/build_info.h"
#include "common/status_macros.h"
#include "worker/engine/engine.h"
#include "worker/engine/evaluate/count_cost.h"
#include "worker/engine/evaluate/model_size.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/reader.h"
#include "worker/engine/graph/verifier.h"
#include "worker/engine/methods/method.h"
#include "worker/engine/passes/inline_functions.h"

namespace lathe::engine {
namespace {

using nlohmann::json;

std::string DimsText(const ValueInfo& value) {
  if (!value.dims) return "?";
  std::vector<std::string> parts;
  for (const Dim& dim : *value.dims) {
    parts.push_back(dim.value ? absl::StrCat(*dim.value) : dim.symbol.empty() ? "?" : dim.symbol);
  }
  return absl::StrCat("[", absl::StrJoin(parts, ", "), "]");
}

json ValueJson(const ValueInfo& value) {
  json dims = json::array();
  if (value.dims) {
    for (const Dim& dim : *value.dims) {
      dims.push_back(dim.value            ? json(*dim.value)
                     : dim.symbol.empty() ? json(nullptr)
                                          : json(dim.symbol));
    }
  }
  return {{"name", value.name},
          {"dtype", std::string(DTypeName(value.dtype))},
          {"dims", value.dims ? dims : json(nullptr)}};
}

// Which methods apply to a weight.
std::vector<std::string> MethodsFor(const Weight& weight) {
  if (!weight.blocked_reason.empty()) return {};
  std::vector<std::string> methods = {"prune_weights", "quantize_weights"};
  if (weight.dtype == DType::kFloat || weight.dtype == DType::kDouble) methods.push_back("fp16");
  const bool matrix = std::all_of(weight.uses.begin(), weight.uses.end(), [](const WeightUse& use) {
    if (use.role == WeightRole::kGemmB || use.role == WeightRole::kMatMulLeft ||
        use.role == WeightRole::kMatMulRight) {
      return use.dims.size() == 2;
    }
    return use.role == WeightRole::kConv && use.groups == 1 &&
           std::all_of(use.dims.begin() + 2, use.dims.end(), [](int64_t d) { return d == 1; });
  });
  if (matrix) methods.push_back("low_rank");
  return methods;
}

}  // namespace

absl::StatusOr<InspectResult> Inspect(const std::string& folder, const std::string& main_file,
                                      const std::map<std::string, int64_t>& bindings) {
  const auto invalid = [](absl::Status status) {
    if (!status.ok()) status.SetPayload("lathe/reason", absl::Cord("INVALID_MODEL"));
    return status;
  };
  absl::StatusOr<Model> model = ReadModel(folder, main_file);
  if (!model.ok()) return invalid(model.status());
  RETURN_IF_ERROR(invalid(VerifyModel(*model)));
  std::map<std::string, int64_t> ops;
  ForEachGraph(*model, [&](const Graph& graph) {
    for (const auto& node : graph.nodes) {
      ++ops[node->domain.empty() ? node->op_type : absl::StrCat(node->domain, ".", node->op_type)];
    }
  });
  const ConstantCounts constants = CountConstants(*model);
  const Cost cost = CountCost(*model, bindings);
  json inputs = json::array();
  json outputs = json::array();
  std::string text = absl::StrCat(main_file, ": IR ", model->ir_version, ", opset ",
                                  model->OpsetVersion(""), "\n\ninputs\n");
  for (const ValueInfo& value : model->graph->inputs) {
    if (model->graph->initializers.count(value.name) != 0) continue;
    inputs.push_back(ValueJson(value));
    absl::StrAppend(&text, "  ", value.name, " ", DTypeName(value.dtype), " ", DimsText(value),
                    "\n");
  }
  absl::StrAppend(&text, "outputs\n");
  for (const ValueInfo& value : model->graph->outputs) {
    outputs.push_back(ValueJson(value));
    absl::StrAppend(&text, "  ", value.name, " ", DTypeName(value.dtype), " ", DimsText(value),
                    "\n");
  }
  absl::StrAppend(&text, "\nparameters ", constants.parameters, ", non-zero ",
                  constants.nonzero_parameters, ", weight bytes ", constants.weight_bytes,
                  ", MACs ", cost.macs, "\n\noperators\n");
  std::vector<std::pair<std::string, int64_t>> by_count(ops.begin(), ops.end());
  std::stable_sort(by_count.begin(), by_count.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  for (const auto& [op, count] : by_count) absl::StrAppend(&text, "  ", op, " ", count, "\n");
  std::vector<std::string> notes;
  RETURN_IF_ERROR(invalid(InlineFunctions(*model, &notes)));
  json layers = json::array();
  absl::StrAppend(&text, "\nlayers\n");
  for (const Weight& weight : FindWeights(*model)) {
    const std::vector<std::string> methods = MethodsFor(weight);
    const std::string op =
        weight.uses.empty() ? "" : RoleName(*weight.uses[0].node, weight.uses[0].role);
    layers.push_back(
        {{"name", weight.name},
         {"op", op},
         {"weight", weight.source_name},
         {"dims", weight.dims},
         {"dtype", std::string(DTypeName(weight.dtype))},
         {"parameters", weight.size()},
         {"uses", weight.uses.size()},
         {"methods", methods},
         {"blocked_reason",
          weight.blocked_reason.empty() ? json(nullptr) : json(weight.blocked_reason)}});
    absl::StrAppend(
        &text, "  ", weight.name, " (", op, " [", absl::StrJoin(weight.dims, ", "), "]): ",
        weight.blocked_reason.empty() ? absl::StrJoin(methods, ", ") : weight.blocked_reason, "\n");
  }
  json opsets = json::object();
  for (const auto& [domain, version] : model->opset_imports)
    opsets[domain.empty() ? "ai.onnx" : domain] = version;
  const json summary = {{"schema_version", 1},
                        {"build_id", BuildId()},
                        {"main_file", main_file},
                        {"ir_version", model->ir_version},
                        {"opset_imports", opsets},
                        {"inputs", inputs},
                        {"outputs", outputs},
                        {"ops", ops},
                        {"parameters", constants.parameters},
                        {"nonzero_parameters", constants.nonzero_parameters},
                        {"weight_bytes", constants.weight_bytes},
                        {"macs", cost.macs},
                        {"macs_incomplete", cost.incomplete},
                        {"bindings", cost.bindings},
                        {"layers", layers},
                        {"notes", notes}};
  InspectResult result;
  result.summary_json = summary.dump(1, ' ', false, json::error_handler_t::replace);
  result.text = std::move(text);
  return result;
}

}  // namespace lathe::engine
