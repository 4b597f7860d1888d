// Rounding weights to k bits: arithmetic only.
//
// Q_k(w) = clamp(round(w / s) + z, lo, hi), decoded as (q - z) s. Rounding is to nearest, ties to
// even. A *set* is what shares s and z.
//   symmetric:  z = 0, q in [-(2^(k-1) - 1), 2^(k-1) - 1],  s = r max|w| / (2^(k-1) - 1)
//   affine:     q in [0, 2^k - 1],  s = r (max - min) / (2^k - 1) over a range that includes 0,  z
//   = round(-r min / s)
// with r = 1, or the shrink ratio in [1/2, 1] of least squared error (k <= 4: down to 0.3).
//
// Results do not depend on the processor: there is no fused multiply-add, sums have a fixed order
// (eight lanes, folded every 1024 elements into float64), and the same source is compiled for each
// instruction set.
#ifndef LATHE_WORKER_ENGINE_KERNELS_QUANTIZE_H_
#define LATHE_WORKER_ENGINE_KERNELS_QUANTIZE_H_

#include <cstdint>

namespace lathe::engine {

struct RoundingRule {
  int bits = 8;  // [2, 8]
  bool symmetric = true;
  bool clip_mse = false;  // search r
};

struct SetScale {
  float scale = 1;  // 1 for a set of zeros
  int32_t zero_point = 0;
};

// Finds scale and zero point of the set w[0..count), finite values.
SetScale FindScale(const float* w, int64_t count, const RoundingRule& rule);

// Rounds a set; q holds int8 (symmetric) or uint8 (affine) values.
void RoundSet(const float* w, int64_t count, const RoundingRule& rule, const SetScale& s,
              int8_t* q);

// Sum of (w - decoded q)^2, and of w^2.
struct SquaredSums {
  double error = 0;
  double signal = 0;
};
SquaredSums SetError(const float* w, const int8_t* q, int64_t count, const RoundingRule& rule,
                     const SetScale& s);

// Packs pairs of 4-bit values, low nibble first; the last byte of an odd count is padded with 0.
// out: (count + 1) / 2 bytes.
void PackNibbles(const int8_t* q, int64_t count, uint8_t* out);

// rows x columns -> columns x rows, in tiles.
void TransposeFloats(const float* in, int64_t rows, int64_t columns, float* out);
void TransposeBytes(const int8_t* in, int64_t rows, int64_t columns, int8_t* out);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_QUANTIZE_H_
