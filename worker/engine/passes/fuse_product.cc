#include "worker/engine/passes/fuse_product.h"

#include <optional>
#include <utility>
#include <vector>

#include "worker/engine/graph/clone.h"

namespace lathe::engine {
namespace {

bool IsProduct(const Node& node) {
  return (node.Is("MatMul") || node.Is("MatMul", "lathe")) && node.outputs.size() == 1 &&
         node.inputs.size() >= 2;
}

// Makes `last` the product that `product` is, with these inputs.
void Become(GraphView& view, Node* product, Node* last, std::vector<std::string> inputs) {
  last->op_type = "MatMul";
  last->domain = "lathe";
  last->provenance = product->provenance;
  if (!product->name.empty()) last->name = product->name;
  std::vector<Attribute> attributes;
  for (const Attribute& attribute : product->attributes) {
    attributes.push_back(CloneAttribute(attribute, nullptr));
  }
  last->attributes = std::move(attributes);
  view.Drop(product);
  view.SetInputs(last, std::move(inputs));
}

// The other operand of a node that reads `value` once among two inputs.
std::optional<std::string> Other(const Node& node, const std::string& value) {
  if (node.inputs.size() != 2 || node.outputs.size() != 1 || node.inputs[0] == node.inputs[1]) {
    return std::nullopt;
  }
  return node.inputs[node.inputs[0] == value ? 1 : 0];
}

bool FuseBias(GraphView& view, Node*& product) {
  if (product->inputs.size() > 2) return false;
  Node* add = view.OnlyReader(product->outputs[0]);
  const Tensor* w = view.Constant(product->inputs[1]);
  if (add == nullptr || !add->Is("Add") || w == nullptr || w->dims.size() < 2) return false;
  const auto other = Other(*add, product->outputs[0]);
  const Tensor* bias = other ? view.Constant(*other) : nullptr;
  const bool turned = product->IntAttribute("transB", 0) != 0;
  const int64_t columns = w->dims[w->dims.size() - (turned ? 2 : 1)];
  if (bias == nullptr || bias->dtype != DType::kFloat || w->dtype != DType::kFloat ||
      bias->dims != Shape{columns}) {
    return false;
  }
  Become(view, product, add, {product->inputs[0], product->inputs[1], *other});
  product = add;
  return true;
}

bool FuseFactor(GraphView& view, Node*& product) {
  if (product->inputs.size() > 2) return false;
  Node* next = view.OnlyReader(product->outputs[0]);
  if (next == nullptr) return false;
  const bool divides = next->Is("Div");
  const auto other = Other(*next, product->outputs[0]);
  if ((!divides && !next->Is("Mul")) || !other) return false;
  if (divides && next->inputs[0] != product->outputs[0]) return false;
  const Tensor* constant = view.Constant(*other);
  // More axes than the product has would give the result more axes too.
  if (constant == nullptr || constant->dtype != DType::kFloat || constant->dims.size() > 1) {
    return false;
  }
  const auto factor = view.Scalar(*other);
  if (!factor || (divides && *factor == 0)) return false;
  const auto by = static_cast<float>(divides ? 1 / *factor : *factor);
  Become(view, product, next, product->inputs);
  next->SetFloat("alpha", next->FloatAttribute("alpha", 1.0f) * by);
  product = next;
  return true;
}

// Takes a Transpose before operand `input` in.
void FuseTranspose(GraphView& view, Node* product, size_t input, const char* attribute) {
  Node* transpose = view.Producer(product->inputs[input]);
  if (transpose == nullptr || !transpose->Is("Transpose") || transpose->inputs.size() != 1 ||
      transpose->outputs.size() != 1 || view.OnlyReader(product->inputs[input]) != product ||
      product->IntAttribute(attribute, 0) != 0) {
    return;
  }
  std::vector<int64_t> perm = transpose->IntsAttribute("perm");
  const size_t rank = perm.size();
  if (rank < 2) return;
  std::swap(perm[rank - 1], perm[rank - 2]);
  if (perm[rank - 1] != static_cast<int64_t>(rank) - 1) return;
  bool same = true;
  for (size_t i = 0; i < rank; ++i) same = same && perm[i] == static_cast<int64_t>(i);
  product->domain = "lathe";
  product->SetInt(attribute, 1);
  if (!same) {
    transpose->SetInts("perm", std::move(perm));
    return;
  }
  std::vector<std::string> inputs = product->inputs;
  inputs[input] = transpose->inputs[0];
  view.Drop(transpose);
  view.SetInputs(product, std::move(inputs));
}

}  // namespace

void FuseProducts(GraphView& view) {
  for (Node* node : view.Nodes()) {
    if (!IsProduct(*node) || view.Producer(node->outputs[0]) != node) continue;
    if (node->FindAttribute("activation") != nullptr) continue;
    Node* product = node;
    FuseTranspose(view, product, 1, "transB");
    while (FuseFactor(view, product)) {
    }
    FuseBias(view, product);
  }
}

}  // namespace lathe::engine
