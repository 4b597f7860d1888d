#include "worker/engine/graph/trace.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"

namespace lathe::engine {
namespace {

// Past this many operators between constants and operand nobody means a weight; it bounds the
// recursion.
constexpr int kMaxDerivationDepth = 64;

bool IsPermutation(const std::vector<int64_t>& permutation, size_t rank) {
  if (permutation.size() != rank) return false;
  std::vector<bool> seen(rank, false);
  for (const int64_t axis : permutation) {
    if (axis < 0 || axis >= static_cast<int64_t>(rank) || seen[axis]) return false;
    seen[axis] = true;
  }
  return true;
}

bool HasSubgraph(const Node& node) {
  return std::any_of(node.attributes.begin(), node.attributes.end(),
                     [](const Attribute& attribute) { return !attribute.graphs.empty(); });
}

bool IsRandom(const Node& node) {
  return node.op_type.rfind("Random", 0) == 0 || node.Is("Multinomial") || node.Is("Bernoulli") ||
         node.Is("Dropout");
}

bool IsConstantNode(const Definition& definition) {
  return definition.kind == Definition::Kind::kNode && definition.node->Is("Constant");
}

// A Constant whose value is an attribute of the function's call.
bool IsReferringConstant(const Definition& definition) {
  if (!IsConstantNode(definition)) return false;
  const Attribute* value = definition.node->FindAttribute("value");
  return value != nullptr && value->tensors.empty() && !value->extra.empty();
}

// Turns the Transposes met on the way, operand first, into one permutation of a source of that
// rank. False when one is broken.
bool Compose(const std::vector<const Node*>& transposes, size_t rank, std::vector<int64_t>& out) {
  out.resize(rank);
  std::iota(out.begin(), out.end(), int64_t{0});
  for (const Node* node : transposes) {
    std::vector<int64_t> permutation = node->IntsAttribute("perm");
    if (node->FindAttribute("perm") == nullptr) {
      permutation.resize(rank);
      std::iota(permutation.rbegin(), permutation.rend(), int64_t{0});
    }
    if (!IsPermutation(permutation, rank)) return false;
    for (int64_t& axis : out) axis = permutation[axis];
  }
  if (std::is_sorted(out.begin(), out.end())) out.clear();
  return true;
}

}  // namespace

bool IsQuantizedType(DType dtype) {
  switch (dtype) {
    case DType::kUint8:
    case DType::kInt8:
    case DType::kUint16:
    case DType::kInt16:
    case DType::kFloat8E4M3FN:
    case DType::kFloat8E4M3FNUZ:
    case DType::kFloat8E5M2:
    case DType::kFloat8E5M2FNUZ:
    case DType::kUint4:
    case DType::kInt4:
    case DType::kFloat4E2M1:
    case DType::kUint2:
    case DType::kInt2:
      return true;
    default:
      return false;
  }
}

const Tensor* ConstantTensor(const Definition& definition) {
  if (definition.kind == Definition::Kind::kInitializer) {
    return &definition.graph->initializers.at(definition.name);
  }
  if (!IsConstantNode(definition)) return nullptr;
  const Attribute* value = std::as_const(*definition.node).FindAttribute("value");
  return value != nullptr && value->tensors.size() == 1 ? &value->tensors[0] : nullptr;
}

bool IsFloatCast(const Node& node) {
  return node.Is("Cast") && IsFloat(static_cast<DType>(node.IntAttribute("to", 0)));
}

bool IsChainLink(const Node& node) {
  if (node.inputs.empty() || node.outputs.empty()) return false;
  return node.Is("Identity") || node.Is("Transpose") || IsFloatCast(node);
}

Origin Tracer::Trace(const Graph* graph, const std::string& value) {
  Origin origin;
  std::vector<const Node*> transposes;
  Definition* definition = index_.Resolve(graph, value);
  bool cast = false;
  for (size_t steps = 0; definition != nullptr && steps <= index_.nodes().size(); ++steps) {
    if (const Tensor* tensor = ConstantTensor(*definition)) {
      origin.source = definition;
      origin.tensor = tensor;
      const bool integer = !IsFloat(tensor->dtype);
      origin.kind = cast && integer && IsQuantizedType(tensor->dtype) ? Origin::Kind::kQuantized
                    : cast && integer                                 ? Origin::Kind::kComputed
                                                                      : Origin::Kind::kConstant;
      if (!Compose(transposes, tensor->dims.size(), origin.permutation)) {
        origin.problem =
            absl::StrCat("a Transpose between '", definition->name,
                         "' and it does not fit the tensor's rank of ", tensor->dims.size());
      }
      return origin;
    }
    if (definition->kind == Definition::Kind::kSparse) {
      origin.kind = Origin::Kind::kSparse;
      origin.source = definition;
      return origin;
    }
    if (definition->kind == Definition::Kind::kFormal || IsReferringConstant(*definition)) {
      origin.kind = Origin::Kind::kFormal;
      origin.source = definition;
      return origin;
    }
    if (definition->kind != Definition::Kind::kNode) return origin;
    if (!IsChainLink(*definition->node)) break;
    if (definition->node->Is("Transpose")) transposes.push_back(definition->node);
    if (definition->node->Is("Cast")) {
      cast = true;
      if (origin.by == nullptr) origin.by = definition->node;
    }
    definition = index_.Resolve(definition->graph, definition->node->inputs[0]);
  }
  if (definition == nullptr || definition->kind != Definition::Kind::kNode) return origin;
  const Derived& derived = Derive(definition, 0);
  if (!derived.constant) return origin;
  origin.by = definition->node;
  origin.kind = derived.quantized ? Origin::Kind::kQuantized : Origin::Kind::kComputed;
  origin.source = derived.largest_source;
  origin.tensor = derived.largest;
  return origin;
}

const Tracer::Derived& Tracer::Derive(Definition* definition, int depth) {
  const auto [slot, fresh] = derived_.try_emplace(definition);
  // Met again while it is being worked out: a cycle, so not a constant.
  if (!fresh) return slot->second;
  Derived derived;
  if (const Tensor* tensor = ConstantTensor(*definition)) {
    derived.constant = true;
    derived.largest = tensor;
    derived.largest_source = definition;
    derived.quantized = IsQuantizedType(tensor->dtype);
  } else if (IsConstantNode(*definition)) {
    derived.constant = !IsReferringConstant(*definition);
  } else if (definition->kind == Definition::Kind::kNode && depth < kMaxDerivationDepth) {
    const Node& node = *definition->node;
    const bool standard = node.domain.empty() || node.domain == "com.microsoft";
    derived.constant = standard && !node.inputs.empty() && !IsRandom(node) && !HasSubgraph(node);
    for (const std::string& input : node.inputs) {
      if (!derived.constant) break;
      if (input.empty()) continue;
      Definition* from = index_.Resolve(definition->graph, input);
      if (from == nullptr) {
        derived.constant = false;
        break;
      }
      const Derived part = Derive(from, depth + 1);
      derived.constant = part.constant;
      if (part.largest == nullptr) continue;
      if (derived.largest == nullptr || part.largest->size() > derived.largest->size()) {
        derived.largest = part.largest;
        derived.largest_source = part.largest_source;
        derived.quantized = part.quantized;
      }
    }
    if (derived.constant && node.op_type == "DequantizeLinear") derived.quantized = true;
  }
  Derived& stored = derived_[definition];
  stored = derived;
  return stored;
}

}  // namespace lathe::engine
