#include "worker/engine/passes/fuse_activation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "worker/engine/graph/clone.h"
#include "worker/engine/kernels/post_op.h"
#include "worker/engine/ops/post_op_attributes.h"

namespace lathe::engine {
namespace {

bool IsConv(const Node& node) { return node.Is("Conv") || node.Is("Conv", "lathe"); }

// A layer whose arithmetic is known to be in float32: of products that the weights tell.
bool IsLayer(const GraphView& view, const Node& node) {
  if (node.outputs.size() != 1 || node.inputs.size() < 2) return false;
  if (IsConv(node)) return true;
  const Tensor* w = view.Constant(node.inputs[1]);
  return (node.Is("Gemm") || node.Is("MatMul") || node.Is("MatMul", "lathe")) && w != nullptr &&
         w->dtype == DType::kFloat;
}

// Makes `last` the fused form of `layer`: with its attributes, these inputs and this post-op.
void Become(GraphView& view, Node* layer, Node* last, std::vector<std::string> inputs,
            const PostOp& post_op) {
  last->op_type = layer->op_type;
  last->domain = "lathe";
  last->provenance = layer->provenance;
  if (!layer->name.empty()) last->name = layer->name;
  std::vector<Attribute> attributes;
  for (const Attribute& attribute : layer->attributes) {
    attributes.push_back(CloneAttribute(attribute, nullptr));
  }
  last->attributes = std::move(attributes);
  if (post_op.kind != PostOp::Kind::kNone) WritePostOp(post_op, *last);
  view.Drop(layer);
  view.SetInputs(last, std::move(inputs));
}

std::optional<PostOp> ClipOf(const GraphView& view, const Node& node) {
  PostOp op{PostOp::Kind::kClip, std::numeric_limits<float>::lowest(),
            std::numeric_limits<float>::max()};
  op.alpha = node.FloatAttribute("min", op.alpha);
  op.beta = node.FloatAttribute("max", op.beta);
  const auto bound = [&](size_t i, float* to) {
    if (node.inputs.size() <= i || node.inputs[i].empty()) return true;
    const auto value = view.Scalar(node.inputs[i]);
    if (value) *to = static_cast<float>(*value);
    return value.has_value();
  };
  if (!bound(1, &op.alpha) || !bound(2, &op.beta) || op.alpha > op.beta) return std::nullopt;
  return op;
}

// The post-op that a node with one operand is; nullopt for others.
std::optional<PostOp> PostOpOf(const GraphView& view, const Node& node) {
  using Kind = PostOp::Kind;
  if (!node.domain.empty() || node.outputs.size() != 1) return std::nullopt;
  const std::string& op = node.op_type;
  if (op == "Clip") return ClipOf(view, node);
  if (node.inputs.size() != 1) return std::nullopt;
  if (op == "Relu") return PostOp{Kind::kRelu, 0, 0};
  if (op == "LeakyRelu") {
    return PostOp{Kind::kLeakyRelu, node.FloatAttribute("alpha", 0.01f), 0};
  }
  if (op == "Elu") return PostOp{Kind::kElu, node.FloatAttribute("alpha", 1.0f), 0};
  if (op == "Sigmoid") return PostOp{Kind::kSigmoid, 0, 0};
  if (op == "Tanh") return PostOp{Kind::kTanh, 0, 0};
  if (op == "HardSwish") return PostOp{Kind::kHardSwish, 0, 0};
  if (op == "HardSigmoid") {
    return PostOp{Kind::kHardSigmoid, node.FloatAttribute("alpha", 0.2f),
                  node.FloatAttribute("beta", 0.5f)};
  }
  if (op == "Swish") return PostOp{Kind::kSilu, node.FloatAttribute("alpha", 1.0f), 0};
  if (op == "Gelu") {
    const bool tanh = node.StringAttribute("approximate", "none") == "tanh";
    return PostOp{tanh ? Kind::kGeluTanh : Kind::kGelu, 0, 0};
  }
  return std::nullopt;
}

// x Sigmoid(x) and x HardSigmoid(x): the gate and the product that both read `value`.
bool FuseGate(GraphView& view, Node*& layer) {
  const std::string value = layer->outputs[0];
  if (!view.ReadOnly(value, 2)) return false;
  Node* gate = view.Readers(value)[0];
  Node* product = view.Readers(value)[1];
  if (gate->Is("Mul")) std::swap(gate, product);
  if (!HasForm(*product, "Mul", 2) || gate->inputs.size() != 1 || gate->outputs.size() != 1) {
    return false;
  }
  PostOp op;
  if (gate->Is("Sigmoid")) {
    op = {PostOp::Kind::kSilu, 1, 0};
  } else if (gate->Is("HardSigmoid") &&
             std::abs(gate->FloatAttribute("alpha", 0.2f) - 1.0f / 6) < 1e-6f &&
             gate->FloatAttribute("beta", 0.5f) == 0.5f) {
    op = {PostOp::Kind::kHardSwish, 0, 0};
  } else {
    return false;
  }
  const std::string& gated = gate->outputs[0];
  const auto reads = [product](const std::string& name) {
    return product->inputs[0] == name || product->inputs[1] == name;
  };
  if (view.OnlyReader(gated) != product || !reads(gated) || !reads(value)) return false;
  view.Drop(gate);
  Become(view, layer, product, layer->inputs, op);
  layer = product;
  return true;
}

bool FuseActivation(GraphView& view, Node*& layer) {
  Node* next = view.OnlyReader(layer->outputs[0]);
  if (next == nullptr || next->inputs.empty() || next->inputs[0] != layer->outputs[0]) {
    return false;
  }
  const std::optional<PostOp> op = PostOpOf(view, *next);
  if (!op) return false;
  Become(view, layer, next, layer->inputs, *op);
  layer = next;
  return true;
}

// The other operand of an Add that reads `value` once.
std::optional<std::string> OtherOperand(const Node& add, const std::string& value) {
  if (!HasForm(add, "Add", 2) || add.inputs[0] == add.inputs[1]) {
    return std::nullopt;
  }
  return add.inputs[add.inputs[0] == value ? 1 : 0];
}

// A sum with a constant of one number a channel goes into the bias.
bool AddToBias(GraphView& view, Node*& layer, Node* add, const Tensor& constant) {
  const Tensor* w = view.Constant(layer->inputs[1]);
  if (w == nullptr || w->dims.size() < 3 || constant.dtype != DType::kFloat) return false;
  const int64_t channels = w->dims[0];
  // [C, 1, ...] with the spatial axes, perhaps a 1 before it.
  Shape wanted(w->dims.size() - 1, 1);
  wanted[0] = channels;
  Shape dims = constant.dims;
  if (dims.size() == w->dims.size() && dims[0] == 1) dims.erase(dims.begin());
  if (dims != wanted) return false;
  auto bias = constant.ToFloats();
  if (!bias.ok()) return false;
  if (layer->inputs.size() > 2 && !layer->inputs[2].empty()) {
    const Tensor* old = view.Constant(layer->inputs[2]);
    if (old == nullptr || old->dtype != DType::kFloat || old->dims != Shape{channels}) return false;
    const auto values = old->ToFloats();
    if (!values.ok()) return false;
    for (size_t c = 0; c < bias->size(); ++c) (*bias)[c] += (*values)[c];
  }
  std::vector<std::string> inputs = {
      layer->inputs[0], layer->inputs[1],
      view.AddInitializer(layer->inputs[1] + "/bias", Tensor::FromFloats("", {channels}, *bias))};
  Become(view, layer, add, std::move(inputs), PostOp());
  layer = add;
  return true;
}

bool FuseSum(GraphView& view, Node*& layer) {
  if (!IsConv(*layer) || (layer->inputs.size() > 3 && !layer->inputs[3].empty())) return false;
  Node* add = view.OnlyReader(layer->outputs[0]);
  if (add == nullptr) return false;
  const std::optional<std::string> other = OtherOperand(*add, layer->outputs[0]);
  if (!other) return false;
  if (const Tensor* constant = view.Constant(*other)) {
    return AddToBias(view, layer, add, *constant);
  }
  std::vector<std::string> inputs = layer->inputs;
  inputs.resize(3);
  inputs.push_back(*other);
  Become(view, layer, add, std::move(inputs), PostOp());
  layer = add;
  return true;
}

}  // namespace

void FuseActivations(GraphView& view) {
  for (Node* node : view.Nodes()) {
    Node* layer = node;
    // Dropped ones read and produce nothing any more.
    if (!IsLayer(view, *layer) || view.Producer(layer->outputs[0]) != layer) continue;
    if (layer->FindAttribute("activation") != nullptr) continue;
    while (FuseSum(view, layer)) {
    }
    if (!FuseGate(view, layer)) FuseActivation(view, layer);
  }
}

}  // namespace lathe::engine
