// A layer's weight to be rounded, with what is known of the layer's inputs.
//
//   minimize  sum over rows of (w - w') H (w - w')^T,   H = 2 X X^T / n,
//
// which is the squared error of the layer's outputs on the inputs seen. w' = (q - z) s, where s and
// z are those of the set an element lies in. The formulas of gptq.h, adaround.h and awq.h are about
// this problem.
#ifndef LATHE_WORKER_ENGINE_METHODS_ROUNDING_PROBLEM_H_
#define LATHE_WORKER_ENGINE_METHODS_ROUNDING_PROBLEM_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "worker/engine/kernels/quantize.h"
#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

enum class Clip { kNone, kWeights, kOutput };

// H for each of `parts` equal runs of consecutive rows (groups of a convolution; 1 elsewhere).
struct InputMoments {
  int64_t length = 0;
  int64_t parts = 1;
  std::vector<float> hessian;   // [parts, length, length], symmetric
  std::vector<float> mean_abs;  // [parts, length]
  const float* Part(int64_t part) const { return hessian.data() + part * length * length; }
  float Diagonal(int64_t part, int64_t i) const { return Part(part)[i * length + i]; }
};

struct RoundingProblem {
  int64_t rows = 0;
  int64_t length = 0;
  int64_t set_length = 0;                       // divides a row into sets, the last one shorter
  bool one_set = false;                         // all rows are one set
  std::vector<float> w;                         // [rows, length], finite
  std::shared_ptr<const InputMoments> moments;  // nullptr: nothing is known of the inputs
  RoundingRule rule;                            // its clip_mse is not looked at
  Clip clip = Clip::kWeights;
  bool half_scales = false;  // scales are float16 values

  int64_t sets_a_row() const { return (length + set_length - 1) / set_length; }
  int64_t part_of(int64_t row) const { return row / (rows / moments->parts); }
};

struct RoundedRows {
  std::vector<int8_t> q;         // [rows, length], uint8 when asymmetric
  std::vector<SetScale> scales;  // [rows, sets_a_row]; one_set: all equal
  bool half_fits = true;         // false: a scale is none that float16 holds well; start again
};

// Scale and zero point of the weights w[0..count) at columns [begin, begin + count) of `row`, by
// the problem's clip. `fits` is cleared where float16 does not hold it and the problem asks for
// that.
SetScale ScaleOf(const RoundingProblem& problem, int64_t row, int64_t begin, const float* w,
                 int64_t count, bool* fits);

// Each weight to the nearest integer of its set.
RoundedRows RoundNearest(const RoundingProblem& problem, Parallel& parallel);
// Likewise, with scales that are given.
void RoundWithScales(const RoundingProblem& problem, RoundedRows* rounded, Parallel& parallel);

// w' [rows, length].
std::vector<float> DecodeRows(const RoundingProblem& problem, const RoundedRows& rounded);
inline float DecodeOne(const RoundingProblem& problem, int8_t q, const SetScale& s) {
  const int32_t value = problem.rule.symmetric ? q : static_cast<uint8_t>(q);
  return static_cast<float>(value - s.zero_point) * s.scale;
}

// What is minimized, summed in float64: costs a product of the weight with H. Without moments it is
// the squared error of the weights.
double OutputError(const RoundingProblem& problem, const std::vector<float>& decoded,
                   Parallel& parallel);
double OutputError(const RoundingProblem& problem, const RoundedRows& rounded, Parallel& parallel);
// The same of w itself: the outputs' energy.
double OutputEnergy(const RoundingProblem& problem, Parallel& parallel);

// Rows that are worked on together, by one thread: within one part.
inline constexpr int64_t kRowsTogether = 256;
struct RowPiece {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t part = 0;
};
std::vector<RowPiece> RowPieces(const RoundingProblem& problem);

// The problem for w[:, j] / divisors[j] and inputs times divisors[j]: the same outputs.
RoundingProblem Divided(const RoundingProblem& problem, const std::vector<float>& divisors);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_ROUNDING_PROBLEM_H_
