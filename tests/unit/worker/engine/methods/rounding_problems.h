// Problems for tests of rounding algorithms.
#ifndef LATHE_TESTS_UNIT_WORKER_ENGINE_METHODS_ROUNDING_PROBLEMS_H_
#define LATHE_TESTS_UNIT_WORKER_ENGINE_METHODS_ROUNDING_PROBLEMS_H_

#include <memory>
#include <utility>
#include <vector>

#include "worker/engine/linalg/randomized_range.h"
#include "worker/engine/methods/rounding_problem.h"

namespace lathe::engine::testing {

// Weights [rows, length] of a normal distribution and, for each part, a Hessian of inputs that are
// mixtures of a quarter as many sources, in float64 before it is rounded.
inline RoundingProblem MakeProblem(int64_t rows, int64_t length, int64_t set_length, int bits,
                                   bool symmetric = true, int64_t parts = 1) {
  RoundingProblem problem;
  problem.rows = rows;
  problem.length = length;
  problem.set_length = set_length;
  problem.rule = {bits, symmetric, false};
  for (int64_t i = 0; i < rows * length; ++i) problem.w.push_back(BinomialNormal(7, i));
  auto moments = std::make_shared<InputMoments>();
  moments->length = length;
  moments->parts = parts;
  const int64_t sources = std::max<int64_t>(1, length / 4);
  const int64_t examples = 3 * length;
  for (int64_t part = 0; part < parts; ++part) {
    std::vector<double> x(examples * length);
    for (int64_t i = 0; i < examples; ++i) {
      for (int64_t j = 0; j < length; ++j) {
        double& to = x[i * length + j];
        to = 0.1 * BinomialNormal(11 + part, i * length + j);
        for (int64_t s = 0; s < sources; ++s) {
          to += static_cast<double>(BinomialNormal(13 + part, i * sources + s)) *
                BinomialNormal(17 + part, s * length + j);
        }
      }
    }
    for (int64_t i = 0; i < length; ++i) {
      double absolute = 0;
      for (int64_t e = 0; e < examples; ++e) absolute += std::abs(x[e * length + i]);
      moments->mean_abs.push_back(static_cast<float>(absolute / static_cast<double>(examples)));
      for (int64_t j = 0; j < length; ++j) {
        double sum = 0;
        for (int64_t e = 0; e < examples; ++e) sum += x[e * length + i] * x[e * length + j];
        moments->hessian.push_back(static_cast<float>(2 * sum / static_cast<double>(examples)));
      }
    }
  }
  problem.moments = std::move(moments);
  return problem;
}

// OutputError by its formula, in float64.
inline double NaiveError(const RoundingProblem& problem, const std::vector<float>& decoded) {
  double total = 0;
  const int64_t n = problem.length;
  for (int64_t r = 0; r < problem.rows; ++r) {
    const float* const h = problem.moments->Part(problem.part_of(r));
    for (int64_t i = 0; i < n; ++i) {
      const double left = static_cast<double>(problem.w[r * n + i]) - decoded[r * n + i];
      for (int64_t j = 0; j < n; ++j) {
        total +=
            left * h[i * n + j] * (static_cast<double>(problem.w[r * n + j]) - decoded[r * n + j]);
      }
    }
  }
  return total;
}

}  // namespace lathe::engine::testing

#endif  // LATHE_TESTS_UNIT_WORKER_ENGINE_METHODS_ROUNDING_PROBLEMS_H_
