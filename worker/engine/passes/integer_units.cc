#include "worker/engine/passes/integer_units.h"

#include <algorithm>
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "absl/strings/str_cat.h"
#include "worker/engine/passes/graph_view.h"

namespace lathe::engine {
namespace {

// Operators without weights. `activations`: how many of the first inputs are activations; -1: all.
struct PlainOp {
  const char* op;
  UnitKind kind;
  int activations;
  bool unit_interval = false;
};
constexpr PlainOp kPlainOps[] = {
    {"Add", UnitKind::kElementwise, 2},
    {"Mul", UnitKind::kElementwise, 2},
    {"Concat", UnitKind::kElementwise, -1},
    {"AveragePool", UnitKind::kElementwise, 1},
    {"GlobalAveragePool", UnitKind::kElementwise, 1},
    {"Sigmoid", UnitKind::kElementwise, 1, true},
    {"Softmax", UnitKind::kElementwise, 1, true},
    {"LeakyRelu", UnitKind::kElementwise, 1},
    {"MaxPool", UnitKind::kMove, 1},
    {"Reshape", UnitKind::kMove, 1},
    {"Transpose", UnitKind::kMove, 1},
    {"Flatten", UnitKind::kMove, 1},
    {"Squeeze", UnitKind::kMove, 1},
    {"Unsqueeze", UnitKind::kMove, 1},
    {"Slice", UnitKind::kMove, 1},
    {"Gather", UnitKind::kMove, 1},
    {"Resize", UnitKind::kMove, 1},
    {"Expand", UnitKind::kMove, 1},
    {"Tile", UnitKind::kMove, 1},
    {"Split", UnitKind::kMove, 1},
};

std::unordered_set<std::string> NamesInSubgraphs(const Graph& graph) {
  std::unordered_set<std::string> names;
  const auto visit = [&names](const auto& self, const Graph& inner) -> void {
    for (const auto& node : inner.nodes) {
      names.insert(node->inputs.begin(), node->inputs.end());
      for (const Attribute& attribute : node->attributes) {
        for (const auto& sub : attribute.graphs) self(self, *sub);
      }
    }
    for (const ValueInfo& output : inner.outputs) names.insert(output.name);
  };
  for (const auto& node : graph.nodes) {
    for (const Attribute& attribute : node->attributes) {
      for (const auto& sub : attribute.graphs) visit(visit, *sub);
    }
  }
  return names;
}

class Finder {
 public:
  Finder(const Model& model, const std::vector<Weight>& weights)
      // The view is only read from.
      : model_(model),
        weights_(weights),
        view_(*const_cast<Model&>(model).graph),
        captured_(NamesInSubgraphs(*model.graph)) {
    for (size_t i = 0; i < weights.size(); ++i) {
      for (const WeightUse& use : weights[i].uses) {
        if (use.graph == model.graph.get()) weight_of_[use.node].push_back(static_cast<int>(i));
      }
    }
  }

  std::vector<IntegerUnit> Run() {
    for (const auto& node : model_.graph->nodes) {
      std::optional<IntegerUnit> unit = Unit(*node);
      if (unit) units_.push_back(*std::move(unit));
    }
    return std::move(units_);
  }

 private:
  std::optional<IntegerUnit> Unit(Node& node) {
    if (!node.domain.empty() || node.outputs.empty()) return std::nullopt;
    const auto weight = weight_of_.find(&node);
    if (weight != weight_of_.end()) return Linear(node, weight->second);
    for (const PlainOp& plain : kPlainOps) {
      if (node.op_type == plain.op) return Plain(node, plain);
    }
    return std::nullopt;
  }

  IntegerUnit Start(const Node& node, UnitKind kind) const {
    IntegerUnit unit;
    unit.op = node.op_type;
    unit.name = node.name.empty() ? absl::StrCat(node.op_type, " ", node.outputs[0]) : node.name;
    unit.kind = kind;
    unit.node_output = node.outputs[0];
    unit.results = node.outputs;
    return unit;
  }

  const WeightUse& UseBy(const Node& node, int index) const {
    const std::vector<WeightUse>& uses = weights_[static_cast<size_t>(index)].uses;
    return *std::find_if(uses.begin(), uses.end(),
                         [&node](const WeightUse& use) { return use.node == &node; });
  }

  std::optional<IntegerUnit> Linear(Node& node, const std::vector<int>& indices) {
    const int index = indices[0];
    const Weight& weight = weights_[static_cast<size_t>(index)];
    const WeightUse* use = &UseBy(node, index);
    UnitKind kind = UnitKind::kConv;
    switch (use->role) {
      case WeightRole::kConv:
        break;
      case WeightRole::kGemmB:
        kind = UnitKind::kGemm;
        break;
      case WeightRole::kMatMulRight:
        kind = UnitKind::kMatMul;
        break;
      case WeightRole::kConvTranspose:
        return NeverInIntegers(node, index);
      case WeightRole::kRnnInput:
      case WeightRole::kRnnRecurrent:
        return Recurrent(node, indices);
      default:
        return std::nullopt;
    }
    IntegerUnit unit = Start(node, kind);
    unit.name = weight.name;
    unit.weight = index;
    unit.inputs = {node.inputs[0]};
    unit.depthwise = kind == UnitKind::kConv && use->groups > 1 && use->dims[1] == 1;
    unit.not_static = WhyNot(node, weight, *use, kind);
    if (unit.not_static.empty() && kind != UnitKind::kMatMul && node.inputs.size() > 2 &&
        !node.inputs[2].empty()) {
      unit.bias = node.inputs[2];
    }
    if (kind == UnitKind::kMatMul) TakeBiasAdd(*use, &unit);
    Absorb(&unit);
    CheckResults(&unit);
    unit.not_dynamic =
        kind == UnitKind::kConv ? "ranges of each run make convolutions slower" : unit.not_static;
    return unit;
  }

  // Its kernel takes floats: the weights would be decoded, and the integers around it turned to
  // floats and back.
  IntegerUnit NeverInIntegers(const Node& node, int index) const {
    IntegerUnit unit = Start(node, UnitKind::kConv);
    unit.name = weights_[static_cast<size_t>(index)].name;
    unit.weight = index;
    unit.inputs = {node.inputs[0]};
    unit.not_static = unit.not_dynamic =
        absl::StrCat("ONNX Runtime computes ", node.op_type, " in floats alone");
    return unit;
  }

  std::optional<IntegerUnit> Recurrent(const Node& node, const std::vector<int>& indices) const {
    int w = -1;
    int r = -1;
    for (const int index : indices) {
      (UseBy(node, index).role == WeightRole::kRnnInput ? w : r) = index;
    }
    if (node.inputs[0].empty()) return std::nullopt;
    IntegerUnit unit = Start(node, UnitKind::kRecurrent);
    const int first = w >= 0 ? w : r;
    unit.name = weights_[static_cast<size_t>(first)].name;
    unit.weight = first;
    unit.inputs = {node.inputs[0]};
    unit.results.clear();
    for (const std::string& output : node.outputs) {
      if (!output.empty()) unit.results.push_back(output);
    }
    if (unit.results.empty()) return std::nullopt;
    unit.node_output = unit.results[0];
    if (w >= 0 && r >= 0) {
      unit.recurrent_weight = r;
      unit.recurrent_name = weights_[static_cast<size_t>(r)].name;
    }
    if (node.op_type != "LSTM") {
      unit.not_static = unit.not_dynamic =
          absl::StrCat("ONNX Runtime computes ", node.op_type, " in floats alone");
      return unit;
    }
    unit.not_static = "the range of an LSTM's state is that of each step";
    unit.not_dynamic = WhyNotLstm(node, unit);
    return unit;
  }

  std::string WhyNotLstm(const Node& node, const IntegerUnit& unit) const {
    if (unit.recurrent_weight < 0) return "one of its weights is no constant";
    if (node.IntAttribute("layout", 0) != 0) return "its batch comes first";
    for (const int index : {unit.weight, unit.recurrent_weight}) {
      const Weight& weight = weights_[static_cast<size_t>(index)];
      if (!weight.blocked_reason.empty()) return weight.blocked_reason;
      if (weight.dtype != DType::kFloat) return "its weights are not float32";
      if (weight.uses.size() != 1) return "its weights are shared";
    }
    return "";
  }

  std::string WhyNot(const Node& node, const Weight& weight, const WeightUse& use,
                     UnitKind kind) const {
    if (!weight.blocked_reason.empty()) return weight.blocked_reason;
    if (weight.dtype != DType::kFloat) return "its weight is not float32";
    for (const WeightUse& other : weight.uses) {
      if (other.graph != model_.graph.get()) return "its weight is shared with a subgraph";
      if (other.role != use.role || other.permutation != use.permutation) {
        return "its weight is shared with another kind of layer";
      }
    }
    if (node.outputs.size() != 1) return "it has more than one output";
    if (node.inputs.size() < 2 || node.inputs[0].empty()) return "it has no input";
    if (kind == UnitKind::kGemm) {
      if (node.IntAttribute("transA", 0) != 0) return "it transposes its input";
      if (node.FloatAttribute("alpha", 1) != 1 || node.FloatAttribute("beta", 1) != 1) {
        return "its alpha or beta is not 1";
      }
    }
    if (kind == UnitKind::kMatMul && use.dims.size() != 2) {
      return "its weight is not a matrix";
    }
    if (kind != UnitKind::kMatMul && node.inputs.size() > 2 && !node.inputs[2].empty()) {
      const Tensor* bias = view_.Constant(node.inputs[2]);
      const int64_t channels = use.dims[static_cast<size_t>(use.output_axis)];
      if (bias == nullptr || bias->dtype != DType::kFloat) return "its bias is no constant";
      if (bias->size() != channels) return "its bias is not one number a channel";
    }
    return "";
  }

  // MatMul -> Add of a constant vector over the last axis.
  void TakeBiasAdd(const WeightUse& use, IntegerUnit* unit) const {
    const Node* add = view_.OnlyReader(unit->result());
    if (add == nullptr || !HasForm(*add, "Add", 2)) return;
    const std::string& other = add->inputs[add->inputs[0] == unit->result() ? 1 : 0];
    const Tensor* bias = view_.Constant(other);
    if (bias == nullptr || bias->dtype != DType::kFloat || bias->dims.empty() ||
        bias->size() != use.dims[1] || bias->dims.back() != use.dims[1]) {
      return;
    }
    unit->bias = other;
    unit->bias_add = add->outputs[0];
    unit->results = {add->outputs[0]};
  }

  std::optional<double> ClipBound(const Node& clip, const char* attribute, size_t input) const {
    if (clip.inputs.size() > input && !clip.inputs[input].empty()) {
      return view_.Scalar(clip.inputs[input]);
    }
    if (const Attribute* given = clip.FindAttribute(attribute)) return given->f;
    return std::nullopt;
  }

  void Absorb(IntegerUnit* unit) const {
    const Node* reader = view_.OnlyReader(unit->result());
    if (reader == nullptr || reader->outputs.size() != 1) return;
    if (reader->Is("Clip")) {
      const std::optional<double> low = ClipBound(*reader, "min", 1);
      const std::optional<double> high = ClipBound(*reader, "max", 2);
      if (!low || *low != 0 || !high || !(*high > 0)) return;
      unit->absorbed_limit = *high > 3e38 ? 0 : *high;
    } else if (!reader->Is("Relu")) {
      return;
    }
    unit->absorbed = reader->outputs[0];
    unit->results = {reader->outputs[0]};
  }

  void CheckResults(IntegerUnit* unit) const {
    for (const std::string& input : unit->inputs) {
      if (captured_.count(input) != 0 && unit->not_static.empty()) {
        // Its reader in the subgraph may go on reading floats: no harm, but it is rare enough.
        continue;
      }
    }
    for (const std::string& result : unit->results) {
      if (captured_.count(result) != 0 && unit->not_static.empty()) {
        unit->not_static = absl::StrCat("its result '", result, "' is read in a subgraph");
      }
    }
  }

  std::optional<IntegerUnit> Plain(Node& node, const PlainOp& plain) {
    IntegerUnit unit = Start(node, plain.kind);
    unit.unit_interval = plain.unit_interval;
    const size_t count =
        plain.activations < 0 ? node.inputs.size() : static_cast<size_t>(plain.activations);
    if (node.inputs.size() < count) return std::nullopt;
    for (size_t i = 0; i < count; ++i) {
      // A constant operand has no range from the data, and a scalar is worth no integers.
      if (node.inputs[i].empty() || view_.Constant(node.inputs[i]) != nullptr) return std::nullopt;
      unit.inputs.push_back(node.inputs[i]);
    }
    for (const std::string& result : unit.results) {
      if (result.empty()) return std::nullopt;
    }
    if (plain.kind == UnitKind::kMove && node.op_type != "Split" && node.outputs.size() != 1) {
      return std::nullopt;  // MaxPool with indices
    }
    if (node.op_type == "Resize" && node.StringAttribute("mode", "nearest") != "nearest") {
      return std::nullopt;
    }
    if (node.op_type == "Add") Absorb(&unit);
    CheckResults(&unit);
    if (!unit.not_static.empty()) return std::nullopt;
    return unit;
  }

  const Model& model_;
  const std::vector<Weight>& weights_;
  GraphView view_;
  std::unordered_set<std::string> captured_;
  std::unordered_map<const Node*, std::vector<int>> weight_of_;
  std::vector<IntegerUnit> units_;
};

}  // namespace

std::vector<IntegerUnit> FindIntegerUnits(const Model& model, const std::vector<Weight>& weights) {
  return Finder(model, weights).Run();
}

}  // namespace lathe::engine
