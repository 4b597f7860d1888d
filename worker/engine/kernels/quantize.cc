#include "worker/engine/kernels/quantize.h"

#include <algorithm>
#include <cmath>

// One source, compiled for several instruction sets and chosen when the program starts. The loops
// are written so that lanes are independent: wider vectors change the speed, never the result.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define LATHE_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define LATHE_CLONES
#endif

namespace lathe::engine {
namespace {

constexpr int kLanes = 8;
constexpr int64_t kFold = 1024;  // elements summed in float32 before they are folded into float64
constexpr int kPoints = 20;      // of the search for r

// Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, ties to even, for |x| < 2^22.
constexpr float kMagic = 12582912.0f;
inline float Round(float x) { return (x + kMagic) - kMagic; }

struct Bounds {
  float low = 0;
  float high = 0;
};

LATHE_CLONES void MinMax(const float* w, int64_t count, float* low, float* high) {
  float lows[kLanes] = {};
  float highs[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      lows[l] = w[i + l] < lows[l] ? w[i + l] : lows[l];
      highs[l] = w[i + l] > highs[l] ? w[i + l] : highs[l];
    }
  }
  for (; i < count; ++i) {
    lows[0] = std::min(lows[0], w[i]);
    highs[0] = std::max(highs[0], w[i]);
  }
  *low = *std::min_element(lows, lows + kLanes);
  *high = *std::max_element(highs, highs + kLanes);
}

// Squared error of rounding with a scale: the inner loop of the search.
LATHE_CLONES double TryScale(const float* w, int64_t count, float scale, float inverse, float zero,
                             float lo, float hi) {
  double total = 0;
  for (int64_t start = 0; start < count; start += kFold) {
    const int64_t end = std::min(count, start + kFold);
    float sums[kLanes] = {};
    int64_t i = start;
    for (; i + kLanes <= end; i += kLanes) {
      for (int l = 0; l < kLanes; ++l) {
        float q = Round(w[i + l] * inverse) + zero;
        q = q < lo ? lo : q;
        q = q > hi ? hi : q;
        const float e = w[i + l] - (q - zero) * scale;
        sums[l] += e * e;
      }
    }
    for (; i < end; ++i) {
      const float q = std::min(std::max(Round(w[i] * inverse) + zero, lo), hi);
      const float e = w[i] - (q - zero) * scale;
      sums[0] += e * e;
    }
    double folded = 0;
    for (const float s : sums) folded += static_cast<double>(s);
    total += folded;
  }
  return total;
}

LATHE_CLONES void RoundAll(const float* w, int64_t count, float inverse, float zero, float lo,
                           float hi, int8_t* q) {
  for (int64_t i = 0; i < count; ++i) {
    float v = Round(w[i] * inverse) + zero;
    v = v < lo ? lo : v;
    v = v > hi ? hi : v;
    q[i] = static_cast<int8_t>(static_cast<int32_t>(v));
  }
}

LATHE_CLONES void Sums(const float* w, const int8_t* q, int64_t count, float scale, float zero,
                       bool is_unsigned, double* error, double* signal) {
  for (int64_t start = 0; start < count; start += kFold) {
    const int64_t end = std::min(count, start + kFold);
    float errors[kLanes] = {};
    float signals[kLanes] = {};
    int64_t i = start;
    for (; i + kLanes <= end; i += kLanes) {
      for (int l = 0; l < kLanes; ++l) {
        const int32_t stored =
            is_unsigned ? static_cast<int32_t>(static_cast<uint8_t>(q[i + l])) : q[i + l];
        const float e = w[i + l] - (static_cast<float>(stored) - zero) * scale;
        errors[l] += e * e;
        signals[l] += w[i + l] * w[i + l];
      }
    }
    for (; i < end; ++i) {
      const int32_t stored = is_unsigned ? static_cast<int32_t>(static_cast<uint8_t>(q[i])) : q[i];
      const float e = w[i] - (static_cast<float>(stored) - zero) * scale;
      errors[0] += e * e;
      signals[0] += w[i] * w[i];
    }
    for (int l = 0; l < kLanes; ++l) {
      *error += static_cast<double>(errors[l]);
      *signal += static_cast<double>(signals[l]);
    }
  }
}

float Lowest(const RoundingRule& rule) {
  return rule.symmetric ? -static_cast<float>((1 << (rule.bits - 1)) - 1) : 0.0f;
}
float Highest(const RoundingRule& rule) {
  return static_cast<float>(rule.symmetric ? (1 << (rule.bits - 1)) - 1 : (1 << rule.bits) - 1);
}

SetScale ScaleFor(const Bounds& bounds, float ratio, const RoundingRule& rule) {
  SetScale out;
  // In float64, so that a range near the largest float does not overflow.
  const double low = static_cast<double>(bounds.low) * ratio;
  const double high = static_cast<double>(bounds.high) * ratio;
  const double range = rule.symmetric ? std::max(-low, high) : high - low;
  double scale = range / static_cast<double>(Highest(rule));
  // A scale whose reciprocal would not be finite cannot be used: such weights are zeros for every
  // purpose.
  if (!(scale >= 1e-37)) scale = 1;
  out.scale = static_cast<float>(scale);
  if (!rule.symmetric) {
    const double zero = std::nearbyint(-low / static_cast<double>(out.scale));
    out.zero_point =
        static_cast<int32_t>(std::min(std::max(zero, 0.0), static_cast<double>(Highest(rule))));
  }
  return out;
}

}  // namespace

SetScale FindScale(const float* w, int64_t count, const RoundingRule& rule) {
  Bounds bounds;
  MinMax(w, count, &bounds.low, &bounds.high);
  SetScale best = ScaleFor(bounds, 1.0f, rule);
  if (!rule.clip_mse || (bounds.low == 0 && bounds.high == 0)) return best;
  const auto error = [&](const SetScale& s) {
    return TryScale(w, count, s.scale, 1.0f / s.scale, static_cast<float>(s.zero_point),
                    Lowest(rule), Highest(rule));
  };
  double least = error(best);
  const float smallest = rule.bits <= 4 ? 0.3f : 0.5f;
  for (int point = 1; point < kPoints; ++point) {
    const float ratio =
        1.0f - (1.0f - smallest) * static_cast<float>(point) / static_cast<float>(kPoints - 1);
    const SetScale candidate = ScaleFor(bounds, ratio, rule);
    const double e = error(candidate);
    if (e < least) {
      least = e;
      best = candidate;
    }
  }
  return best;
}

void RoundSet(const float* w, int64_t count, const RoundingRule& rule, const SetScale& s,
              int8_t* q) {
  RoundAll(w, count, 1.0f / s.scale, static_cast<float>(s.zero_point), Lowest(rule), Highest(rule),
           q);
}

SquaredSums SetError(const float* w, const int8_t* q, int64_t count, const RoundingRule& rule,
                     const SetScale& s) {
  SquaredSums out;
  Sums(w, q, count, s.scale, static_cast<float>(s.zero_point), !rule.symmetric, &out.error,
       &out.signal);
  return out;
}

void PackNibbles(const int8_t* q, int64_t count, uint8_t* out) {
  int64_t i = 0;
  for (; i + 1 < count; i += 2) {
    out[i / 2] = static_cast<uint8_t>((q[i] & 0x0f) | ((q[i + 1] & 0x0f) << 4));
  }
  if (i < count) out[i / 2] = static_cast<uint8_t>(q[i] & 0x0f);
}

namespace {

template <typename T>
void TransposeTiles(const T* in, int64_t rows, int64_t columns, T* out) {
  constexpr int64_t kTile = 32;
  for (int64_t r = 0; r < rows; r += kTile) {
    for (int64_t c = 0; c < columns; c += kTile) {
      for (int64_t i = r; i < std::min(rows, r + kTile); ++i) {
        for (int64_t j = c; j < std::min(columns, c + kTile); ++j)
          out[j * rows + i] = in[i * columns + j];
      }
    }
  }
}

}  // namespace

void TransposeFloats(const float* in, int64_t rows, int64_t columns, float* out) {
  TransposeTiles(in, rows, columns, out);
}
void TransposeBytes(const int8_t* in, int64_t rows, int64_t columns, int8_t* out) {
  TransposeTiles(in, rows, columns, out);
}

}  // namespace lathe::engine
