#include "worker/engine/inspect.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/build_info.h"
#include "common/status_macros.h"
#include "worker/engine/engine_status.h"
#include "worker/engine/evaluate/energy.h"
#include "worker/engine/evaluate/report_cost.h"
#include "worker/engine/evaluate/rounding_estimate.h"
#include "worker/engine/evaluate/text_table.h"
#include "worker/engine/evaluate/weight_error.h"
#include "worker/engine/fusion_check.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/function_calls.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/reader.h"
#include "worker/engine/graph/verifier.h"
#include "worker/engine/lint/lint.h"
#include "worker/engine/methods/factored_weight.h"
#include "worker/engine/methods/method.h"
#include "worker/engine/passes/inline_functions.h"

namespace lathe::engine {
namespace {

using nlohmann::json;

constexpr size_t kMaxRows = 60;
constexpr size_t kMaxName = 44;

struct Applicable {
  std::vector<std::string> methods;
  std::map<std::string, std::string> not_applicable;  // method -> why not
};

Applicable MethodsFor(const Weight& weight) {
  Applicable out;
  for (const Method& method : MethodTable()) {
    std::string reason = weight.blocked_reason;
    if (reason.empty() && std::string(method.name) == "low_rank") {
      WeightMatrix view;
      reason = ViewAsMatrix(weight, view);
    }
    if (reason.empty() && std::string(method.name) == "fp16" && weight.dtype != DType::kFloat &&
        weight.dtype != DType::kDouble) {
      reason = absl::StrCat("already ", DTypeName(weight.dtype));
    }
    if (reason.empty()) {
      out.methods.push_back(method.name);
    } else {
      out.not_applicable[method.name] = reason;
    }
  }
  return out;
}

std::string DimsText(const ValueInfo& value) {
  if (!value.dims) return "?";
  std::vector<std::string> parts;
  for (const Dim& dim : *value.dims) {
    parts.push_back(dim.value ? absl::StrCat(*dim.value) : dim.symbol.empty() ? "?" : dim.symbol);
  }
  return absl::StrCat("[", absl::StrJoin(parts, ", "), "]");
}

std::string TypeText(DType dtype) {
  const absl::string_view name = DTypeName(dtype);
  return name == "unknown" ? absl::StrCat("dtype(", static_cast<int>(dtype), ")")
                           : std::string(name);
}

json ValueJson(const ValueInfo& value) {
  json dims = nullptr;
  if (value.dims) {
    dims = json::array();
    for (const Dim& dim : *value.dims) {
      dims.push_back(dim.value            ? json(*dim.value)
                     : dim.symbol.empty() ? json(nullptr)
                                          : json(dim.symbol));
    }
  }
  return {{"name", value.name}, {"dtype", TypeText(value.dtype)}, {"dims", std::move(dims)}};
}

json ValuesJson(const std::vector<ValueInfo>& values, const Graph& graph) {
  json out = json::array();
  for (const ValueInfo& value : values) {
    // Before IR 4 every initializer is listed as an input too.
    if (&values == &graph.inputs && graph.initializers.count(value.name) != 0) continue;
    out.push_back(ValueJson(value));
  }
  return out;
}

std::map<std::string, int64_t> CountOps(const Model& model) {
  std::map<std::string, int64_t> ops;
  ForEachGraph(model, [&ops](const Graph& graph) {
    for (const auto& node : graph.nodes) {
      ++ops[node->domain.empty() ? node->op_type : absl::StrCat(node->domain, ".", node->op_type)];
    }
  });
  return ops;
}

class Inspection {
 public:
  Inspection(Model model, std::string main_file, const Bindings& bindings)
      : model_(std::move(model)), main_file_(std::move(main_file)), bindings_(bindings) {
    inference_ = InferShapes(model_, bindings);
    ops_ = CountOps(model_);
    inputs_ = ValuesJson(model_.graph->inputs, *model_.graph);
    outputs_ = ValuesJson(model_.graph->outputs, *model_.graph);
    for (const Function& function : model_.functions) functions_.push_back(FunctionName(function));
    weight_bytes_ = ConstantBytes(model_);
  }

  absl::Status FindLayers() {
    RETURN_IF_ERROR(ModelError(InlineFunctions(model_, &notes_)));
    // A runtime inlines functions too: what it makes of their bodies is found here.
    findings_ = LintModel(model_, {.bindings = bindings_});
    weights_ = FindWeights(model_);
    for (const Weight& weight : weights_) {
      applicable_.push_back(MethodsFor(weight));
      parameters_ += weight.size();
    }
    parameters_ += CountOtherParameters(model_).parameters;
    return absl::OkStatus();
  }

  // Beside what the rules say.
  absl::Status AskRuntime(const std::string& path, const InspectRuntime& runtime) {
    ASSIGN_OR_RETURN(FusionCheck check, CheckFusion(model_, path, runtime));
    for (Finding& finding : check.findings) findings_.push_back(std::move(finding));
    if (!check.note.empty()) notes_.push_back(std::move(check.note));
    return absl::OkStatus();
  }

  std::string Json() const {
    json lint = json::array();
    for (const Finding& finding : findings_) lint.push_back(FindingJson(finding));
    json layers = json::array();
    for (size_t i = 0; i < weights_.size(); ++i) layers.push_back(LayerJson(i));
    json opsets = json::object();
    for (const auto& [domain, version] : model_.opset_imports) {
      opsets[domain.empty() ? "ai.onnx" : domain] = version;
    }
    json summary = {{"schema_version", 1},
                    {"build_id", BuildId()},
                    {"main_file", main_file_},
                    {"files", model_.source_files},
                    {"producer", Producer()},
                    {"ir_version", model_.ir_version},
                    {"opset_imports", std::move(opsets)},
                    {"functions", functions_},
                    {"inputs", inputs_},
                    {"outputs", outputs_},
                    {"ops", ops_},
                    {"parameters", parameters_},
                    {"weight_bytes", weight_bytes_},
                    {"energy_source", kEnergySource},
                    {"bindings", inference_.bindings},
                    {"assumed_bindings", inference_.assumed_bindings},
                    {"unused_bindings", inference_.unused_bindings},
                    {"assumptions", inference_.assumptions},
                    {"shape_unknown", inference_.shape_unknown},
                    {"layers", std::move(layers)},
                    {"lint", std::move(lint)},
                    {"notes", notes_}};
    AddCost(inference_, &summary);
    return summary.dump(1, ' ', false, json::error_handler_t::replace);
  }

  std::string Text() const {
    std::string out =
        absl::StrCat(main_file_, ": IR ", model_.ir_version, ", opset ", model_.OpsetVersion(""));
    if (const std::string producer = Producer(); !producer.empty()) {
      absl::StrAppend(&out, ", by ", producer);
    }
    absl::StrAppend(&out, "\n");
    AppendValues("inputs", model_.graph->inputs, &out);
    AppendValues("outputs", model_.graph->outputs, &out);
    absl::StrAppend(&out, "\n", GroupDigits(parameters_), " parameters in ",
                    GroupDigits(weight_bytes_), " bytes; ",
                    GroupDigits(inference_.total.macs.total()), " MACs, ",
                    GroupDigits(inference_.total.moved.total()), " bytes moved in a run");
    if (!inference_.bindings.empty()) {
      absl::StrAppend(&out, " with ",
                      absl::StrJoin(inference_.bindings, ", ", absl::PairFormatter("=")),
                      " (--bind NAME=SIZE gives others)");
    }
    if (!inference_.macs_incomplete.empty()) {
      absl::StrAppend(&out, "; those of ", inference_.macs_incomplete.size(),
                      " nodes are not known");
    }
    absl::StrAppend(&out, "\n\noperators\n", OperatorsText(), "\nlayers\n", LayersText());
    absl::StrAppend(&out, LintText());
    for (const std::string& note : notes_) absl::StrAppend(&out, "note: ", note, "\n");
    return out;
  }

 private:
  std::string OpOf(const Weight& weight) const {
    if (weight.uses.empty()) return "";
    return RoleName(*weight.uses.front().node, weight.uses.front().role);
  }

  // nullptr when it is not known.
  const OperatorCost* CostOf(const Weight& weight) const {
    if (weight.uses.empty()) return nullptr;
    const auto found = inference_.node_costs.find(weight.uses.front().node);
    return found == inference_.node_costs.end() ? nullptr : &found->second;
  }

  // ModelProto.producer_name is field 2, producer_version field 3.
  std::string Producer() const {
    const std::string name = SerializedField(model_.extra, 2);
    const std::string version = SerializedField(model_.extra, 3);
    return version.empty() ? name : absl::StrCat(name, " ", version);
  }

  static json RoundingSqnr(const Weight& weight, int bits) {
    if (!weight.blocked_reason.empty()) return nullptr;
    const std::optional<double> sqnr = EstimateRoundingSqnr(SourceTensor(weight), bits);
    return sqnr ? json(*sqnr) : json(nullptr);
  }

  json LayerJson(size_t i) const {
    const Weight& weight = weights_[i];
    const OperatorCost* cost = CostOf(weight);
    json layer = {
        {"name", weight.name},
        {"op", OpOf(weight)},
        {"weight", weight.source_name},
        {"dims", weight.dims},
        {"dtype", TypeText(weight.dtype)},
        {"parameters", weight.size()},
        {"macs", nullptr},
        {"uses", weight.uses.size()},
        {"rounding_sqnr_db", {{"4", RoundingSqnr(weight, 4)}, {"8", RoundingSqnr(weight, 8)}}},
        {"methods", applicable_[i].methods},
        {"not_applicable", applicable_[i].not_applicable},
        {"blocked_reason",
         weight.blocked_reason.empty() ? json(nullptr) : json(weight.blocked_reason)}};
    if (cost != nullptr) AddLayerCost(*cost, "", &layer);
    return layer;
  }

  // Every operator, the most frequent first, with what all its nodes cost in one run.
  std::string OperatorsText() const {
    std::vector<std::pair<std::string, int64_t>> by_count(ops_.begin(), ops_.end());
    std::stable_sort(by_count.begin(), by_count.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    std::vector<std::vector<std::string>> rows = {
        {"  op", "nodes", "MACs", "bytes moved", "operations a byte"}};
    for (const auto& [op, count] : by_count) {
      const auto found = inference_.by_op.find(op);
      if (found == inference_.by_op.end()) {
        rows.push_back({"  " + op, absl::StrCat(count), "-", "-", "-"});
        continue;
      }
      const OperatorCost& cost = found->second;
      rows.push_back({"  " + op, absl::StrCat(count), GroupDigits(cost.macs.total()),
                      GroupDigits(cost.moved.total()),
                      absl::StrFormat("%.2f", ArithmeticIntensity(cost))});
    }
    return AlignColumns(rows, 1);
  }

  std::string LayersText() const {
    std::vector<std::vector<std::string>> rows = {
        {"  name", "op", "dims", "methods", "parameters", "MACs"}};
    for (size_t i = 0; i < std::min(weights_.size(), kMaxRows); ++i) {
      const Weight& weight = weights_[i];
      const OperatorCost* cost = CostOf(weight);
      rows.push_back({"  " + ShortenMiddle(weight.name, kMaxName), OpOf(weight),
                      absl::StrJoin(weight.dims, "x"),
                      weight.blocked_reason.empty() ? absl::StrJoin(applicable_[i].methods, " ")
                                                    : absl::StrCat("none: ", weight.blocked_reason),
                      GroupDigits(weight.size()),
                      cost != nullptr ? GroupDigits(cost->macs.total()) : "-"});
    }
    std::string out = AlignColumns(rows, 4);
    if (weights_.size() > kMaxRows) {
      absl::StrAppend(&out, "  ... and ", weights_.size() - kMaxRows,
                      " more; the JSON summary has them all\n");
    }
    return out;
  }

  // How much there is for `lathe lint` to tell; "" when there is nothing that hurts.
  std::string LintText() const {
    int64_t errors = 0;
    int64_t slow = 0;
    for (const Finding& finding : findings_) {
      if ((finding.profiles & kPortable) == 0) continue;
      errors += finding.severity == Severity::kError;
      slow += finding.severity == Severity::kSlow;
    }
    if (errors + slow == 0) return "";
    return absl::StrCat("lint: ", errors, " errors and ", slow,
                        " slow places in ONNX Runtime; lathe lint names them\n");
  }

  void AppendValues(const char* title, const std::vector<ValueInfo>& values,
                    std::string* out) const {
    std::vector<std::vector<std::string>> rows;
    for (const ValueInfo& value : values) {
      if (&values == &model_.graph->inputs && model_.graph->initializers.count(value.name) != 0) {
        continue;
      }
      rows.push_back({"  " + value.name, TypeText(value.dtype), DimsText(value)});
    }
    absl::StrAppend(out, "\n", title, "\n", AlignColumns(rows, 3));
  }

  Model model_;
  std::string main_file_;
  Bindings bindings_;
  Inference inference_;
  std::map<std::string, int64_t> ops_;
  std::vector<std::string> functions_;
  json inputs_;
  json outputs_;
  std::vector<Weight> weights_;
  std::vector<Applicable> applicable_;
  std::vector<Finding> findings_;
  std::vector<std::string> notes_;
  int64_t parameters_ = 0;
  int64_t weight_bytes_ = 0;
};

}  // namespace

absl::Status InspectModel(const std::string& folder, const std::string& main_file,
                          const Bindings& bindings, const InspectRuntime& runtime,
                          InspectResult* result) {
  absl::StatusOr<Model> model = ReadModel(folder, main_file);
  if (!model.ok()) return ModelError(model.status());
  RETURN_IF_ERROR(ModelError(VerifyModel(*model)));
  Inspection inspection(*std::move(model), main_file, bindings);
  RETURN_IF_ERROR(inspection.FindLayers());
  RETURN_IF_ERROR(
      inspection.AskRuntime((std::filesystem::path(folder) / main_file).string(), runtime));
  result->summary_json = inspection.Json();
  result->text = inspection.Text();
  return absl::OkStatus();
}

}  // namespace lathe::engine
