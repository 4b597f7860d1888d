#include "worker/engine/methods/awq.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lathe::engine {
namespace {

constexpr int kPoints = 20;
constexpr int64_t kRowsLookedAt = 256;

// Rows spread evenly over the problem; all of every part or the same share of each.
RoundingProblem SomeRows(const RoundingProblem& problem) {
  if (problem.rows <= kRowsLookedAt || problem.one_set) return problem;
  RoundingProblem some = problem;
  some.w.clear();
  const int64_t parts = problem.moments->parts;
  const int64_t a_part = problem.rows / parts;
  const int64_t step = std::max<int64_t>(1, problem.rows / kRowsLookedAt);
  const int64_t taken = (a_part + step - 1) / step;
  for (int64_t part = 0; part < parts; ++part) {
    for (int64_t i = 0; i < taken; ++i) {
      const auto row = problem.w.begin() + (part * a_part + i * step) * problem.length;
      some.w.insert(some.w.end(), row, row + problem.length);
    }
  }
  some.rows = parts * taken;
  return some;
}

}  // namespace

std::vector<float> FindAwqScales(const RoundingProblem& problem, int64_t inputs,
                                 Parallel& parallel) {
  const InputMoments& moments = *problem.moments;
  const int64_t run = problem.length / inputs;
  std::vector<double> mean(static_cast<size_t>(inputs));
  for (int64_t part = 0; part < moments.parts; ++part) {
    for (int64_t j = 0; j < problem.length; ++j) {
      mean[static_cast<size_t>(j / run)] +=
          moments.mean_abs[static_cast<size_t>(part * problem.length + j)];
    }
  }
  const double largest = *std::max_element(mean.begin(), mean.end());
  if (!(largest > 0) || !std::isfinite(largest)) return {};
  // Inputs that are never or hardly seen must not be divided away.
  for (double& m : mean) m = std::max(m, largest * 1e-4);

  const RoundingProblem some = SomeRows(problem);
  std::vector<float> best;
  double least = std::numeric_limits<double>::infinity();
  for (int point = 0; point < kPoints; ++point) {
    const double power = static_cast<double>(point) / kPoints;
    double low = std::numeric_limits<double>::infinity();
    double high = 0;
    for (const double m : mean) {
      low = std::min(low, std::pow(m, power));
      high = std::max(high, std::pow(m, power));
    }
    // Around 1, so that scales stay where float16 holds them.
    const double centre = std::sqrt(low * high);
    std::vector<float> scales;
    for (const double m : mean) scales.push_back(static_cast<float>(centre / std::pow(m, power)));
    std::vector<float> divisors(static_cast<size_t>(problem.length));
    for (int64_t j = 0; j < problem.length; ++j) {
      divisors[static_cast<size_t>(j)] = scales[static_cast<size_t>(j / run)];
    }
    const RoundingProblem scaled = Divided(some, point == 0 ? std::vector<float>() : divisors);
    const double error = OutputError(scaled, RoundNearest(scaled, parallel), parallel);
    if (!(error < least)) continue;
    least = error;
    best = point == 0 ? std::vector<float>() : scales;
  }
  return best;
}

}  // namespace lathe::engine
