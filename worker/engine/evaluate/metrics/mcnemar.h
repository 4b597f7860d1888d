// Whether two classifiers differ, from the examples on which only one of them is right.
//
// Q. McNemar, Note on the sampling error of the difference between correlated proportions,
// Psychometrika 1947. With b examples that only the first model gets right and c that only the
// second does, n = b + c, no difference makes b binomial (n, 1/2). Two-sided:
//   exact  p = min(1, 2 P(X <= min(b, c)))
//   mid-p  p = exact - P(X = min(b, c)); 1 where b = c gives more
// The exact test is conservative for few examples; mid-p, which counts the observed table half, is
// what M. Fagerland et al. recommend (The McNemar test for binary matched-pairs data: mid-p and
// asymptotic are better than exact conditional, BMC Med. Res. Methodol. 2013). Beyond
// kMaxExactPairs both are taken from chi-square = (|b - c| - 1)^2 / n, 1 degree of freedom, with
// continuity correction, where the three agree to a few per cent.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_MCNEMAR_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_MCNEMAR_H_

#include <cstdint>

namespace lathe::engine {

inline constexpr int64_t kMaxExactPairs = 1000;

struct McNemar {
  int64_t only_before = 0;  // b
  int64_t only_after = 0;   // c
  double p_value = 1;       // mid-p, or chi-square
  double p_exact = 1;       // exact, or chi-square
  bool chi_square = false;
};

// only_before, only_after >= 0.
McNemar McNemarTest(int64_t only_before, int64_t only_after);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_MCNEMAR_H_
