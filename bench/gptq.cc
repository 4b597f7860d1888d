// GPTQ on one large layer against a matrix product of the same size, in the same run.
//
//   bench_gptq [SIDE]     4096 by default; one thread
//
// Inputs are correlated: a rank of an eighth of the side carries most of their energy, as
// activations have it. Time: rounding to 4 bits in groups of 128 with the Hessian given, factors
// included, over that of one product of 2 n^3 operations (reach: 8). Error: of the layer's outputs,
// over that of rounding to nearest (reach: 0.35).
#include "worker/engine/methods/gptq.h"

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <vector>

#include "worker/engine/linalg/lapack.h"
#include "worker/engine/linalg/products.h"
#include "worker/engine/linalg/randomized_range.h"

namespace lathe::engine {
namespace {

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<float> Normal(int64_t count, uint64_t seed) {
  std::vector<float> out(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    out[static_cast<size_t>(i)] = BinomialNormal(seed, static_cast<uint64_t>(i));
  }
  return out;
}

int Run(int64_t n) {
  lapack::UseOneBlasThread();
  const std::unique_ptr<Parallel> serial = MakeSerial();
  // X = Z B + noise / 10, as many rows as inputs twice over.
  const int64_t rank = n / 8;
  const int64_t rows = 2 * n;
  std::vector<float> x = Normal(rows * n, 1);
  const std::vector<float> z = Normal(rows * rank, 2);
  const std::vector<float> b = Normal(rank * n, 3);
  Multiply(Side::kPlain, Side::kPlain, rows, n, rank, 1.0F / std::sqrt(static_cast<float>(rank)),
           z.data(), b.data(), 0.1F, x.data(), *serial);
  auto moments = std::make_shared<InputMoments>();
  moments->length = n;
  moments->hessian.assign(static_cast<size_t>(n * n), 0.0F);
  AddGram(rows, n, 2.0F / static_cast<float>(rows), x.data(), 0.0F, moments->hessian.data(),
          *serial);
  MirrorUpper(n, moments->hessian.data());

  RoundingProblem problem;
  problem.rows = problem.length = n;
  problem.set_length = 128;
  problem.w = Normal(n * n, 4);
  problem.moments = moments;
  problem.rule = {4, true, false};

  std::vector<float> product(static_cast<size_t>(n * n));
  const double gemm = Seconds([&] {
    Multiply(Side::kPlain, Side::kPlain, n, n, n, 1.0F, problem.w.data(), moments->hessian.data(),
             0.0F, product.data(), *serial);
  });
  RoundedRows rounded;
  const double seconds = Seconds([&] {
    const absl::StatusOr<GptqFactors> factors = FactorForGptq(*moments, /*act_order=*/false);
    if (factors.ok()) rounded = RoundByGptq(problem, *factors, {}, *serial);
  });
  if (rounded.q.empty()) return 1;
  const double error = OutputError(problem, rounded, *serial);
  const double nearest = OutputError(problem, RoundNearest(problem, *serial), *serial);
  const auto side = static_cast<long long>(n);
  std::printf("| GPTQ, %lld x %lld, 4 bits in groups of 128 | reach | holds |\n|---|---|---|\n",
              side, side);
  std::printf("| %.2f s, %.1f products of %.2f s | 8 | %s |\n", seconds, seconds / gemm, gemm,
              seconds <= 8 * gemm ? "yes" : "**no**");
  std::printf("| squared output error %.3f of nearest's, error %.3f | 0.35 | %s |\n",
              error / nearest, std::sqrt(error / nearest),
              std::sqrt(error / nearest) <= 0.35 ? "yes" : "**no**");
  return 0;
}

}  // namespace
}  // namespace lathe::engine

int main(int argc, char** argv) {
  const long side = argc > 1 ? std::atol(argv[1]) : 4096;
  if (side < 128 || side > 16384) {
    std::fprintf(stderr, "SIDE must be in [128, 16384]\n");
    return 2;
  }
  return lathe::engine::Run(side);
}
