#include "worker/engine/graph/layers.h"

#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checked.h"
#include "worker/engine/graph/function_calls.h"
#include "worker/engine/graph/function_parameters.h"
#include "worker/engine/graph/sparse.h"
#include "worker/engine/graph/trace.h"
#include "worker/engine/graph/weighted_ops.h"

namespace lathe::engine {
namespace {

std::string TypeText(DType dtype) {
  const absl::string_view name = DTypeName(dtype);
  if (name == "unknown") return absl::StrCat("dtype(", static_cast<int>(dtype), ")");
  return std::string(name);
}

// Looks at every node once, in model order, and collects weights by their source.
class Finder {
 public:
  explicit Finder(const Model& model) : model_(model), index_(model), tracer_(index_) {}

  std::vector<Weight> Run() {
    const auto& places = index_.nodes();
    for (size_t i = 0; i < places.size(); ++i) {
      place_ = places[i];
      order_ = i;
      if (FindCallee(model_, *place_.node) != nullptr) continue;
      VisitStandard();
      VisitQuantized();
      VisitContrib();
    }
    BlockSharedSources();
    DropCoveredContribs();
    NameAll();
    return std::move(weights_);
  }

 private:
  void VisitStandard() {
    const Node& node = *place_.node;
    const std::vector<WeightSlot> slots = WeightSlots(node);
    if (slots.empty()) return;
    if (node.op_type == "MatMul" || node.op_type == "Gemm") {
      VisitProduct();
      return;
    }
    for (const WeightSlot& slot : slots) {
      const Origin origin = TraceInput(slot.input);
      if (slot.role == WeightRole::kEmbedding && !IsEmbedding(origin)) continue;
      Add(origin, slot.input, slot.role, slot.suffix, "");
    }
  }

  // MatMul and Gemm: the right operand is the weight, or the left one where only that is constant.
  void VisitProduct() {
    const bool gemm = place_.node->op_type == "Gemm";
    const Origin left = TraceInput(0);
    const Origin right = TraceInput(1);
    const bool left_constant = left.kind != Origin::Kind::kNone;
    if (right.kind != Origin::Kind::kNone) {
      Add(right, 1, gemm ? WeightRole::kGemmB : WeightRole::kMatMulRight, "",
          left_constant ? "both operands are constant" : "");
    } else if (left_constant) {
      Add(left, 0, WeightRole::kMatMulLeft, "",
          gemm ? "only operand A of this Gemm is constant, which no method changes" : "");
    }
  }

  // A Gather from a table, not along another axis, nor one that picks from shapes and index lists.
  bool IsEmbedding(const Origin& origin) const {
    const Node& node = *place_.node;
    if (origin.kind == Origin::Kind::kSparse) return node.IntAttribute("axis", 0) == 0;
    if (origin.kind == Origin::Kind::kFormal) return node.IntAttribute("axis", 0) == 0;
    if (origin.tensor == nullptr || origin.tensor->dims.size() < 2) return false;
    const int64_t axis = node.IntAttribute("axis", 0);
    if (axis != 0 && axis != -static_cast<int64_t>(origin.tensor->dims.size())) return false;
    if (IsFloat(origin.tensor->dtype)) return true;
    if (!IsQuantizedType(origin.tensor->dtype)) return false;
    return origin.kind == Origin::Kind::kQuantized || IsDequantizedLater();
  }

  // Gather(int8 table) whose rows are turned to floats: the form that keeps the table small in
  // memory.
  bool IsDequantizedLater() const {
    for (const std::string& output : place_.node->outputs) {
      const Definition* definition = index_.Resolve(place_.graph, output);
      if (definition == nullptr) continue;
      for (const Reader& reader : definition->readers) {
        if (reader.node == nullptr || reader.input != 0) continue;
        if (reader.node->op_type == "DequantizeLinear" || IsFloatCast(*reader.node)) return true;
      }
    }
    return false;
  }

  void VisitQuantized() {
    const Node& node = *place_.node;
    for (const QuantizedSlot& slot : QuantizedSlots(node)) {
      Origin origin = TraceInput(slot.input);
      if (origin.kind == Origin::Kind::kNone || origin.kind == Origin::Kind::kFormal) continue;
      origin.kind = Origin::Kind::kQuantized;
      Add(origin, slot.input, slot.role, slot.suffix, "");
    }
  }

  // Weighted operators of ONNX Runtime's own: the largest constant with two axes or more speaks for
  // the node.
  void VisitContrib() {
    const Node& node = *place_.node;
    if (!IsContribDomain(node.domain) || !QuantizedSlots(node).empty()) return;
    if (node.op_type == "QuantizeLinear" || node.op_type == "DequantizeLinear") return;
    Origin largest;
    int input = 0;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      Origin origin = TraceInput(static_cast<int>(i));
      if (origin.tensor == nullptr || origin.tensor->dims.size() < 2) continue;
      if (!IsFloat(origin.tensor->dtype) && !IsQuantizedType(origin.tensor->dtype)) continue;
      if (largest.tensor != nullptr && largest.tensor->size() >= origin.tensor->size()) continue;
      largest = std::move(origin);
      input = static_cast<int>(i);
    }
    if (largest.tensor == nullptr) return;
    if (IsQuantizedType(largest.tensor->dtype)) {
      largest.kind = Origin::Kind::kQuantized;
      Add(largest, input, WeightRole::kMatMulRight, "", "");
      return;
    }
    Append(largest, input, WeightRole::kMatMulRight, "",
           absl::StrCat(node.domain, ".", node.op_type, " is passed through"));
    contribs_.push_back(weights_.size() - 1);
  }

  // Model inputs, what Loops bind, and parameters that no call gives a constant come out as kNone.
  Origin TraceInput(int input) {
    if (input >= static_cast<int>(place_.node->inputs.size())) return {};
    Origin origin = tracer_.Trace(place_.graph, place_.node->inputs[input]);
    if (origin.kind == Origin::Kind::kFormal) {
      const auto [slot, fresh] = takes_constant_.try_emplace(origin.source, false);
      if (fresh) slot->second = TakesConstant(model_, index_, tracer_, *origin.source);
      if (!slot->second) return {};
    }
    return origin;
  }

  // Files one operand under its source. `reason` blocks it for the operator's own sake.
  void Add(const Origin& origin, int input, WeightRole role, const char* suffix,
           std::string reason) {
    switch (origin.kind) {
      case Origin::Kind::kNone:
        return;
      case Origin::Kind::kConstant:
        if (!IsFloat(origin.tensor->dtype)) {
          reason = IsQuantizedType(origin.tensor->dtype) && role == WeightRole::kEmbedding
                       ? QuantizedReason(origin)
                       : absl::StrCat("its type is ", TypeText(origin.tensor->dtype),
                                      ", not a float type");
        }
        break;
      case Origin::Kind::kSparse:
        reason = "stored as a sparse initializer";
        break;
      case Origin::Kind::kFormal:
        reason = ParameterReason(origin);
        break;
      case Origin::Kind::kComputed:
        // Positions, masks and shapes are computed from small or integer constants: not weights.
        if (origin.tensor == nullptr || !IsFloat(origin.tensor->dtype) ||
            origin.tensor->dims.size() < 2) {
          return;
        }
        reason = absl::StrCat("it is computed from constants by ", DescribeNode(*origin.by));
        break;
      case Origin::Kind::kQuantized:
        reason = QuantizedReason(origin);
        break;
    }
    const bool owned =
        origin.kind == Origin::Kind::kConstant || origin.kind == Origin::Kind::kSparse;
    const auto known = owned ? by_source_.find(origin.source) : by_source_.end();
    if (known == by_source_.end()) {
      Append(origin, input, role, suffix, std::move(reason));
      if (owned) by_source_.emplace(origin.source, weights_.size() - 1);
      return;
    }
    Weight& weight = weights_[known->second];
    AddUse(origin, input, role, weight, std::move(reason));
  }

  void Append(const Origin& origin, int input, WeightRole role, const char* suffix,
              std::string reason) {
    Weight weight;
    const Node& node = *place_.node;
    weight.name = absl::StrCat(
        node.name.empty() ? absl::StrCat(node.op_type, "_", order_) : node.name, suffix);
    if (const Definition* source = origin.source; source != nullptr) {
      weight.source.graph = source->graph;
      weight.source.value = source->name;
      weight.source_name = source->name;
      if (source->kind == Definition::Kind::kNode) {
        weight.source.kind = WeightSource::Kind::kConstantNode;
        weight.source.constant = source->node;
      }
      if (source->kind == Definition::Kind::kSparse) {
        const SparseShape shape =
            ReadSparseShape(source->graph->sparse_initializers.at(source->name));
        weight.dtype = shape.dtype;
        weight.dims = shape.dims;
      }
    }
    if (origin.tensor != nullptr) {
      weight.dtype = origin.tensor->dtype;
      weight.dims = origin.tensor->dims;
      if (weight.size() == 0 && reason.empty()) reason = "it has no elements";
    }
    AddUse(origin, input, role, weight, std::move(reason));
    weights_.push_back(std::move(weight));
  }

  void AddUse(const Origin& origin, int input, WeightRole role, Weight& weight,
              std::string reason) {
    WeightUse use;
    use.graph = place_.graph;
    use.node = place_.node;
    use.input = input;
    use.role = role;
    use.permutation = origin.permutation;
    std::string misfit = origin.problem;
    if (misfit.empty()) misfit = FillAxes(weight.dims, use);
    if (reason.empty() && !misfit.empty()) {
      reason = absl::StrCat(DescribeNode(*use.node), ": ", misfit);
    }
    if (weight.blocked_reason.empty()) weight.blocked_reason = std::move(reason);
    weight.uses.push_back(std::move(use));
  }

  std::string QuantizedReason(const Origin& origin) const {
    const Node& node = *place_.node;
    const int64_t bits = node.IntAttribute("bits", 0);
    if (IsContribDomain(node.domain) && bits > 0) {
      return absl::StrCat("already quantized (", bits, " bits)");
    }
    if (origin.tensor == nullptr || IsFloat(origin.tensor->dtype)) {
      return "already quantized (fake quantization)";
    }
    return absl::StrCat("already quantized (", TypeText(origin.tensor->dtype), ")");
  }

  // Why a weight that is a function's parameter is left alone.
  std::string ParameterReason(const Origin& origin) const {
    const Function& function = *FunctionOfBody(model_, origin.source->graph);
    std::string obstacle = InlineObstacle(model_, function);
    if (obstacle.empty()) obstacle = "it has not been inlined";
    const bool parameter = origin.source->kind == Definition::Kind::kFormal;
    return absl::StrCat("it is ", parameter ? "the parameter '" : "an attribute '",
                        origin.source->name, "' of function ", FunctionName(function),
                        ", which stays a function: ", obstacle);
  }

  // A source that anything but a weighted operator reads must keep its values, its type and its
  // place.
  void BlockSharedSources() {
    for (const auto& [source, position] : by_source_) {
      Weight& weight = weights_[position];
      if (weight.blocked_reason.empty()) weight.blocked_reason = OtherReader(*source, weight);
    }
  }

  std::string OtherReader(const Definition& source, const Weight& weight) const {
    std::set<std::pair<const Node*, int>> uses;
    for (const WeightUse& use : weight.uses) uses.emplace(use.node, use.input);
    std::vector<const Definition*> open = {&source};
    std::unordered_set<const Definition*> seen = {&source};
    while (!open.empty()) {
      const Definition& value = *open.back();
      open.pop_back();
      for (const Reader& reader : value.readers) {
        if (reader.node == nullptr) {
          return absl::StrCat("'", value.name, "' is an output of ",
                              reader.graph == model_.graph.get() ? "the model" : "a subgraph");
        }
        if (uses.contains({reader.node, reader.input})) continue;
        if (!IsChainLink(*reader.node) || reader.input != 0) {
          return absl::StrCat("also read by ", DescribeNode(*reader.node), " as input ",
                              reader.input);
        }
        const Definition* next = index_.Resolve(reader.graph, reader.node->outputs[0]);
        if (next != nullptr && seen.insert(next).second) open.push_back(next);
      }
    }
    return "";
  }

  // A constant that a plain operator uses too has its own entry already, blocked by the contrib
  // node.
  void DropCoveredContribs() {
    std::set<std::pair<const Graph*, std::string>> covered;
    for (const auto& [source, position] : by_source_) covered.emplace(source->graph, source->name);
    for (auto it = contribs_.rbegin(); it != contribs_.rend(); ++it) {
      const WeightSource& source = weights_[*it].source;
      if (covered.contains({source.graph, source.value})) weights_.erase(weights_.begin() + *it);
    }
  }

  void NameAll() {
    std::unordered_set<std::string> taken;
    for (Weight& weight : weights_) {
      const std::string base = weight.name;
      for (int n = 2; !taken.insert(weight.name).second; ++n)
        weight.name = absl::StrCat(base, "#", n);
    }
  }

  const Model& model_;
  ScopeIndex index_;
  Tracer tracer_;
  ScopeIndex::Place place_;
  size_t order_ = 0;
  std::vector<Weight> weights_;
  std::unordered_map<const Definition*, size_t> by_source_;
  std::unordered_map<const Definition*, bool> takes_constant_;
  std::vector<size_t> contribs_;
};

}  // namespace

std::string RoleName(const Node& node, WeightRole role) {
  const std::string op =
      node.domain.empty() ? node.op_type : absl::StrCat(node.domain, ".", node.op_type);
  switch (role) {
    case WeightRole::kRnnInput:
      return absl::StrCat(op, ".W");
    case WeightRole::kRnnRecurrent:
      return absl::StrCat(op, ".R");
    default:
      return op;
  }
}

int64_t Weight::size() const { return CheckedProduct(dims).value_or(0); }

std::vector<Weight> FindWeights(Model& model) { return Finder(model).Run(); }

}  // namespace lathe::engine
