// Weights as int8 for integer arithmetic, and what processors without a widening dot product make
// of them.
//
// q = round(w / s), s one number an output channel (or one for all), |q| <= 127, zero point 0.
//
// AVX2 and AVX-512 without VNNI multiply unsigned activations by signed weights and add the
// products of two neighbours along the reduction in 16 bits, saturating: 255 (q1 + q2) must stay
// within int16, so that neighbours of one sign may have magnitudes of at most 128 together
// (vpmaddubsw). Most weights obey; where a channel's do not, its scale grows, or the two are cut,
// whichever has the smaller squared error. Neighbours are elements 2j and 2j + 1 of the reduction
// in the order in which ONNX Runtime lays it out: kernel positions outside, input channels inside.
#ifndef LATHE_WORKER_ENGINE_PASSES_INTEGER_WEIGHT_H_
#define LATHE_WORKER_ENGINE_PASSES_INTEGER_WEIGHT_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "worker/engine/tensor/parallel.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

struct IntegerWeightRule {
  bool per_channel = true;
  bool safe_pairs = true;      // obey the bound above
  bool powers_of_two = false;  // scales are powers of two
};

inline constexpr int kMaxPairSum = 128;

struct IntegerWeight {
  std::string integers;       // int8, in the layout of the weight
  std::vector<float> scales;  // one an output channel; one in all when not per channel
  double squared_error = 0;
  double squared_norm = 0;
  int64_t repaired_channels = 0;  // whose scale or values the bound on pairs changed
};

// `w`: `dims` row-major, finite. `output_axis` 0: [O, I, k...] or [N, K]; 1: [K, N]. Channel c gets
// a scale of at least least_scales[c] (empty: none). Same result for any number of threads.
IntegerWeight RoundIntegerWeight(std::span<const float> w, const Shape& dims, int output_axis,
                                 const IntegerWeightRule& rule, std::span<const float> least_scales,
                                 Parallel& parallel);

// Whether every pair obeys the bound: for tests and the linter.
bool PairsAreSafe(std::span<const int8_t> q, const Shape& dims, int output_axis);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_INTEGER_WEIGHT_H_
