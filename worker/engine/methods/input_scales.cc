#include "worker/engine/methods/input_scales.h"

#include <algorithm>
#include <cmath>

namespace lathe::engine {
namespace {

constexpr double kWorth = 0.933;  // squared error that is 0.3 dB lower
constexpr int64_t kFewestInputs = 16;

// dims around an axis: [outer, length, inner].
struct View {
  int64_t outer = 1;
  int64_t length = 1;
  int64_t inner = 1;
};

View Around(const Shape& dims, int axis) {
  View view;
  for (int i = 0; i < static_cast<int>(dims.size()); ++i) {
    (i < axis ? view.outer : i == axis ? view.length : view.inner) *= dims[static_cast<size_t>(i)];
  }
  return view;
}

}  // namespace

void ScaleInputs(std::vector<float>& w, const Shape& dims, int axis,
                 const std::vector<float>& scales, bool divide) {
  const View view = Around(dims, axis);
  float* at = w.data();
  for (int64_t o = 0; o < view.outer; ++o) {
    for (int64_t k = 0; k < view.length; ++k) {
      const float s = scales[static_cast<size_t>(k)];
      for (int64_t i = 0; i < view.inner; ++i, ++at) *at = divide ? *at / s : *at * s;
    }
  }
}

SquaredSums ErrorWithInputScales(const std::vector<float>& w, const Shape& dims, int axis,
                                 const std::vector<float>& input_scales, const QuantizedTensor& q,
                                 const QuantizedLayout& layout, bool symmetric) {
  // Position of a scale by index: strides of the scale's dims, 0 where it is broadcast.
  std::vector<int64_t> strides(dims.size(), 0);
  int64_t step = 1;
  for (int i = static_cast<int>(dims.size()) - 1; i >= 0; --i) {
    if (layout.scale_dims[static_cast<size_t>(i)] != 1) strides[static_cast<size_t>(i)] = step;
    step *= layout.scale_dims[static_cast<size_t>(i)];
  }
  SquaredSums sums;
  std::vector<int64_t> index(dims.size(), 0);
  int64_t scale = 0;
  for (size_t flat = 0; flat < w.size(); ++flat) {
    const auto s = static_cast<size_t>(scale);
    const char byte = q.integers[flat];
    const float zero =
        symmetric ? 0.0f : static_cast<float>(static_cast<uint8_t>(q.zero_points[s]));
    const float value = symmetric ? static_cast<float>(static_cast<int8_t>(byte))
                                  : static_cast<float>(static_cast<uint8_t>(byte));
    const float r = input_scales.empty()
                        ? 1.0f
                        : input_scales[static_cast<size_t>(index[static_cast<size_t>(axis)])];
    const double e =
        static_cast<double>(w[flat]) - static_cast<double>((value - zero) * q.scales[s] * r);
    sums.error += e * e;
    sums.signal += static_cast<double>(w[flat]) * w[flat];
    for (int d = static_cast<int>(dims.size()) - 1; d >= 0; --d) {
      scale += strides[static_cast<size_t>(d)];
      if (++index[static_cast<size_t>(d)] < dims[static_cast<size_t>(d)]) break;
      scale -= strides[static_cast<size_t>(d)] * dims[static_cast<size_t>(d)];
      index[static_cast<size_t>(d)] = 0;
    }
  }
  return sums;
}

std::vector<float> FindInputScales(const std::vector<float>& w, const Shape& dims, int axis,
                                   const QuantizedLayout& layout, const RoundingRule& rule,
                                   Parallel& parallel) {
  const View view = Around(dims, axis);
  if (view.length < kFewestInputs) return {};
  std::vector<double> rms(static_cast<size_t>(view.length), 0);
  const float* at = w.data();
  for (int64_t o = 0; o < view.outer; ++o) {
    for (int64_t k = 0; k < view.length; ++k) {
      double sum = 0;
      for (int64_t i = 0; i < view.inner; ++i, ++at) sum += static_cast<double>(*at) * *at;
      rms[static_cast<size_t>(k)] += sum;
    }
  }
  for (double& r : rms) r = std::sqrt(r);
  std::vector<double> sorted = rms;
  std::nth_element(sorted.begin(), sorted.begin() + view.length / 2, sorted.end());
  const double median = sorted[static_cast<size_t>(view.length / 2)];
  if (!(median > 0)) return {};
  RoundingRule plain = rule;
  plain.clip_mse = false;
  const auto error_of = [&](const std::vector<float>& scales) {
    std::vector<float> scaled = w;
    if (!scales.empty()) ScaleInputs(scaled, dims, axis, scales, /*divide=*/true);
    const QuantizedTensor q = QuantizeTensor(scaled, dims, layout, plain, /*nibbles=*/false,
                                             /*half_scales=*/false, parallel);
    return ErrorWithInputScales(w, dims, axis, scales, q, layout, rule.symmetric).error;
  };
  std::vector<float> best;
  double least = error_of({}) * kWorth;
  for (const double power : {0.25, 0.5, 0.75, 1.0}) {
    std::vector<float> scales;
    for (const double r : rms) {
      // Inputs that are all zeros, or nearly, keep a scale that cannot overflow.
      scales.push_back(static_cast<float>(std::pow(std::clamp(r / median, 1e-3, 1e3), power)));
    }
    const double error = error_of(scales);
    if (error < least) {
      least = error;
      best = std::move(scales);
    }
  }
  return best;
}

}  // namespace lathe::engine
