// AWQ: inputs of large activations get finer steps, at the cost of the others.
//
//   w' = Q(w_j a_j) / a_j,   a_j = mean|x_j|^p, p of 20 points in [0, 0.95], least output error
//
// (Lin et al., 2306.00978.) The factors 1 / a_j become a Mul in the chain of the weight's
// constants, which runtimes fold when they load the model; the paper folds them into the layer
// before, which not every layer has. The search looks at up to 256 rows of the weight, spread
// evenly. Clipping by output error follows, as in the paper, where it helps.
#ifndef LATHE_WORKER_ENGINE_METHODS_AWQ_H_
#define LATHE_WORKER_ENGINE_METHODS_AWQ_H_

#include <vector>

#include "worker/engine/methods/rounding_problem.h"

namespace lathe::engine {

// 1 / a_j for each of `inputs` equal runs of consecutive columns (channels of a convolution, which
// share one), or empty where p = 0 is best. problem.moments is given.
std::vector<float> FindAwqScales(const RoundingProblem& problem, int64_t inputs,
                                 Parallel& parallel);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_AWQ_H_
