// Normalizations over channels: y = scale z + bias, z = (x - mean) / sqrt(variance + epsilon).
// Where the statistics are constants (BatchNormalization at inference), G_x = G_y scale inverse;
// where they are x's own over a set of N elements, with h = G_y scale,
//   G_x = inverse (h - sum(h) / N - z sum(h z) / N),  G_scale = sum(G_y z),  G_bias = sum(G_y).
// Those over the last axes are in layer_norm.cc.
#include <algorithm>
#include <cmath>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/kernels/channel_planes.h"
#include "worker/engine/kernels/row_grads.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/backward/layer_norm.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

// [batch, channels, plane].
struct Planes {
  int64_t batch = 0;
  int64_t channels = 0;
  int64_t plane = 1;
};

Planes PlanesOf(const Shape& dims) {
  return {dims[0], dims[1], ExtentProduct(dims, 2, dims.size())};
}

// Statistics of one set of elements, and sums over it.
struct Moments {
  float mean = 0;
  float inverse = 0;  // of the deviation
};

// Mean and inverse deviation from sums around `center`.
Moments MomentsOf(const CenteredSums& sums, double count, float center, float epsilon) {
  const double away = sums.d / count;
  const double variance = std::max(sums.squares / count - away * away, 0.0);
  return {static_cast<float>(static_cast<double>(center) + away),
          static_cast<float>(1 / std::sqrt(variance + static_cast<double>(epsilon)))};
}

// sum(G_y z), from sums around `center`.
double NormalizedProducts(const CenteredSums& sums, float center, const Moments& m) {
  const double shift = static_cast<double>(m.mean) - static_cast<double>(center);
  return (sums.products - shift * sums.g) * static_cast<double>(m.inverse);
}

float MeanOf(const float* x, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(x[i]);
  return static_cast<float>(sum / static_cast<double>(count));
}

absl::Status EmitVector(GradContext& ctx, size_t input, const std::vector<double>& values) {
  if (!ctx.Wants(input)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(input));
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(values[i]);
  return absl::OkStatus();
}

// The running statistics that training gives have no gradient.
absl::Status BatchNormGrad(GradContext& ctx) {
  if (!ctx.HasGrad(0) || ctx.Out(0).size() == 0) return absl::OkStatus();
  const Node& node = ctx.node();
  RETURN_IF_ERROR(ctx.Align());
  const ChannelPlanes p = ChannelPlanes::Of(ctx.Dims(0), ctx.GradValue(0).layout);
  bool training = node.IntAttribute("training_mode", 0) != 0;
  if (ctx.opset() < 14) {
    training = false;
    for (size_t i = 1; i < node.outputs.size(); ++i) training |= !node.outputs[i].empty();
  }
  const float epsilon = node.FloatAttribute("epsilon", 1e-5F);
  const float* x = Memory(ctx.In(0)).data();
  const float* g = ctx.GradMemory(0).data();
  const auto channels = static_cast<size_t>(p.channels);
  // Around the mean itself where it is known, around that of the first plane where it is not.
  std::vector<float> centers(channels);
  if (training) {
    FirstPlaneMeans(p, x, centers);
  } else {
    std::copy_n(ctx.X(3).begin(), channels, centers.begin());
  }
  std::vector<CenteredSums> sums(channels);
  const bool reads_sums = training || ctx.Wants(1) || ctx.Wants(2) || ctx.Wants(3) || ctx.Wants(4);
  if (reads_sums) AddChannelSums(p, centers, x, g, sums);
  std::vector<ChannelLine> lines(channels);
  std::vector<double> scale_grad(channels);
  std::vector<double> bias_grad(channels);
  std::vector<double> mean_grad(channels);
  std::vector<double> variance_grad(channels);
  const auto count = static_cast<double>(p.batch * p.plane);
  for (size_t c = 0; c < channels; ++c) {
    Moments m{centers[c], 1 / std::sqrt(ctx.X(4)[c] + epsilon)};
    if (training) m = MomentsOf(sums[c], count, centers[c], epsilon);
    const float factor = ctx.X(1)[c] * m.inverse;
    scale_grad[c] = NormalizedProducts(sums[c], centers[c], m);
    bias_grad[c] = sums[c].g;
    lines[c] = {factor, 0, m.mean, 0};
    if (training) {
      lines[c].b = -factor * m.inverse * static_cast<float>(scale_grad[c] / count);
      lines[c].c = -factor * static_cast<float>(bias_grad[c] / count);
    } else {
      const auto wide = static_cast<double>(factor);
      const auto inverse = static_cast<double>(m.inverse);
      mean_grad[c] = -wide * bias_grad[c];
      variance_grad[c] = -0.5 * wide * inverse * scale_grad[c];
    }
  }
  RETURN_IF_ERROR(EmitVector(ctx, 1, scale_grad));
  RETURN_IF_ERROR(EmitVector(ctx, 2, bias_grad));
  if (!training) {
    RETURN_IF_ERROR(EmitVector(ctx, 3, mean_grad));
    RETURN_IF_ERROR(EmitVector(ctx, 4, variance_grad));
  }
  if (!ctx.Wants(0)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitInPlace(0, 0));
  CombineChannels(p, lines, g, x, out.data());
  return absl::OkStatus();
}

// Statistics over `each` channels of one example together; scale and bias one a channel, or one a
// group.
absl::Status GroupGrad(GradContext& ctx, int64_t groups, bool per_channel) {
  const Planes p = PlanesOf(ctx.Dims(0));
  const float epsilon = ctx.node().FloatAttribute("epsilon", 1e-5F);
  const int64_t each = groups == 0 ? 1 : p.channels / groups;
  const float* x = ctx.X(0).data();
  const float* g = ctx.Grad(0).data();
  const std::span<const float> scale = ctx.X(1);
  std::vector<double> scale_grad(scale.size());
  std::vector<double> bias_grad(scale.size());
  float* dx = nullptr;
  if (ctx.Wants(0)) {
    ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitInPlace(0, 0));
    dx = out.data();
  }
  const auto count = static_cast<double>(each * p.plane);
  std::vector<CenteredSums> sums(static_cast<size_t>(each));
  const int64_t sets = ctx.Out(0).size() == 0 ? 0 : p.batch * groups;
  for (int64_t set = 0; set < sets; ++set, x += each * p.plane, g += each * p.plane) {
    const float center = MeanOf(x, p.plane);
    CenteredSums whole;
    for (int64_t k = 0; k < each; ++k) {
      CenteredSums& here = sums[static_cast<size_t>(k)];
      here = CenteredSums();
      AddCenteredSums(p.plane, center, x + k * p.plane, g + k * p.plane, here);
      whole.d += here.d;
      whole.squares += here.squares;
    }
    const Moments m = MomentsOf(whole, count, center, epsilon);
    const auto slot = [&](int64_t k) {
      const int64_t group = set % groups;
      return static_cast<size_t>(per_channel ? group * each + k : group);
    };
    double total = 0;     // of h
    double products = 0;  // of h z
    for (int64_t k = 0; k < each; ++k) {
      const CenteredSums& here = sums[static_cast<size_t>(k)];
      const double along = NormalizedProducts(here, center, m);
      scale_grad[slot(k)] += along;
      bias_grad[slot(k)] += here.g;
      total += static_cast<double>(scale[slot(k)]) * here.g;
      products += static_cast<double>(scale[slot(k)]) * along;
    }
    if (dx == nullptr) continue;
    const float b = -m.inverse * m.inverse * static_cast<float>(products / count);
    const float c = -m.inverse * static_cast<float>(total / count);
    for (int64_t k = 0; k < each; ++k, dx += p.plane) {
      CombineCentered(p.plane, scale[slot(k)] * m.inverse, b, m.mean, c, g + k * p.plane,
                      x + k * p.plane, dx);
    }
  }
  RETURN_IF_ERROR(EmitVector(ctx, 1, scale_grad));
  return EmitVector(ctx, 2, bias_grad);
}

absl::Status InstanceNormGrad(GradContext& ctx) { return GroupGrad(ctx, ctx.Dims(0)[1], true); }

absl::Status GroupNormGrad(GradContext& ctx) {
  return GroupGrad(ctx, ctx.node().IntAttribute("num_groups", 0), ctx.opset() >= 21);
}

// y = x / |x|: G_x = (G_y - d|x|/dx sum(G_y y)) / |x|, d|x|/dx being y, or of the 1-norm the sign.
// 0 where the norm is.
absl::Status LpNormGrad(GradContext& ctx) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  const Shape& dims = ctx.Dims(0);
  const auto axis =
      NormalAxis(ctx.node().IntAttribute("axis", -1), static_cast<int64_t>(dims.size()));
  if (!axis) return ctx.Error("'axis' lies outside of its input's axes");
  const bool first = ctx.node().IntAttribute("p", 2) == 1;
  const int64_t outer = ExtentProduct(dims, 0, *axis);
  const int64_t inner = ExtentProduct(dims, *axis + 1, dims.size());
  const int64_t n = dims[*axis];
  const float* x = ctx.X(0).data();
  const float* g = ctx.Grad(0).data();
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitInPlace(0, 0));
  for (int64_t line = 0; line < outer * inner; ++line) {
    const int64_t base = line / inner * n * inner + line % inner;
    double sum = 0;
    double products = 0;
    for (int64_t k = 0; k < n; ++k) {
      const auto v = static_cast<double>(x[base + k * inner]);
      sum += first ? std::abs(v) : v * v;
      products += v * static_cast<double>(g[base + k * inner]);
    }
    const double norm = first ? sum : std::sqrt(sum);
    for (int64_t k = 0; k < n; ++k) {
      const int64_t at = base + k * inner;
      const auto v = static_cast<double>(x[at]);
      const double slope = first ? (v > 0) - (v < 0) : v / norm;
      const double dy = static_cast<double>(g[at]);
      out[at] = norm == 0 ? 0.0F : static_cast<float>((dy - slope * products / norm) / norm);
    }
  }
  return absl::OkStatus();
}

// y_i = x_i s_i^-beta, s_i = bias + a sum of squares of the channels around i, a = alpha / size:
//   G_x_j = G_y_j s_j^-beta - 2 a beta x_j sum(G_y_i x_i s_i^(-beta - 1)) over the i around which j
// lies.
absl::Status LrnGrad(GradContext& ctx) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  const Planes p = PlanesOf(ctx.Dims(0));
  const int64_t size = std::min(ctx.node().IntAttribute("size", 1), 2 * p.channels + 1);
  const auto whole = static_cast<float>(ctx.node().IntAttribute("size", 1));
  const float a = ctx.node().FloatAttribute("alpha", 1e-4F) / whole;
  const float beta = ctx.node().FloatAttribute("beta", 0.75F);
  const float bias = ctx.node().FloatAttribute("bias", 1);
  const int64_t before = (size - 1) / 2;
  const int64_t after = size - 1 - before;
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(0));
  ASSIGN_OR_RETURN(Value held, ctx.NewValue({2, p.channels, p.plane}));
  float* base = held.Mutable<float>().data();    // s
  float* weighed = base + p.channels * p.plane;  // G_y x s^(-beta - 1)
  const auto around = [&](const float* from, int64_t c, int64_t low, int64_t high, auto fn) {
    for (int64_t k = std::max<int64_t>(0, c - low); k <= std::min(p.channels - 1, c + high); ++k) {
      for (int64_t i = 0; i < p.plane; ++i) fn(i, from[k * p.plane + i]);
    }
  };
  for (int64_t n = 0; n < p.batch; ++n) {
    const int64_t start = n * p.channels * p.plane;
    const float* x = ctx.X(0).data() + start;
    const float* g = ctx.Grad(0).data() + start;
    float* to = out.data() + start;
    for (int64_t c = 0; c < p.channels; ++c) {
      float* s = base + c * p.plane;
      std::fill_n(s, p.plane, bias);
      around(x, c, before, after, [&](int64_t i, float v) { s[i] += a * v * v; });
      for (int64_t i = 0; i < p.plane; ++i) {
        const int64_t at = c * p.plane + i;
        weighed[at] = g[at] * x[at] * std::pow(s[i], -beta - 1);
        to[at] = g[at] * std::pow(s[i], -beta);
      }
    }
    for (int64_t c = 0; c < p.channels; ++c) {
      const float* own = x + c * p.plane;
      float* sum = to + c * p.plane;
      around(weighed, c, after, before,
             [&](int64_t i, float v) { sum[i] -= 2 * a * beta * own[i] * v; });
    }
  }
  return absl::OkStatus();
}

constexpr OpBackward kTable[] = {
    {"", "BatchNormalization", BatchNormGrad, 0b11011, kReadsNothing, kTakesBlockedValues},
    {"", "GroupNormalization", GroupNormGrad, 0b11},
    {"", "InstanceNormalization", InstanceNormGrad, 0b11},
    {"", "LRN", LrnGrad, 1},
    {"", "LayerNormalization", LayerNormGrad, 0b11},
    {"", "LpNormalization", LpNormGrad, 1},
    {"", "RMSNormalization", RmsNormGrad, 0b11},
    {"", "SimplifiedLayerNormalization", RmsNormGrad, 0b11},
    {"com.microsoft", "SkipLayerNormalization", SkipLayerNormGrad, 0b10111},
    {"com.microsoft", "SkipSimplifiedLayerNormalization", SkipRmsNormGrad, 0b1111},
};

}  // namespace

std::span<const OpBackward> NormBackwards() { return kTable; }

}  // namespace lathe::engine
