#include "worker/engine/passes/integer_weight.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace lathe::engine {
namespace {

constexpr float kSmallest = 1e-30f;  // magnitudes below are zeros: their scale has no reciprocal

// Where the reduction of one output channel lies: element k of [0, size) is at Offset(k).
struct Reduction {
  int64_t size = 0;
  int64_t inputs = 1;     // input channels (a group's)
  int64_t positions = 1;  // of the kernel
  int64_t input_stride = 1;
  int64_t position_stride = 1;
  int64_t channel_stride = 1;
  int64_t channels = 1;

  int64_t Offset(int64_t channel, int64_t k) const {
    return channel * channel_stride + k / inputs * position_stride + k % inputs * input_stride;
  }
};

Reduction ReductionOf(const Shape& dims, int output_axis) {
  Reduction r;
  if (output_axis == 1) {  // [K, N]
    r.channels = dims[1];
    r.inputs = dims[0];
    r.input_stride = dims[1];
    r.channel_stride = 1;
  } else {  // [O, I, k...]
    r.channels = dims[0];
    r.inputs = dims.size() > 1 ? dims[1] : 1;
    for (size_t i = 2; i < dims.size(); ++i) r.positions *= dims[i];
    r.input_stride = r.positions;
    r.channel_stride = r.inputs * r.positions;
  }
  r.size = r.inputs * r.positions;
  return r;
}

float PowerOfTwoAbove(float scale) { return std::exp2(std::ceil(std::log2(scale))); }

// Rounds a channel with one scale; cuts pairs that pass the bound when asked to.
struct Rounded {
  double squared_error = 0;
  int64_t cut = 0;
};

Rounded RoundChannel(const std::vector<float>& w, float scale, bool safe_pairs,
                     std::vector<int8_t>* q) {
  Rounded out;
  const size_t n = w.size();
  q->resize(n);
  const float inverse = 1 / scale;
  for (size_t i = 0; i < n; ++i) {
    const float rounded = std::clamp(std::nearbyint(w[i] * inverse), -127.0f, 127.0f);
    (*q)[i] = static_cast<int8_t>(rounded);
  }
  if (safe_pairs) {
    for (size_t i = 0; i + 1 < n; i += 2) {
      const int a = (*q)[i];
      const int b = (*q)[i + 1];
      if ((a > 0) != (b > 0) || std::abs(a + b) <= kMaxPairSum) continue;
      ++out.cut;
      // Both give way alike, which costs least in squares; each keeps its sign.
      const int excess = std::abs(a + b) - kMaxPairSum;
      const int sign = a > 0 ? 1 : -1;
      const int first = (excess + (std::abs(a) >= std::abs(b) ? 1 : 0)) / 2;
      (*q)[i] = static_cast<int8_t>(a - sign * first);
      (*q)[i + 1] = static_cast<int8_t>(b - sign * (excess - first));
    }
  }
  for (size_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(w[i]) - static_cast<double>((*q)[i]) * scale;
    out.squared_error += d * d;
  }
  return out;
}

}  // namespace

IntegerWeight RoundIntegerWeight(std::span<const float> w, const Shape& dims, int output_axis,
                                 const IntegerWeightRule& rule, std::span<const float> least_scales,
                                 Parallel& parallel) {
  const Reduction r = ReductionOf(dims, output_axis);
  IntegerWeight out;
  out.integers.resize(w.size());
  const auto channels = static_cast<size_t>(r.channels);
  out.scales.assign(rule.per_channel ? channels : 1, 1.0f);
  std::vector<double> errors(channels, 0.0);
  std::vector<double> norms(channels, 0.0);
  std::vector<int64_t> cuts(channels, 0);

  float largest_of_all = 0;
  float least_of_all = 0;
  if (!rule.per_channel) {
    for (const float value : w) largest_of_all = std::max(largest_of_all, std::abs(value));
    for (const float scale : least_scales) least_of_all = std::max(least_of_all, scale);
  }
  const auto scale_for = [&](float largest, float least) {
    float scale = largest > kSmallest ? largest / 127.0f : 0.0f;
    scale = std::max(scale, least);
    if (!(scale > 0)) return 1.0f;
    return rule.powers_of_two ? PowerOfTwoAbove(scale) : scale;
  };
  const float shared = rule.per_channel ? 1.0f : scale_for(largest_of_all, least_of_all);
  if (!rule.per_channel) out.scales[0] = shared;

  const int64_t pieces = (r.channels + 15) / 16;
  parallel.Run(pieces, [&](int64_t piece) {
    std::vector<float> row(static_cast<size_t>(r.size));
    std::vector<int8_t> q;
    std::vector<int8_t> tried;
    for (int64_t c = piece * 16; c < std::min(r.channels, piece * 16 + 16); ++c) {
      const auto at = static_cast<size_t>(c);
      float largest = 0;
      for (int64_t k = 0; k < r.size; ++k) {
        const float value = w[static_cast<size_t>(r.Offset(c, k))];
        row[static_cast<size_t>(k)] = value;
        largest = std::max(largest, std::abs(value));
        norms[at] += static_cast<double>(value) * value;
      }
      float scale = rule.per_channel
                        ? scale_for(largest, least_scales.empty() ? 0.0f : least_scales[at])
                        : shared;
      Rounded best = RoundChannel(row, scale, rule.safe_pairs, &q);
      cuts[at] = best.cut > 0;
      if (best.cut > 0 && rule.per_channel) {
        // A larger scale cuts less and rounds more coarsely; at twice the scale nothing is cut.
        constexpr int kSteps = 16;
        const float first = scale;
        for (int step = 1; step <= kSteps; ++step) {
          const float wider = rule.powers_of_two ? first * static_cast<float>(1 << step)
                                                 : first * (1 + static_cast<float>(step) / kSteps);
          const Rounded other = RoundChannel(row, wider, true, &tried);
          if (other.squared_error < best.squared_error) {
            best = other;
            scale = wider;
            q.swap(tried);
          }
          if (other.cut == 0) break;
        }
      }
      if (rule.per_channel) out.scales[at] = scale;
      errors[at] = best.squared_error;
      for (int64_t k = 0; k < r.size; ++k) {
        out.integers[static_cast<size_t>(r.Offset(c, k))] =
            static_cast<char>(q[static_cast<size_t>(k)]);
      }
    }
  });
  for (size_t c = 0; c < channels; ++c) {
    out.squared_error += errors[c];
    out.squared_norm += norms[c];
    out.repaired_channels += cuts[c];
  }
  return out;
}

bool PairsAreSafe(std::span<const int8_t> q, const Shape& dims, int output_axis) {
  const Reduction r = ReductionOf(dims, output_axis);
  for (int64_t c = 0; c < r.channels; ++c) {
    for (int64_t k = 0; k + 1 < r.size; k += 2) {
      const int a = q[static_cast<size_t>(r.Offset(c, k))];
      const int b = q[static_cast<size_t>(r.Offset(c, k + 1))];
      if ((a > 0) == (b > 0) && std::abs(a + b) > kMaxPairSum) return false;
    }
  }
  return true;
}

}  // namespace lathe::engine
