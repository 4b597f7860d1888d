#include "worker/engine/ops/forward/recurrent_activation.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "worker/engine/kernels/post_op.h"

namespace lathe::engine {
namespace {

using Kind = RecurrentActivation::Kind;

struct Known {
  const char* name;
  Kind kind;
  bool has_alpha;
  bool has_beta;
  float alpha;
  float beta;
};
constexpr Known kKnown[] = {
    {"affine", Kind::kAffine, true, true, 1, 0},
    {"elu", Kind::kElu, true, false, 1, 0},
    {"hardsigmoid", Kind::kHardSigmoid, true, true, 0.2f, 0.5f},
    {"leakyrelu", Kind::kLeakyRelu, true, false, 0.01f, 0},
    {"relu", Kind::kRelu, false, false, 0, 0},
    {"scaledtanh", Kind::kScaledTanh, true, true, 1, 1},
    {"sigmoid", Kind::kSigmoid, false, false, 0, 0},
    {"softplus", Kind::kSoftplus, false, false, 0, 0},
    {"softsign", Kind::kSoftsign, false, false, 0, 0},
    {"tanh", Kind::kTanh, false, false, 0, 0},
    {"thresholdedrelu", Kind::kThresholdedRelu, true, false, 1, 0},
};

}  // namespace

void RecurrentActivation::Apply(float clip, int64_t count, float* x) const {
  if (clip > 0) {
    for (int64_t i = 0; i < count; ++i) x[i] = std::min(std::max(x[i], -clip), clip);
  }
  switch (kind_) {
    case Kind::kSigmoid:
      return ApplyPostOp({PostOp::Kind::kSigmoid, 0, 0}, count, x);
    case Kind::kTanh:
      return ApplyPostOp({PostOp::Kind::kTanh, 0, 0}, count, x);
    case Kind::kRelu:
      return ApplyPostOp({PostOp::Kind::kRelu, 0, 0}, count, x);
    case Kind::kLeakyRelu:
      return ApplyPostOp({PostOp::Kind::kLeakyRelu, alpha_, 0}, count, x);
    case Kind::kHardSigmoid:
      return ApplyPostOp({PostOp::Kind::kHardSigmoid, alpha_, beta_}, count, x);
    case Kind::kElu:
      return ApplyPostOp({PostOp::Kind::kElu, alpha_, 0}, count, x);
    case Kind::kAffine:
      for (int64_t i = 0; i < count; ++i) x[i] = alpha_ * x[i] + beta_;
      return;
    case Kind::kThresholdedRelu:
      for (int64_t i = 0; i < count; ++i) x[i] = x[i] > alpha_ ? x[i] : 0.0f;
      return;
    case Kind::kScaledTanh:
      for (int64_t i = 0; i < count; ++i) x[i] = alpha_ * std::tanh(beta_ * x[i]);
      return;
    case Kind::kSoftsign:
      for (int64_t i = 0; i < count; ++i) x[i] = x[i] / (1 + std::abs(x[i]));
      return;
    case Kind::kSoftplus:
      for (int64_t i = 0; i < count; ++i) {
        x[i] = x[i] > 0 ? x[i] + std::log1p(std::exp(-x[i])) : std::log1p(std::exp(x[i]));
      }
      return;
  }
}

void RecurrentActivation::Differentiate(int64_t count, const float* y, float* g) const {
  const auto scale = [=](auto slope) {
    for (int64_t i = 0; i < count; ++i) g[i] *= slope(y[i]);
  };
  const float alpha = alpha_;
  const float beta = beta_;
  switch (kind_) {
    case Kind::kSigmoid:
      return scale([](float v) { return v * (1 - v); });
    case Kind::kTanh:
      return scale([](float v) { return 1 - v * v; });
    case Kind::kRelu:
      return scale([](float v) { return v > 0 ? 1.0f : 0.0f; });
    case Kind::kAffine:
      return scale([=](float) { return alpha; });
    case Kind::kLeakyRelu:
      return scale([=](float v) { return v > 0 ? 1.0f : alpha; });
    case Kind::kThresholdedRelu:
      return scale([](float v) { return v != 0 ? 1.0f : 0.0f; });
    case Kind::kScaledTanh:
      return scale([=](float v) { return alpha == 0 ? 0.0f : beta * (alpha - v * v / alpha); });
    case Kind::kHardSigmoid:
      return scale([=](float v) { return v > 0 && v < 1 ? alpha : 0.0f; });
    case Kind::kElu:
      return scale([=](float v) { return v > 0 ? 1.0f : v + alpha; });
    case Kind::kSoftsign:
      return scale([](float v) { return (1 - std::abs(v)) * (1 - std::abs(v)); });
    case Kind::kSoftplus:
      return scale([](float v) { return -std::expm1(-v); });
  }
}

absl::StatusOr<std::vector<RecurrentActivation>> RecurrentActivationsOf(
    const Node& node, int64_t directions, const std::vector<Kind>& defaults) {
  const size_t wanted = static_cast<size_t>(directions) * defaults.size();
  std::vector<std::string> names;
  const Attribute* given = node.FindAttribute("activations");
  if (given != nullptr) names = given->strings;
  if (!names.empty() && names.size() != wanted) {
    return absl::InvalidArgumentError(
        absl::StrCat("'activations' must have ", wanted, " entries, not ", names.size()));
  }
  const auto floats = [&node](const char* name) {
    const Attribute* attribute = node.FindAttribute(name);
    return attribute == nullptr ? std::vector<float>() : attribute->floats;
  };
  const std::vector<float> alphas = floats("activation_alpha");
  const std::vector<float> betas = floats("activation_beta");
  size_t alpha_at = 0;
  size_t beta_at = 0;
  std::vector<RecurrentActivation> activations;
  for (size_t i = 0; i < wanted; ++i) {
    const auto* known = std::find_if(std::begin(kKnown), std::end(kKnown), [&](const Known& k) {
      return names.empty() ? k.kind == defaults[i % defaults.size()]
                           : absl::AsciiStrToLower(names[i]) == k.name;
    });
    if (known == std::end(kKnown)) {
      return absl::UnimplementedError(absl::StrCat("the activation '", names[i], "'"));
    }
    float alpha = known->alpha;
    float beta = known->beta;
    if (known->has_alpha && alpha_at < alphas.size()) alpha = alphas[alpha_at++];
    if (known->has_beta && beta_at < betas.size()) beta = betas[beta_at++];
    activations.emplace_back(known->kind, alpha, beta);
  }
  return activations;
}

}  // namespace lathe::engine
