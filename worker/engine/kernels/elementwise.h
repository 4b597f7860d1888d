// Arithmetic on runs of float32, element by element: vectors of the machine's width.
#ifndef LATHE_WORKER_ENGINE_KERNELS_ELEMENTWISE_H_
#define LATHE_WORKER_ENGINE_KERNELS_ELEMENTWISE_H_

#include <cstdint>

namespace lathe::engine {

enum class PairOp { kAdd, kSub, kMul, kDiv, kMin, kMax };

// out[i] = a[i * a_step] op b[i * b_step], i < count; steps are 0 or 1. Minimum and maximum of a
// NaN are NaN. `out` may be a or b where its step is 1, and overlaps neither otherwise.
void ApplyPair(PairOp op, const float* a, int64_t a_step, const float* b, int64_t b_step,
               int64_t count, float* out);

enum class MapOp {
  kRelu,
  kLeakyRelu,  // x < 0 ? alpha x : x
  kClip,       // to [alpha, beta]
  kExp,
  kSigmoid,
  kTanh,
  kErf,
  kElu,          // x < 0 ? alpha (e^x - 1) : beta x
  kHardSigmoid,  // alpha x + beta, limited to [0, 1]
  kHardSwish,    // x times that
  kSwish,        // x sigmoid(alpha x)
  kMish,         // x tanh(log(1 + e^x))
  kGelu,         // x / 2 (1 + erf(x / sqrt(2)))
  kGeluTanh,     // x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
};

// out[i] = op(in[i]), i < count, with the parameters that `op` names. NaN gives NaN. `out` may be
// `in`. The result of an element depends on nothing but its value.
void ApplyMap(MapOp op, float alpha, float beta, const float* in, int64_t count, float* out);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_ELEMENTWISE_H_
