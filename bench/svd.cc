// Singular value decompositions against LAPACK's sgesdd on the same matrix in the same run.
//
//   bench_svd [SIZE [THREADS]]     SIZE 4096 by default; 768 x 3072 is measured beside it
//
// Reaches (docs/performance.md): exact 4096^2 >= 3x, 768 x 3072 >= 9x, randomized rank 256 of
// 4096^2 >= 20x with at most 1 % more error than the best of that rank.
//
// "Exact" is measured at a quarter of the rank, half of what a square layer can use; all of it,
// which low_rank never asks for and which reaches into singular values that need float64, stands
// beside it. sgesdd runs once; the others take the best of three. LAPACK gets THREADS threads as
// well.
#include <cblas.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "worker/engine/linalg/lapack.h"
#include "worker/engine/linalg/low_rank_factor.h"
#include "worker/engine/linalg/products.h"
#include "worker/engine/linalg/randomized_range.h"

namespace lathe::engine {
namespace {

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double BestOf(int times, const std::function<void()>& work) {
  double best = Seconds(work);
  for (int i = 1; i < times; ++i) best = std::min(best, Seconds(work));
  return best;
}

// Noise plus rank m / 8 of falling weight: a flat tail behind a steep head, as trained layers have.
std::vector<float> Layer(int64_t m, int64_t n, Parallel& parallel) {
  const int64_t r = std::max<int64_t>(1, std::min(m, n) / 8);
  std::vector<float> left(static_cast<size_t>(m * r));
  std::vector<float> right(static_cast<size_t>(r * n));
  std::vector<float> a(static_cast<size_t>(m * n));
  for (size_t i = 0; i < a.size(); ++i) a[i] = BinomialNormal(1, i);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < r; ++j) {
      left[static_cast<size_t>(i * r + j)] = BinomialNormal(2, static_cast<uint64_t>(i * r + j)) *
                                             20 / std::sqrt(static_cast<float>(j + 1));
    }
  }
  for (size_t i = 0; i < right.size(); ++i) right[i] = BinomialNormal(3, i);
  Multiply(Side::kPlain, Side::kPlain, m, n, r, 0.02f, left.data(), right.data(), 0.02f, a.data(),
           parallel);
  return a;
}

// sgesdd on the matrix; fills in its singular values.
double Lapack(int64_t m, int64_t n, const std::vector<float>& a, int threads,
              std::vector<float>& s) {
  const int64_t k = std::min(m, n);
  std::vector<float> copy = a;
  std::vector<float> u(static_cast<size_t>(n * k));
  std::vector<float> vt(static_cast<size_t>(k * m));
  s.resize(static_cast<size_t>(k));
  openblas_set_num_threads(threads);
  const double seconds = Seconds([&] {
    lapack::SingularValues(static_cast<int>(n), static_cast<int>(m), copy.data(), s.data(),
                           u.data(), vt.data());
  });
  openblas_set_num_threads(1);
  return seconds;
}

double Best(const std::vector<float>& s, int64_t rank) {
  double tail = 0;
  double total = 0;
  for (size_t i = 0; i < s.size(); ++i) {
    const double square = static_cast<double>(s[i]) * s[i];
    total += square;
    if (static_cast<int64_t>(i) >= rank) tail += square;
  }
  return std::sqrt(tail / total);
}

void Row(const std::string& what, double seconds, double peer, double residual, double best,
         const char* reach) {
  std::printf("%-38s %9.3f s %8.1fx  %10.3e  %9.2f %%  %s\n", what.c_str(), seconds, peer / seconds,
              residual, best > 0 ? 100 * (residual / best - 1) : 0.0, reach);
  std::fflush(stdout);
}

void Measure(int64_t m, int64_t n, int threads, const char* exact_reach, const char* random_reach) {
  const std::unique_ptr<Parallel> parallel = MakeThreadPool(threads);
  const std::string size = std::to_string(m) + " x " + std::to_string(n);
  const std::vector<float> a = Layer(m, n, *parallel);
  std::vector<float> s;
  const double peer = Lapack(m, n, a, threads, s);
  std::printf("%-38s %9.3f s %8.1fx\n", (size + ", sgesdd").c_str(), peer, 1.0);
  std::fflush(stdout);
  const int64_t k = std::min(m, n);
  const auto run = [&](const std::string& what, const LowRankRequest& request, const char* reach) {
    LowRankFactors factors;
    const double seconds = BestOf(3, [&] {
      absl::StatusOr<LowRankFactors> result = FactorLowRank(m, n, a, request, *parallel);
      if (!result.ok()) {
        std::fprintf(stderr, "%s\n", std::string(result.status().message()).c_str());
        std::exit(1);
      }
      factors = *std::move(result);
    });
    Row(size + ", " + what + " (" + factors.algorithm + ")", seconds, peer,
        factors.relative_residual, Best(s, factors.rank), reach);
  };
  run("rank " + std::to_string(k / 4), {.rank = k / 4, .algorithm = SvdAlgorithm::kExact},
      exact_reach);
  run("all " + std::to_string(k), {.rank = k, .algorithm = SvdAlgorithm::kExact}, "");
  if (random_reach != nullptr) {
    run("rank " + std::to_string(k / 16),
        {.rank = k / 16, .algorithm = SvdAlgorithm::kRandomized, .seed = 1}, random_reach);
  }
}

int Main(int argc, char** argv) {
  const int64_t size = argc > 1 ? std::atoll(argv[1]) : 4096;
  const int threads = argc > 2 ? std::atoi(argv[2]) : 1;
  if (size < 16 || threads < 1) {
    std::fprintf(stderr, "usage: bench_svd [SIZE >= 16 [THREADS >= 1]]\n");
    return 2;
  }
  std::printf("%d thread(s)\n%-38s %11s %9s  %10s  %11s  %s\n", threads, "matrix, what (how)",
              "time", "sgesdd/", "residual", "excess", "reach");
  Measure(768, 3072, threads, ">= 9x", nullptr);
  Measure(size, size, threads, ">= 3x", ">= 20x, <= 1 %");
  return 0;
}

}  // namespace
}  // namespace lathe::engine

int main(int argc, char** argv) { return lathe::engine::Main(argc, argv); }
