// Rounding weights to k bits: arithmetic only.
//
// Q_k(w) = clamp(round(w / s) + z, lo, hi), decoded as (q - z) s. Rounding is to nearest, ties to
// even. A *set* is what shares s and z.
//   symmetric:  z = 0, q in [-(2^(k-1) - 1), 2^(k-1) - 1],  s = r max|w| / (2^(k-1) - 1)
//   affine:     q in [0, 2^k - 1],  s = r (max - min) / (2^k - 1) over a range that includes 0,  z
//   = round(-r min / s)
// with r = 1, or the shrink ratio in [1/2, 1] of least squared error (k <= 4: down to 0.3).
//
// Results do not depend on the processor: dividing is multiplying by the float32 reciprocal of s,
// there is no fused multiply-add, and sums have a fixed order (sixteen slots). The search sums in
// float32, folded every 1024 elements into float64; errors that are reported are float64 sums.
//
// Weights below about 1e-35 in magnitude are zeros for every purpose: the reciprocal of their scale
// would not be finite.
#ifndef LATHE_WORKER_ENGINE_KERNELS_QUANTIZE_H_
#define LATHE_WORKER_ENGINE_KERNELS_QUANTIZE_H_

#include <algorithm>
#include <cstdint>

namespace lathe::engine {

struct RoundingRule {
  int bits = 8;  // [2, 8]
  bool symmetric = true;
  bool clip_mse = false;  // search r
};

inline float LowestInteger(const RoundingRule& rule) {
  return rule.symmetric ? -static_cast<float>((1 << (rule.bits - 1)) - 1) : 0.0f;
}
inline float HighestInteger(const RoundingRule& rule) {
  return static_cast<float>(rule.symmetric ? (1 << (rule.bits - 1)) - 1 : (1 << rule.bits) - 1);
}

constexpr float kSmallestScale = 1e-37f;
// The ends of a range decode to at most this: just below the largest float, so that a scale that
// was rounded up does not make them infinite.
constexpr float kLargestDecoded = 3.4e38f;

// s of a symmetric set whose largest magnitude is `largest`; `highest` is 2^(k-1) - 1.
inline float SymmetricScale(float largest, float highest) {
  const float scale = std::min(largest, kLargestDecoded) / highest;
  return scale >= kSmallestScale ? scale : 1.0f;
}

struct SetScale {
  float scale = 1;  // 1 for a set of zeros
  int32_t zero_point = 0;
};

// Finds scale and zero point of the set w[0..count), finite values.
SetScale FindScale(const float* w, int64_t count, const RoundingRule& rule);

// Rounds a set; q holds int8 (symmetric) or uint8 (affine) values.
void RoundSet(const float* w, int64_t count, const RoundingRule& rule, const SetScale& s,
              int8_t* q);

// Symmetric rounding without a search, in one go: w[0..count) in sets of `set_length` (the last may
// be shorter), each with a scale of its own; the integers are those of FindScale and RoundSet.
// `nibbles` (bits <= 4): two a byte as PackNibbles packs them, and set_length is even.
// out: count bytes, or (count + 1) / 2. scales: one a set.
void RoundSets(const float* w, int64_t count, int64_t set_length, int bits, bool nibbles,
               uint8_t* out, float* scales);

// Sum of (w - decoded q)^2, and of w^2. `multipliers`: null, or a number for each element by which
// what is decoded is multiplied.
struct SquaredSums {
  double error = 0;
  double signal = 0;
};
SquaredSums SetError(const float* w, const int8_t* q, int64_t count, const RoundingRule& rule,
                     const SetScale& s, const float* multipliers = nullptr);

// out[i] = w[i] / by[i].
void DivideEach(const float* w, const float* by, int64_t count, float* out);

// Packs pairs of 4-bit values, low nibble first; the last byte of an odd count is padded with 0.
// out: (count + 1) / 2 bytes.
void PackNibbles(const int8_t* q, int64_t count, uint8_t* out);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_QUANTIZE_H_
