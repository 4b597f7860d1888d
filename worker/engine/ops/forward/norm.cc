// Normalizations over channels: BatchNormalization, InstanceNormalization, GroupNormalization, LRN,
// LpNormalization, MeanVarianceNormalization. Those over the last axes are in layer_norm.cc.
#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/kernels/backend.h"
#include "worker/engine/kernels/channel_planes.h"
#include "worker/engine/kernels/row_kernels.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/layer_norm.h"

namespace lathe::engine {
namespace {

// [N, C, plane] with C vectors beside it.
struct Planes {
  int64_t batch = 0;
  int64_t channels = 0;
  int64_t plane = 1;
};

absl::StatusOr<Planes> ReadPlanes(const RunContext& ctx, size_t first_vector, size_t vectors,
                                  int64_t vector_size) {
  const Value& x = ctx.In(0);
  if (!x.IsTensor() || x.dtype != DType::kFloat || x.dims.size() < 2) {
    return ctx.Error("its input must be a tensor of floats of two axes or more");
  }
  Planes p;
  p.batch = x.dims[0];
  p.channels = x.dims[1];
  for (size_t i = 2; i < x.dims.size(); ++i) p.plane *= x.dims[i];
  const int64_t wanted = vector_size < 0 ? p.channels : vector_size;
  for (size_t i = first_vector; i < first_vector + vectors; ++i) {
    if (!ctx.In(i).IsTensor() || ctx.In(i).dtype != DType::kFloat ||
        ctx.In(i).dims != Shape{wanted}) {
      return ctx.Error(absl::StrCat("input ", i, " must be float32[", wanted, "]"));
    }
  }
  return p;
}

// Mean and variance of every channel, over batch and plane.
void Moments(const ChannelPlanes& p, const float* x, std::vector<float>& mean,
             std::vector<float>& var) {
  const auto count = static_cast<double>(p.batch * p.plane);
  std::vector<float> centers(mean.size());
  std::vector<CenteredSums> sums(mean.size());
  FirstPlaneMeans(p, x, centers);
  AddChannelSums(p, centers, x, nullptr, sums);
  for (size_t c = 0; c < sums.size(); ++c) {
    const double away = sums[c].d / count;
    mean[c] = static_cast<float>(static_cast<double>(centers[c]) + away);
    var[c] = static_cast<float>(std::max(sums[c].squares / count - away * away, 0.0));
  }
}

absl::Status SetVector(RunContext& ctx, size_t output, const std::vector<float>& values) {
  if (!ctx.Wants(output)) return absl::OkStatus();
  ASSIGN_OR_RETURN(Value * out,
                   ctx.Out(output, DType::kFloat, {static_cast<int64_t>(values.size())}));
  std::copy(values.begin(), values.end(), out->Mutable<float>().data());
  return absl::OkStatus();
}

absl::Status BatchNormalization(RunContext& ctx) {
  if (ctx.node().IntAttribute("spatial", 1) == 0) return ctx.Unsupported("spatial = 0");
  RETURN_IF_ERROR(ReadPlanes(ctx, 1, 4, -1).status());
  const bool old = ctx.opset() < 14;
  const bool training = old ? ctx.Wants(1) || ctx.Wants(2) || ctx.Wants(3) || ctx.Wants(4)
                            : ctx.node().IntAttribute("training_mode", 0) != 0;
  const Value& x = ctx.In(0);
  const ChannelPlanes p = ChannelPlanes::Of(x.dims, x.layout);
  const auto* from = reinterpret_cast<const float*>(x.data);
  const float epsilon = ctx.node().FloatAttribute("epsilon", 1e-5f);
  std::vector<float> mean(ctx.Data<float>(3).begin(), ctx.Data<float>(3).end());
  std::vector<float> var(ctx.Data<float>(4).begin(), ctx.Data<float>(4).end());
  if (training) {
    const float momentum = ctx.node().FloatAttribute("momentum", 0.9f);
    std::vector<float> running_mean = mean;
    std::vector<float> running_var = var;
    Moments(p, from, mean, var);
    for (size_t c = 0; c < mean.size(); ++c) {
      running_mean[c] = running_mean[c] * momentum + mean[c] * (1 - momentum);
      running_var[c] = running_var[c] * momentum + var[c] * (1 - momentum);
    }
    RETURN_IF_ERROR(SetVector(ctx, 1, running_mean));
    RETURN_IF_ERROR(SetVector(ctx, 2, running_var));
    RETURN_IF_ERROR(SetVector(ctx, 3, mean));
    RETURN_IF_ERROR(SetVector(ctx, 4, var));
  }
  std::vector<float> scale(mean.size());
  std::vector<float> shift(mean.size());
  for (size_t c = 0; c < mean.size(); ++c) {
    scale[c] = ctx.Data<float>(1)[c] / std::sqrt(var[c] + epsilon);
    shift[c] = ctx.Data<float>(2)[c] - mean[c] * scale[c];
  }
  ASSIGN_OR_RETURN(Value * y, ctx.OutInPlace(0, 0, DType::kFloat, x.dims, x.layout));
  ScaleShiftChannels(p, scale, shift, from, reinterpret_cast<float*>(y->buffer->data()));
  return absl::OkStatus();
}

absl::Status InstanceNormalization(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Planes p, ReadPlanes(ctx, 1, 2, -1));
  const Value& x = ctx.In(0);
  ASSIGN_OR_RETURN(Value * y, ctx.OutInPlace(0, 0, DType::kFloat, x.dims));
  if (x.size() == 0) return absl::OkStatus();
  const float epsilon = ctx.node().FloatAttribute("epsilon", 1e-5f);
  float* to = y->Mutable<float>().data();
  ctx.backend().Normalize(p.batch * p.channels, p.plane, true, epsilon, x.As<float>().data(),
                          nullptr, nullptr, to, nullptr, nullptr);
  for (int64_t i = 0; i < p.batch * p.channels; ++i, to += p.plane) {
    const auto c = static_cast<size_t>(i % p.channels);
    ScaleShift(p.plane, ctx.Data<float>(1)[c], ctx.Data<float>(2)[c], to, to);
  }
  return absl::OkStatus();
}

// Scale and bias: one a group before opset 21, one a channel since.
absl::Status GroupNormalization(RunContext& ctx) {
  const int64_t groups = ctx.node().IntAttribute("num_groups", 0);
  const bool per_channel = ctx.opset() >= 21;
  ASSIGN_OR_RETURN(const Planes p, ReadPlanes(ctx, 1, 2, per_channel ? -1 : groups));
  if (groups < 1 || p.channels % groups != 0) {
    return ctx.Error(absl::StrCat("'num_groups' ", groups, " does not divide the channels"));
  }
  const Value& x = ctx.In(0);
  ASSIGN_OR_RETURN(Value * y, ctx.OutInPlace(0, 0, DType::kFloat, x.dims));
  if (x.size() == 0) return absl::OkStatus();
  const float epsilon = ctx.node().FloatAttribute("epsilon", 1e-5f);
  const int64_t each = p.channels / groups;
  float* to = y->Mutable<float>().data();
  ctx.backend().Normalize(p.batch * groups, each * p.plane, true, epsilon, x.As<float>().data(),
                          nullptr, nullptr, to, nullptr, nullptr);
  for (int64_t i = 0; i < p.batch * p.channels; ++i, to += p.plane) {
    const int64_t c = i % p.channels;
    const auto at = static_cast<size_t>(per_channel ? c : c / each);
    ScaleShift(p.plane, ctx.Data<float>(1)[at], ctx.Data<float>(2)[at], to, to);
  }
  return absl::OkStatus();
}

// y = x / (bias + alpha / size * sum of squares of `size` channels around it)^beta.
absl::Status Lrn(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Planes p, ReadPlanes(ctx, 1, 0, -1));
  const int64_t size = ctx.node().IntAttribute("size", 0);
  if (size < 1) return ctx.Error("'size' must be positive");
  const float alpha = ctx.node().FloatAttribute("alpha", 1e-4f) / static_cast<float>(size);
  const float beta = ctx.node().FloatAttribute("beta", 0.75f);
  const float bias = ctx.node().FloatAttribute("bias", 1.0f);
  ASSIGN_OR_RETURN(Value * y, ctx.Out(0));
  const float* x = ctx.Data<float>(0).data();
  float* to = y->Mutable<float>().data();
  std::vector<float> sums(static_cast<size_t>(p.plane));
  const int64_t before = (size - 1) / 2;
  const int64_t after = size - 1 - before;
  for (int64_t n = 0; n < p.batch; ++n, x += p.channels * p.plane) {
    for (int64_t c = 0; c < p.channels; ++c, to += p.plane) {
      std::fill(sums.begin(), sums.end(), 0.0f);
      const int64_t first = std::max<int64_t>(0, c - before);
      const int64_t last = after >= p.channels - c ? p.channels - 1 : c + after;
      for (int64_t k = first; k <= last; ++k) {
        const float* row = x + k * p.plane;
        for (int64_t i = 0; i < p.plane; ++i) sums[static_cast<size_t>(i)] += row[i] * row[i];
      }
      const float* row = x + c * p.plane;
      for (int64_t i = 0; i < p.plane; ++i) {
        to[i] = row[i] / std::pow(bias + alpha * sums[static_cast<size_t>(i)], beta);
      }
    }
  }
  return absl::OkStatus();
}

template <typename T>
void LpRows(int64_t outer, int64_t n, int64_t inner, int64_t p, const T* x, T* y) {
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < inner; ++i) {
      const int64_t base = o * n * inner + i;
      double sum = 0;
      for (int64_t k = 0; k < n; ++k) {
        const double v = std::abs(static_cast<double>(x[base + k * inner]));
        sum += p == 1 ? v : v * v;
      }
      const double norm = p == 1 ? sum : std::sqrt(sum);
      for (int64_t k = 0; k < n; ++k) {
        const int64_t at = base + k * inner;
        y[at] = norm == 0 ? T{0} : static_cast<T>(static_cast<double>(x[at]) / norm);
      }
    }
  }
}

// A row of zeros stays so.
absl::Status LpNormalization(RunContext& ctx) {
  const Value& x = ctx.In(0);
  if (!x.IsTensor() || (x.dtype != DType::kFloat && x.dtype != DType::kDouble)) {
    return ctx.Error("its input must be a tensor of floats");
  }
  const auto axis =
      NormalAxis(ctx.node().IntAttribute("axis", -1), static_cast<int64_t>(x.dims.size()));
  const int64_t p = ctx.node().IntAttribute("p", 2);
  if (!axis) return ctx.Error("'axis' lies outside of its input's axes");
  if (p != 1 && p != 2) return ctx.Error("'p' must be 1 or 2");
  int64_t outer = 1;
  int64_t inner = 1;
  for (size_t i = 0; i < x.dims.size(); ++i) {
    if (static_cast<int64_t>(i) < *axis) outer *= x.dims[i];
    if (static_cast<int64_t>(i) > *axis) inner *= x.dims[i];
  }
  const int64_t n = x.dims[static_cast<size_t>(*axis)];
  ASSIGN_OR_RETURN(Value * y, ctx.Out(0));
  if (x.dtype == DType::kDouble) {
    LpRows(outer, n, inner, p, x.As<double>().data(), y->Mutable<double>().data());
  } else {
    LpRows(outer, n, inner, p, x.As<float>().data(), y->Mutable<float>().data());
  }
  return absl::OkStatus();
}

// y = (x - mean) / (deviation + 1e-9) over `axes`, as the function in ONNX's specification.
absl::Status MeanVariance(RunContext& ctx) {
  const Value& x = ctx.In(0);
  if (!x.IsTensor() || x.dtype != DType::kFloat) return ctx.Error("its input must be of floats");
  const auto rank = static_cast<int64_t>(x.dims.size());
  std::vector<bool> reduced(x.dims.size(), false);
  for (const int64_t given : ctx.node().IntsAttribute("axes", {0, 2, 3})) {
    const auto axis = NormalAxis(given, rank);
    if (!axis) return ctx.Error("'axes' lie outside of its input's axes");
    reduced[static_cast<size_t>(*axis)] = true;
  }
  ASSIGN_OR_RETURN(Value * y, ctx.Out(0));
  Shape kept = x.dims;
  for (size_t i = 0; i < kept.size(); ++i) kept[i] = reduced[i] ? 1 : kept[i];
  const std::vector<int64_t> strides = Strides(kept);
  int64_t slots = 1;
  for (const int64_t extent : kept) slots *= extent;
  std::vector<double> sum(static_cast<size_t>(slots), 0.0);
  std::vector<double> squares(sum.size(), 0.0);
  const float* from = x.As<float>().data();
  const int64_t count = x.size();
  std::vector<int64_t> slot_of(static_cast<size_t>(count));
  Shape index(x.dims.size(), 0);
  for (int64_t i = 0; i < count; ++i) {
    int64_t slot = 0;
    for (size_t a = 0; a < index.size(); ++a) slot += reduced[a] ? 0 : index[a] * strides[a];
    slot_of[static_cast<size_t>(i)] = slot;
    sum[static_cast<size_t>(slot)] += from[i];
    for (size_t a = index.size(); a-- > 0;) {
      if (++index[a] < x.dims[a]) break;
      index[a] = 0;
    }
  }
  const double each = slots == 0 ? 1 : static_cast<double>(count) / static_cast<double>(slots);
  for (double& value : sum) value /= each;
  for (int64_t i = 0; i < count; ++i) {
    const auto slot = static_cast<size_t>(slot_of[static_cast<size_t>(i)]);
    squares[slot] += (from[i] - sum[slot]) * (from[i] - sum[slot]);
  }
  float* to = y->Mutable<float>().data();
  for (int64_t i = 0; i < count; ++i) {
    const auto slot = static_cast<size_t>(slot_of[static_cast<size_t>(i)]);
    to[i] = static_cast<float>((from[i] - sum[slot]) / (std::sqrt(squares[slot] / each) + 1e-9));
  }
  return absl::OkStatus();
}

constexpr OpForward kForwards[] = {
    {"", "BatchNormalization", BatchNormalization, kComputesInFloat | kTakesBlocked},
    {"", "GroupNormalization", GroupNormalization, kComputesInFloat},
    {"", "InstanceNormalization", InstanceNormalization, kComputesInFloat},
    {"", "LRN", Lrn, kComputesInFloat},
    {"", "LayerNormalization", LayerNormalization, kComputesInFloat},
    {"", "LpNormalization", LpNormalization, kComputesInFloat | kTakesDouble},
    {"", "MeanVarianceNormalization", MeanVariance, kComputesInFloat},
    {"", "RMSNormalization", RmsNormalization, kComputesInFloat},
    {"", "SimplifiedLayerNormalization", RmsNormalization, kComputesInFloat},
    {"com.microsoft", "EmbedLayerNormalization", EmbedLayerNormalization, kComputesInFloat},
    {"com.microsoft", "SkipLayerNormalization", SkipLayerNormalization, kComputesInFloat},
    {"com.microsoft", "SkipSimplifiedLayerNormalization", SkipRmsNormalization, kComputesInFloat},
};

}  // namespace

std::span<const OpForward> NormForwards() { return kForwards; }

}  // namespace lathe::engine
