#include "worker/engine/passes/fuse_pattern.h"

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

namespace lathe::engine {
namespace {

bool Near(double a, double b) { return std::abs(a - b) <= 1e-3 * std::abs(b); }

// The operand of a two-input node of this kind that is not the constant of about this value.
std::optional<std::string> Beside(const GraphView& view, const Node* node, const char* op,
                                  double value) {
  if (node == nullptr || !HasForm(*node, op, 2)) return std::nullopt;
  for (size_t i = 0; i < 2; ++i) {
    const auto constant = view.Scalar(node->inputs[1 - i]);
    if (constant && Near(*constant, value)) return node->inputs[i];
  }
  return std::nullopt;
}

// The x of Erf(x / sqrt(2)), written as a quotient or a product.
std::optional<std::string> ErfOperand(const GraphView& view, const Node* erf) {
  if (erf == nullptr || !HasForm(*erf, "Erf", 1)) return std::nullopt;
  Node* inner = view.Producer(erf->inputs[0]);
  if (inner == nullptr || view.OnlyReader(erf->inputs[0]) != erf) return std::nullopt;
  if (HasForm(*inner, "Div", 2)) {
    const auto by = view.Scalar(inner->inputs[1]);
    if (by && Near(*by, std::sqrt(2.0))) return inner->inputs[0];
    return std::nullopt;
  }
  return Beside(view, inner, "Mul", std::sqrt(0.5));
}

struct Gelu {
  std::string x;
  std::vector<Node*> inner;  // the nodes before the last
};

// The factors of `last`, a Mul: x, 0.5 and 1 + Erf(...) in any order; one of them by a Mul before.
std::optional<Gelu> MatchGelu(const GraphView& view, Node* last) {
  if (!HasForm(*last, "Mul", 2)) return std::nullopt;
  // All factors, looking through one inner Mul.
  for (size_t i = 0; i < 2; ++i) {
    Node* inner = view.Producer(last->inputs[i]);
    if (inner == nullptr || !HasForm(*inner, "Mul", 2) ||
        view.OnlyReader(last->inputs[i]) != last) {
      continue;
    }
    const std::string factors[3] = {last->inputs[1 - i], inner->inputs[0], inner->inputs[1]};
    for (int half = 0; half < 3; ++half) {
      const auto constant = view.Scalar(factors[half]);
      if (!constant || !Near(*constant, 0.5)) continue;
      for (int sum = 0; sum < 3; ++sum) {
        if (sum == half) continue;
        Node* add = view.Producer(factors[sum]);
        const auto erf_value = Beside(view, add, "Add", 1.0);
        if (!erf_value || !view.ReadOnly(factors[sum], 1)) continue;
        Node* erf = view.Producer(*erf_value);
        const auto x = ErfOperand(view, erf);
        if (!x || *x != factors[3 - half - sum] || view.OnlyReader(*erf_value) != add) continue;
        return Gelu{*x, {inner, add, erf, view.Producer(erf->inputs[0])}};
      }
    }
  }
  return std::nullopt;
}

// Whether `node` is a mean over the last axis that keeps it. Axes as an attribute or a constant.
bool IsRowMean(const GraphView& view, const Node* node) {
  if (node == nullptr || !node->Is("ReduceMean") || node->inputs.empty() ||
      node->outputs.size() != 1 || node->IntAttribute("keepdims", 1) == 0) {
    return false;
  }
  std::vector<int64_t> axes = node->IntsAttribute("axes");
  if (node->inputs.size() > 1) {
    const Tensor* constant = view.Constant(node->inputs[1]);
    const auto ints =
        constant == nullptr ? absl::StatusOr<std::vector<int64_t>>(axes) : constant->ToInt64s();
    if (constant == nullptr || !ints.ok()) return false;
    axes = *ints;
  }
  return axes == std::vector<int64_t>{-1};
}

const Tensor* RowConstant(const GraphView& view, const std::string& name) {
  const Tensor* tensor = view.Constant(name);
  return tensor != nullptr && tensor->dtype == DType::kFloat && tensor->dims.size() == 1 &&
                 tensor->size() > 1
             ? tensor
             : nullptr;
}

// Starts from the Div.
void TryLayerNorm(GraphView& view, Node* div) {
  if (!HasForm(*div, "Div", 2)) return;
  Node* sub = view.Producer(div->inputs[0]);
  Node* root = view.Producer(div->inputs[1]);
  if (sub == nullptr || !HasForm(*sub, "Sub", 2) || root == nullptr || !HasForm(*root, "Sqrt", 1) ||
      view.OnlyReader(div->inputs[1]) != div) {
    return;
  }
  const std::string x = sub->inputs[0];
  Node* mean = view.Producer(sub->inputs[1]);
  if (!IsRowMean(view, mean) || mean->inputs[0] != x || !view.ReadOnly(sub->inputs[1], 1)) return;
  Node* plus = view.Producer(root->inputs[0]);
  if (plus == nullptr || !HasForm(*plus, "Add", 2) || view.OnlyReader(root->inputs[0]) != root)
    return;
  std::optional<double> epsilon;
  std::string variance;
  for (size_t i = 0; i < 2 && !epsilon; ++i) {
    epsilon = view.Scalar(plus->inputs[i]);
    variance = plus->inputs[1 - i];
  }
  Node* var = view.Producer(variance);
  if (!epsilon || !IsRowMean(view, var) || view.OnlyReader(variance) != plus) return;
  Node* square = view.Producer(var->inputs[0]);
  if (square == nullptr || view.OnlyReader(var->inputs[0]) != var) return;
  const std::string& away = sub->outputs[0];
  if (HasForm(*square, "Pow", 2)) {
    const auto power = view.Scalar(square->inputs[1]);
    if (square->inputs[0] != away || !power || *power != 2 || !view.ReadOnly(away, 2)) return;
  } else if (!HasForm(*square, "Mul", 2) || square->inputs[0] != away ||
             square->inputs[1] != away || !view.ReadOnly(away, 3)) {
    return;
  }
  Node* times = view.OnlyReader(div->outputs[0]);
  if (times == nullptr || !HasForm(*times, "Mul", 2)) return;
  const std::string scale = times->inputs[times->inputs[0] == div->outputs[0] ? 1 : 0];
  Node* add = view.OnlyReader(times->outputs[0]);
  if (RowConstant(view, scale) == nullptr || add == nullptr || !HasForm(*add, "Add", 2)) {
    return;
  }
  const std::string bias = add->inputs[add->inputs[0] == times->outputs[0] ? 1 : 0];
  const Tensor* row = RowConstant(view, bias);
  if (row == nullptr || row->dims != RowConstant(view, scale)->dims) return;
  for (Node* node : {sub, root, mean, plus, var, square, div, times}) view.Drop(node);
  add->op_type = "LayerNormalization";
  add->domain.clear();
  add->attributes.clear();
  add->SetInt("axis", -1);
  add->SetFloat("epsilon", static_cast<float>(*epsilon));
  view.SetInputs(add, {x, scale, bias});
}

}  // namespace

void FuseGelu(GraphView& view) {
  for (Node* node : view.Nodes()) {
    const std::optional<Gelu> gelu = MatchGelu(view, node);
    if (!gelu) continue;
    for (Node* inner : gelu->inner) view.Drop(inner);
    node->op_type = "Gelu";
    node->attributes.clear();
    view.SetInputs(node, {gelu->x});
  }
}

void FuseLayerNorm(GraphView& view) {
  for (Node* node : view.Nodes()) {
    if (node->outputs.size() == 1 && view.Producer(node->outputs[0]) == node) {
      TryLayerNorm(view, node);
    }
  }
}

}  // namespace lathe::engine
