// AdaRound's choice, up or down for each weight, by coordinate descent.
//
//   minimize (w - w') H (w - w')^T over w'_j in {s floor(w_j / s), s ceil(w_j / s)}
//
// is the problem of Nagel et al. (2004.10568) for a layer's output error. The paper relaxes it to a
// sigmoid a weight and runs Adam for thousands of steps; here each weight is flipped where that
// lowers the error, from round-to-nearest on, until a sweep changes little: no step size, no seed,
// and never worse than where it began. With g = (w - w') H, moving w'_j by d changes the error by
// d^2 H_jj - 2 d g_j, and g by -d H_j.
#ifndef LATHE_WORKER_ENGINE_METHODS_ADAROUND_H_
#define LATHE_WORKER_ENGINE_METHODS_ADAROUND_H_

#include "worker/engine/methods/rounding_problem.h"

namespace lathe::engine {

// Improves `rounded` (of RoundNearest: its scales stay). problem.moments is given. Cost: a product
// of the weight with H, and a row of H for each flip.
void ImproveByFlips(const RoundingProblem& problem, RoundedRows* rounded, Parallel& parallel);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_ADAROUND_H_
