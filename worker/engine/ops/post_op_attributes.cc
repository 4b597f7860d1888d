#include "worker/engine/ops/post_op_attributes.h"

#include <algorithm>
#include <iterator>
#include <string>

namespace lathe::engine {
namespace {

struct Name {
  const char* name;
  PostOp::Kind kind;
  float alpha;
  float beta;
};
constexpr Name kNames[] = {
    {"Relu", PostOp::Kind::kRelu, 0, 0},
    {"Clip", PostOp::Kind::kClip, -3.4028234663852886e38f, 3.4028234663852886e38f},
    {"LeakyRelu", PostOp::Kind::kLeakyRelu, 0.01f, 0},
    {"Elu", PostOp::Kind::kElu, 1, 0},
    {"Sigmoid", PostOp::Kind::kSigmoid, 0, 0},
    {"Tanh", PostOp::Kind::kTanh, 0, 0},
    {"HardSigmoid", PostOp::Kind::kHardSigmoid, 0.2f, 0.5f},
    {"HardSwish", PostOp::Kind::kHardSwish, 0, 0},
    {"Silu", PostOp::Kind::kSilu, 1, 0},
    {"Gelu", PostOp::Kind::kGelu, 0, 0},
    {"GeluTanh", PostOp::Kind::kGeluTanh, 0, 0},
};

}  // namespace

std::optional<PostOp> ReadPostOp(const Node& node) {
  const std::string name = node.StringAttribute("activation", "");
  if (name.empty()) return PostOp();
  for (const Name& known : kNames) {
    if (name != known.name) continue;
    PostOp op{known.kind, known.alpha, known.beta};
    const Attribute* params = node.FindAttribute("activation_params");
    if (params != nullptr && !params->floats.empty()) op.alpha = params->floats[0];
    if (params != nullptr && params->floats.size() > 1) op.beta = params->floats[1];
    op.alpha = node.FloatAttribute("activation_alpha", op.alpha);
    op.beta = node.FloatAttribute("activation_beta", op.beta);
    return op;
  }
  return std::nullopt;
}

void WritePostOp(const PostOp& op, Node& node) {
  const auto* known = std::find_if(std::begin(kNames), std::end(kNames),
                                   [&op](const Name& n) { return n.kind == op.kind; });
  if (known == std::end(kNames)) return;
  node.SetString("activation", known->name);
  node.SetFloat("activation_alpha", op.alpha);
  node.SetFloat("activation_beta", op.beta);
}

}  // namespace lathe::engine
