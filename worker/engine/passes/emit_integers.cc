#include "worker/engine/passes/emit_integers.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/passes/lstm_weight.h"

namespace lathe::engine {
namespace {

using Nodes = std::vector<std::unique_ptr<Node>>;
constexpr char kMethod[] = "quantize_activations";

template <typename T>
Tensor Vector(const std::string& name, DType dtype, Shape dims, const std::vector<T>& values) {
  std::string bytes(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  return *Tensor::Make(name, dtype, std::move(dims), std::move(bytes));
}

// Elements of `w` (row-major, `dims`) with axes permuted as ONNX's Transpose does.
std::vector<float> Permuted(const std::vector<float>& w, const Shape& dims,
                            const std::vector<int64_t>& permutation) {
  const size_t rank = dims.size();
  Shape strides(rank, 1);
  for (size_t i = rank; i-- > 1;) strides[i - 1] = strides[i] * dims[i];
  Shape index(rank, 0);
  std::vector<float> out(w.size());
  for (float& value : out) {
    int64_t at = 0;
    for (size_t i = 0; i < rank; ++i) at += index[i] * strides[static_cast<size_t>(permutation[i])];
    value = w[static_cast<size_t>(at)];
    for (size_t i = rank; i-- > 0;) {
      if (++index[i] < dims[static_cast<size_t>(permutation[i])]) break;
      index[i] = 0;
    }
  }
  return out;
}

class Emitter {
 public:
  Emitter(Model& model, const std::vector<IntegerUnit>& units, const IntegerPlan& plan,
          Parallel& parallel)
      : model_(model),
        graph_(*model.graph),
        units_(units),
        plan_(plan),
        parallel_(parallel),
        names_(model),
        weights_(FindWeights(model)) {
    for (const auto& node : graph_.nodes) {
      for (const std::string& output : node->outputs) producers_[output] = node.get();
    }
  }

  absl::StatusOr<std::vector<EmittedWeight>> Run() {
    for (size_t u = 0; u < units_.size(); ++u) {
      if (plan_.forms[u] == UnitForm::kFloat) continue;
      if (plan_.forms[u] == UnitForm::kDynamic) {
        RETURN_IF_ERROR(Dynamic(u));
      } else {
        RETURN_IF_ERROR(Static(u));
      }
    }
    PlaceQuantizers();
    Rebuild();
    return std::move(emitted_);
  }

 private:
  Node* ProducerOf(const IntegerUnit& unit) const {
    const auto found = producers_.find(unit.node_output);
    return found == producers_.end() ? nullptr : found->second;
  }

  std::unique_ptr<Node> New(const std::string& op, std::vector<std::string> inputs,
                            std::string output, const std::string& origin) {
    auto node = std::make_unique<Node>();
    node->name = names_.Fresh(absl::StrCat(output, "/", op));
    node->op_type = op;
    node->inputs = std::move(inputs);
    node->outputs = {std::move(output)};
    node->provenance = {origin, kMethod};
    return node;
  }

  std::string Put(Tensor tensor) {
    std::string name = tensor.name;
    AddConstant(model_, graph_, std::move(tensor));
    return name;
  }

  // The weight of a unit as its operator sees it.
  absl::StatusOr<std::vector<float>> ReadFor(const IntegerUnit& unit, const WeightUse** use) {
    const Weight& weight = weights_[static_cast<size_t>(unit.weight)];
    const Node* node = ProducerOf(unit);
    for (const WeightUse& candidate : weight.uses) {
      if (candidate.node == node) *use = &candidate;
    }
    ASSIGN_OR_RETURN(std::vector<float> values, ReadWeight(weight));
    if ((*use)->permutation.empty()) return values;
    return Permuted(values, weight.dims, (*use)->permutation);
  }

  std::vector<float> Bias(size_t u, int64_t channels) const {
    std::vector<float> bias;
    if (!units_[u].bias.empty()) {
      const Tensor* tensor = FindConstant(units_[u].bias);
      if (tensor != nullptr) bias = *tensor->ToFloats();
    }
    const auto correction = plan_.corrections.find(u);
    if (correction != plan_.corrections.end()) {
      bias.resize(static_cast<size_t>(channels), 0.0f);
      for (size_t c = 0; c < bias.size(); ++c) bias[c] += correction->second[c];
    }
    return bias;
  }

  const Tensor* FindConstant(const std::string& value) const {
    const auto initializer = graph_.initializers.find(value);
    if (initializer != graph_.initializers.end()) return &initializer->second;
    const auto node = producers_.find(value);
    if (node == producers_.end() || !node->second->Is("Constant")) return nullptr;
    const Attribute* attribute = node->second->FindAttribute("value");
    return attribute != nullptr && attribute->tensors.size() == 1 ? &attribute->tensors[0]
                                                                  : nullptr;
  }

  // Shared by the units of one weight where nothing differs.
  struct Stored {
    std::string integers;
    std::string scales;
    std::string zero_points;
    std::vector<float> scale_values;
    double squared_error = 0;
    double squared_norm = 0;
    int64_t repaired = 0;
    int64_t bytes = 0;
  };

  absl::StatusOr<const Stored*> Store(size_t u, int axis, const std::vector<float>& least) {
    const IntegerUnit& unit = units_[u];
    const auto found = stored_.find(unit.weight);
    if (found != stored_.end()) return &found->second;
    const WeightUse* use = nullptr;
    ASSIGN_OR_RETURN(std::vector<float> values, ReadFor(unit, &use));
    Shape dims = use->dims;
    const bool dynamic = plan_.forms[u] == UnitForm::kDynamic;
    if (dynamic && axis == 0) {  // MatMulInteger wants [K, N]
      values = Permuted(values, dims, {1, 0});
      std::swap(dims[0], dims[1]);
      axis = 1;
    }
    IntegerWeight rounded = RoundIntegerWeight(values, dims, axis, plan_.weights, least, parallel_);
    const std::string& stem = weights_[static_cast<size_t>(unit.weight)].source_name;
    Stored stored;
    const auto scales = static_cast<int64_t>(rounded.scales.size());
    const Shape scale_dims = scales > 1 || plan_.weights.per_channel ? Shape{scales} : Shape{};
    stored.bytes = static_cast<int64_t>(rounded.integers.size()) + scales * 5;
    stored.integers = Put(
        *Tensor::Make(names_.Fresh(stem + "_q"), DType::kInt8, dims, std::move(rounded.integers)));
    stored.scales =
        Put(Tensor::FromFloats(names_.Fresh(stem + "_scale"), scale_dims, rounded.scales));
    stored.zero_points = Put(Vector(names_.Fresh(stem + "_zero_point"), DType::kInt8, scale_dims,
                                    std::vector<int8_t>(static_cast<size_t>(scales), 0)));
    stored.scale_values = std::move(rounded.scales);
    stored.squared_error = rounded.squared_error;
    stored.squared_norm = rounded.squared_norm;
    stored.repaired = rounded.repaired_channels;
    return &stored_.emplace(unit.weight, std::move(stored)).first->second;
  }

  int AxisOf(const IntegerUnit& unit) const {
    if (unit.kind == UnitKind::kConv) return 0;
    if (unit.kind == UnitKind::kMatMul) return 1;
    return ProducerOf(unit)->IntAttribute("transB", 0) != 0 ? 0 : 1;
  }

  void Report(size_t u, const Stored& stored, int64_t bias_bytes) {
    emitted_.push_back({u, /*recurrent=*/false, stored.bytes + bias_bytes, stored.squared_error,
                        stored.squared_norm, stored.repaired});
  }

  absl::Status Static(size_t u) {
    const IntegerUnit& unit = units_[u];
    Node* node = ProducerOf(unit);
    if (unit.Linear()) RETURN_IF_ERROR(StaticWeight(u, *node));
    // The Relu or Clip goes: what it read is quantized in place of what it gave.
    if (!unit.absorbed.empty() && CanAbsorb(u)) {
      Node* clamp = producers_[unit.absorbed];
      clamped_[unit.absorbed] = clamp->inputs[0];
      dropped_.insert(clamp);
    }
    // What it reads and writes, once all units have had their turn.
    for (const std::string& input : unit.inputs) quantized_.insert(input);
    const bool writes = unit.Linear() ? WritesIntegers(units_, plan_.forms, u) : true;
    if (!writes) return absl::OkStatus();
    for (const std::string& result : unit.results) {
      quantized_.insert(result);
      integer_results_.insert(result);
    }
    return absl::OkStatus();
  }

  // Whether clamping to the integers' range does what the Relu or Clip does.
  bool CanAbsorb(size_t u) const {
    const IntegerUnit& unit = units_[u];
    if (unit.Linear() && !WritesIntegers(units_, plan_.forms, u)) return false;
    const IntegerRange& range = plan_.ranges.at(unit.result());
    const bool is_unsigned = range.dtype == DType::kUint8 || range.dtype == DType::kUint16;
    if (!is_unsigned || range.zero_point != 0) return false;
    const double top = range.scale * (range.dtype == DType::kUint8 ? 255.0 : 65535.0);
    return unit.absorbed_limit == 0 || top <= unit.absorbed_limit * (1 + 1e-6);
  }

  absl::Status StaticWeight(size_t u, Node& node) {
    const IntegerUnit& unit = units_[u];
    const int axis = AxisOf(unit);
    const Weight& weight = weights_[static_cast<size_t>(unit.weight)];
    const WeightUse* use = nullptr;
    for (const WeightUse& candidate : weight.uses) {
      if (candidate.node == &node) use = &candidate;
    }
    const int64_t channels = use->dims[static_cast<size_t>(axis)];
    const float input_scale = plan_.ranges.at(unit.inputs[0]).scale;
    const std::vector<float> bias = Bias(u, channels);
    // The int32 bias must hold b / (s_x s_w).
    std::vector<float> least(static_cast<size_t>(channels), 0.0f);
    for (size_t c = 0; c < bias.size(); ++c) {
      least[c] = std::abs(bias[c]) / input_scale / 2147483000.0f;
    }
    ASSIGN_OR_RETURN(const Stored* stored, Store(u, axis, least));
    const std::string origin = unit.name;
    const std::string decoded = names_.Fresh(absl::StrCat(stored->integers, "_float"));
    auto dq = New("DequantizeLinear", {stored->integers, stored->scales, stored->zero_points},
                  decoded, origin);
    const bool vector = plan_.weights.per_channel;
    if (vector) dq->SetInt("axis", axis);
    before_[&node].push_back(std::move(dq));
    node.inputs[1] = decoded;
    int64_t bias_bytes = 0;
    if (!bias.empty()) {
      std::vector<int32_t> integers(bias.size());
      std::vector<float> scales(vector ? bias.size() : 1);
      for (size_t c = 0; c < bias.size(); ++c) {
        const float scale = input_scale * stored->scale_values[vector ? c : 0];
        scales[vector ? c : 0] = scale;
        const double q = std::nearbyint(static_cast<double>(bias[c]) / scale);
        integers[c] = static_cast<int32_t>(std::clamp(q, -2147483647.0, 2147483647.0));
      }
      const auto count = static_cast<int64_t>(bias.size());
      const Shape scale_dims = vector ? Shape{count} : Shape{};
      const std::string stem = unit.bias.empty() ? unit.node_output + "_bias" : unit.bias;
      bias_bytes = count * 4 + static_cast<int64_t>(scales.size()) * 8;
      const std::string q =
          Put(Vector(names_.Fresh(stem + "_q"), DType::kInt32, {count}, integers));
      const std::string s =
          Put(Tensor::FromFloats(names_.Fresh(stem + "_scale"), scale_dims, scales));
      const std::string z = Put(Vector(names_.Fresh(stem + "_zero_point"), DType::kInt32,
                                       scale_dims, std::vector<int32_t>(scales.size(), 0)));
      const std::string value = names_.Fresh(stem + "_float");
      auto decode = New("DequantizeLinear", {q, s, z}, value, origin);
      if (vector) decode->SetInt("axis", 0);
      Node* reader = &node;
      if (unit.kind == UnitKind::kMatMul) {
        reader = unit.bias_add.empty() ? AddBehind(node, unit) : producers_[unit.bias_add];
        const std::string& product = node.outputs[0];
        const size_t at = reader->inputs[0] == product ? 1 : 0;
        reader->inputs[at] = value;
      } else {
        node.inputs.resize(3);
        node.inputs[2] = value;
      }
      before_[reader].push_back(std::move(decode));
    }
    Report(u, *stored, bias_bytes);
    return absl::OkStatus();
  }

  // A MatMul without a bias that gets one: the Add gives what the MatMul gave.
  Node* AddBehind(Node& node, const IntegerUnit& unit) {
    const std::string result = node.outputs[0];
    node.outputs[0] = names_.Fresh(absl::StrCat(result, "_product"));
    auto add = New("Add", {node.outputs[0], ""}, result, unit.name);
    Node* made = add.get();
    producers_[node.outputs[0]] = &node;
    producers_[result] = made;
    after_[&node].push_back(std::move(add));
    return made;
  }

  // The node keeps its place, its outputs and what else it reads.
  absl::Status Lstm(size_t u) {
    const IntegerUnit& unit = units_[u];
    Node& node = *ProducerOf(unit);
    std::vector<std::string> inputs = node.inputs;
    inputs.resize(12);
    int64_t hidden = 0;
    for (const bool recurrent : {false, true}) {
      const int index = recurrent ? unit.recurrent_weight : unit.weight;
      const Weight& weight = weights_[static_cast<size_t>(index)];
      const WeightUse& use = weight.uses[0];
      ASSIGN_OR_RETURN(std::vector<float> values, ReadWeight(weight));
      if (!use.permutation.empty()) values = Permuted(values, weight.dims, use.permutation);
      const Shape turned = {use.dims[0], use.dims[2], use.dims[1]};
      values = Permuted(values, use.dims, {0, 2, 1});
      const LstmWeight stored = RoundLstmWeight(values, turned, plan_.weights, parallel_);
      const std::string& stem = weight.source_name;
      const size_t scale = recurrent ? 10 : 8;
      inputs[recurrent ? 2 : 1] =
          Put(*Tensor::Make(names_.Fresh(stem + "_q"), DType::kInt8, turned, stored.integers));
      inputs[scale] =
          Put(Tensor::FromFloats(names_.Fresh(stem + "_scale"), stored.set_dims, stored.scales));
      inputs[scale + 1] = Put(Vector(names_.Fresh(stem + "_zero_point"), DType::kInt8,
                                     stored.set_dims, std::vector<int8_t>(stored.scales.size())));
      hidden = turned[2] / 4;
      emitted_.push_back({u, recurrent,
                          static_cast<int64_t>(values.size() + stored.scales.size() * 5),
                          stored.squared_error, stored.squared_norm, stored.repaired_channels});
    }
    node.inputs = std::move(inputs);
    node.op_type = "DynamicQuantizeLSTM";
    node.domain = "com.microsoft";
    node.SetInt("hidden_size", hidden);
    node.attributes.erase(
        std::remove_if(node.attributes.begin(), node.attributes.end(),
                       [](const Attribute& attribute) { return attribute.name == "layout"; }),
        node.attributes.end());
    node.provenance = {unit.name, kMethod};
    model_.opset_imports.emplace("com.microsoft", 1);
    return absl::OkStatus();
  }

  absl::Status Dynamic(size_t u) {
    const IntegerUnit& unit = units_[u];
    if (unit.kind == UnitKind::kRecurrent) return Lstm(u);
    Node* node = ProducerOf(unit);
    const int axis = AxisOf(unit);
    ASSIGN_OR_RETURN(const Stored* stored, Store(u, axis, {}));
    const std::string input = unit.inputs[0];
    auto& seen = dynamic_[input];
    Nodes& nodes = before_[node];
    if (seen.empty()) {
      seen = {names_.Fresh(input + "_quantized"), names_.Fresh(input + "_scale"),
              names_.Fresh(input + "_zero_point")};
      auto quantize = New("DynamicQuantizeLinear", {input}, seen[0], unit.name);
      quantize->outputs = seen;
      nodes.push_back(std::move(quantize));
    }
    const std::string result = node->outputs[0];
    const auto next = [&](const char* what) {
      return names_.Fresh(absl::StrCat(result, "_", what));
    };
    const std::string product = next("integers");
    const std::string real = next("float");
    const std::string scale = next("scale");
    nodes.push_back(New("MatMulInteger", {seen[0], stored->integers, seen[2], stored->zero_points},
                        product, unit.name));
    nodes.push_back(New("Cast", {product}, real, unit.name));
    nodes.back()->SetInt("to", static_cast<int64_t>(DType::kFloat));
    nodes.push_back(New("Mul", {seen[1], stored->scales}, scale, unit.name));
    std::string bias;
    if (unit.kind == UnitKind::kGemm && node->inputs.size() > 2) bias = node->inputs[2];
    const std::string scaled = bias.empty() ? result : next("scaled");
    nodes.push_back(New("Mul", {real, scale}, scaled, unit.name));
    if (!bias.empty()) nodes.push_back(New("Add", {scaled, bias}, result, unit.name));
    producers_[result] = nodes.back().get();
    dropped_.insert(node);
    Report(u, *stored, 0);
    return absl::OkStatus();
  }

  struct Quantizer {
    Nodes nodes;
    std::string decoded;  // what the readers read
  };

  // A Q and a DQ for every value in `quantized_`; `readers_` says who reads through them.
  void PlaceQuantizers() {
    std::unordered_set<const Node*> integer_readers;
    for (size_t u = 0; u < units_.size(); ++u) {
      if (plan_.forms[u] == UnitForm::kStatic) integer_readers.insert(ProducerOf(units_[u]));
    }
    for (const std::string& value : quantized_) {
      const IntegerRange& range = plan_.ranges.at(value);
      const bool produced = integer_results_.count(value) != 0;
      const bool output = graph_.IsOutput(value);
      const auto clamped = clamped_.find(value);
      std::string from = clamped == clamped_.end() ? value : clamped->second;
      std::string decoded = names_.Fresh(absl::StrCat(value, "_dequantized"));
      if (output && clamped != clamped_.end()) {
        decoded = value;
      } else if (produced && output) {
        // The graph's output is what all others read.
        from = names_.Fresh(absl::StrCat(value, "_float"));
        decoded = value;
        Node* producer = producers_[value];
        std::replace(producer->outputs.begin(), producer->outputs.end(), value, from);
        producers_[from] = producer;
      }
      const std::string q = names_.Fresh(absl::StrCat(value, "_quantized"));
      const std::string scale =
          Put(Tensor::FromFloats(names_.Fresh(value + "_scale"), {}, std::vector{range.scale}));
      const std::string zero = Put(ZeroPoint(names_.Fresh(value + "_zero_point"), range));
      Quantizer& quantizer = quantizers_[from];
      quantizer.decoded = decoded;
      quantizer.nodes.push_back(New("QuantizeLinear", {from, scale, zero}, q, value));
      quantizer.nodes.push_back(New("DequantizeLinear", {q, scale, zero}, decoded, value));
      const auto reroute = [&](Node& node) {
        if (!produced && integer_readers.count(&node) == 0) return;
        for (std::string& input : node.inputs) {
          if (input == value) input = decoded;
        }
      };
      for (const auto& node : graph_.nodes) reroute(*node);
      for (auto* lists : {&before_, &after_}) {
        for (auto& [anchor, nodes] : *lists) {
          for (const auto& node : nodes) {
            if (produced) reroute(*node);
          }
        }
      }
    }
  }

  static Tensor ZeroPoint(const std::string& name, const IntegerRange& range) {
    const int64_t bytes = range.dtype == DType::kUint8 || range.dtype == DType::kInt8 ? 1 : 2;
    std::string data(static_cast<size_t>(bytes), '\0');
    std::memcpy(data.data(), &range.zero_point, data.size());  // little-endian
    return *Tensor::Make(name, range.dtype, {}, std::move(data));
  }

  void Append(Nodes& nodes, std::unique_ptr<Node> node) {
    std::vector<std::string> outputs = node->outputs;
    nodes.push_back(std::move(node));
    for (const std::string& output : outputs) {
      const auto found = quantizers_.find(output);
      if (found == quantizers_.end()) continue;
      for (auto& q : found->second.nodes) nodes.push_back(std::move(q));
      quantizers_.erase(found);
    }
  }

  void Rebuild() {
    Nodes old = std::move(graph_.nodes);
    Nodes nodes;
    for (const ValueInfo& input : graph_.inputs) {
      const auto found = quantizers_.find(input.name);
      if (found == quantizers_.end()) continue;
      for (auto& q : found->second.nodes) nodes.push_back(std::move(q));
      quantizers_.erase(found);
    }
    for (auto& node : old) {
      const Node* key = node.get();
      for (auto& made : before_[key]) Append(nodes, std::move(made));
      if (dropped_.count(key) == 0) Append(nodes, std::move(node));
      for (auto& made : after_[key]) Append(nodes, std::move(made));
    }
    graph_.nodes = std::move(nodes);
  }

  Model& model_;
  Graph& graph_;
  const std::vector<IntegerUnit>& units_;
  const IntegerPlan& plan_;
  Parallel& parallel_;
  NameScope names_;
  std::vector<Weight> weights_;
  std::unordered_map<std::string, Node*> producers_;
  std::unordered_map<const Node*, Nodes> before_;
  std::unordered_map<const Node*, Nodes> after_;
  std::unordered_set<const Node*> dropped_;
  std::map<int, Stored> stored_;
  std::map<std::string, std::string> clamped_;  // what a Relu or Clip gave -> what it read
  std::set<std::string> quantized_;             // values that get a Q and a DQ
  std::set<std::string> integer_results_;       // those of them that integer units produce
  std::map<std::string, std::vector<std::string>> dynamic_;  // of an input: q, scale, zero point
  std::map<std::string, Quantizer> quantizers_;
  std::vector<EmittedWeight> emitted_;
};

}  // namespace

absl::StatusOr<std::vector<EmittedWeight>> EmitIntegers(Model& model,
                                                        const std::vector<IntegerUnit>& units,
                                                        const IntegerPlan& plan,
                                                        Parallel& parallel) {
  return Emitter(model, units, plan, parallel).Run();
}

}  // namespace lathe::engine
