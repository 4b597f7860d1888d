// HQQ: half-quadratic quantization, which needs no data.
//
//   minimize sum |w - s (q - z)|^p, p = 3/4 < 1: a few large errors (outliers) cost less than many
//   e = shrink(w - s (q - z), beta),   then z and s of least squares for w - e, q again to nearest,
//   beta a little larger; 20 times
//
// (Badri & Shaji, "Half-Quadratic Quantization of Large Machine Learning Models", 2023.) Errors are
// shrunk in units of the scale. Deviations: p, which is 0.7 there, is two square roots here; zero
// points are integers (none for a symmetric set), so that scales are fitted, too. The best of the
// rounds is kept, the start included.
#ifndef LATHE_WORKER_ENGINE_METHODS_HQQ_H_
#define LATHE_WORKER_ENGINE_METHODS_HQQ_H_

#include "worker/engine/methods/rounding_problem.h"

namespace lathe::engine {

// Not for problems of one set.
RoundedRows RoundByHqq(const RoundingProblem& problem, Parallel& parallel);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_HQQ_H_
