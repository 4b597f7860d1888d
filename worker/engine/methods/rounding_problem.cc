#include "worker/engine/methods/rounding_problem.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "worker/engine/kernels/weighted_clip.h"
#include "worker/engine/linalg/strided_product.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {
namespace {

// Normal float16 values keep 11 bits; smaller ones would lose some.
bool FitsHalf(float scale) { return scale >= 6.2e-5F && scale <= 60000.0F; }

// sum of d H d^T over the rows of d [rows, length].
double QuadraticForm(const RoundingProblem& problem, const std::vector<float>& d,
                     Parallel& parallel) {
  const int64_t n = problem.length;
  const std::vector<RowPiece> pieces = RowPieces(problem);
  std::vector<double> sums(pieces.size());
  parallel.Run(static_cast<int64_t>(pieces.size()), [&](int64_t p) {
    const RowPiece& piece = pieces[static_cast<size_t>(p)];
    const int64_t rows = piece.end - piece.begin;
    const float* const from = d.data() + piece.begin * n;
    std::vector<float> product;
    const float* by = from;
    if (problem.moments != nullptr) {
      product.resize(static_cast<size_t>(rows * n));
      MultiplyStrided(Side::kPlain, rows, n, n, 1.0F, {from, n},
                      {problem.moments->Part(piece.part), n}, product.data(), n);
      by = product.data();
    }
    double sum = 0;
    for (int64_t i = 0; i < rows * n; ++i) {
      sum += static_cast<double>(from[i]) * static_cast<double>(by[i]);
    }
    sums[static_cast<size_t>(p)] = sum;
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::max(0.0, total);
}

}  // namespace

std::vector<RowPiece> RowPieces(const RoundingProblem& problem) {
  const int64_t parts = problem.moments == nullptr ? 1 : problem.moments->parts;
  const int64_t a_part = problem.rows / std::max<int64_t>(1, parts);
  std::vector<RowPiece> pieces;
  for (int64_t part = 0; part < parts; ++part) {
    for (int64_t r = part * a_part; r < (part + 1) * a_part; r += kRowsTogether) {
      pieces.push_back({r, std::min(r + kRowsTogether, (part + 1) * a_part), part});
    }
  }
  return pieces;
}

SetScale ScaleOf(const RoundingProblem& problem, int64_t row, int64_t begin, const float* w,
                 int64_t count, bool* fits) {
  RoundingRule rule = problem.rule;
  rule.clip_mse = problem.clip == Clip::kWeights;
  SetScale s;
  if (problem.clip == Clip::kOutput && problem.moments != nullptr) {
    std::vector<float> importance(static_cast<size_t>(count));
    const int64_t part = problem.part_of(row);
    for (int64_t i = 0; i < count; ++i) {
      importance[static_cast<size_t>(i)] = problem.moments->Diagonal(part, begin + i);
    }
    s = FindScaleWeighted(w, importance.data(), count, rule);
  } else {
    s = FindScale(w, count, rule);
  }
  if (problem.half_scales) {
    if (!FitsHalf(s.scale)) *fits = false;
    s.scale = HalfToFloat(FloatToHalf(s.scale));
    // What does not fit is found out by the caller; nothing may divide by it meanwhile.
    if (!(s.scale > 0) || !std::isfinite(s.scale)) s.scale = 1;
  }
  return s;
}

void RoundWithScales(const RoundingProblem& problem, RoundedRows* rounded, Parallel& parallel) {
  rounded->q.resize(problem.w.size());
  const int64_t sets = problem.sets_a_row();
  const int64_t pieces = (problem.rows + kRowsTogether - 1) / kRowsTogether;
  parallel.Run(pieces, [&](int64_t piece) {
    const int64_t end = std::min(problem.rows, (piece + 1) * kRowsTogether);
    for (int64_t r = piece * kRowsTogether; r < end; ++r) {
      for (int64_t s = 0; s < sets; ++s) {
        const int64_t at = s * problem.set_length;
        RoundSet(problem.w.data() + r * problem.length + at,
                 std::min(problem.set_length, problem.length - at), problem.rule,
                 rounded->scales[static_cast<size_t>(r * sets + s)],
                 rounded->q.data() + r * problem.length + at);
      }
    }
  });
}

RoundedRows RoundNearest(const RoundingProblem& problem, Parallel& parallel) {
  RoundedRows out;
  const int64_t sets = problem.sets_a_row();
  out.scales.resize(static_cast<size_t>(problem.rows * sets));
  if (problem.one_set) {
    // The rows' own importance is not told apart here: all of them share the scale.
    RoundingRule rule = problem.rule;
    rule.clip_mse = problem.clip != Clip::kNone;
    const SetScale s = FindScale(problem.w.data(), static_cast<int64_t>(problem.w.size()), rule);
    std::fill(out.scales.begin(), out.scales.end(), s);
  } else {
    std::atomic<bool> all_fit{true};
    const int64_t pieces = (problem.rows + kRowsTogether - 1) / kRowsTogether;
    parallel.Run(pieces, [&](int64_t piece) {
      bool fits = true;
      const int64_t end = std::min(problem.rows, (piece + 1) * kRowsTogether);
      for (int64_t r = piece * kRowsTogether; r < end; ++r) {
        for (int64_t s = 0; s < sets; ++s) {
          const int64_t at = s * problem.set_length;
          out.scales[static_cast<size_t>(r * sets + s)] =
              ScaleOf(problem, r, at, problem.w.data() + r * problem.length + at,
                      std::min(problem.set_length, problem.length - at), &fits);
        }
      }
      if (!fits) all_fit.store(false, std::memory_order_relaxed);
    });
    out.half_fits = all_fit.load();
  }
  RoundWithScales(problem, &out, parallel);
  return out;
}

std::vector<float> DecodeRows(const RoundingProblem& problem, const RoundedRows& rounded) {
  std::vector<float> out(problem.w.size());
  const int64_t sets = problem.sets_a_row();
  for (int64_t r = 0; r < problem.rows; ++r) {
    for (int64_t j = 0; j < problem.length; ++j) {
      const auto at = static_cast<size_t>(r * problem.length + j);
      out[at] = DecodeOne(problem, rounded.q[at],
                          rounded.scales[static_cast<size_t>(r * sets + j / problem.set_length)]);
    }
  }
  return out;
}

double OutputError(const RoundingProblem& problem, const std::vector<float>& decoded,
                   Parallel& parallel) {
  std::vector<float> d(problem.w.size());
  for (size_t i = 0; i < d.size(); ++i) d[i] = problem.w[i] - decoded[i];
  return QuadraticForm(problem, d, parallel);
}

double OutputError(const RoundingProblem& problem, const RoundedRows& rounded, Parallel& parallel) {
  return OutputError(problem, DecodeRows(problem, rounded), parallel);
}

double OutputEnergy(const RoundingProblem& problem, Parallel& parallel) {
  return QuadraticForm(problem, problem.w, parallel);
}

RoundingProblem Divided(const RoundingProblem& problem, const std::vector<float>& divisors) {
  if (divisors.empty()) return problem;
  RoundingProblem out = problem;
  const int64_t n = problem.length;
  for (int64_t r = 0; r < problem.rows; ++r) {
    for (int64_t j = 0; j < n; ++j) {
      out.w[static_cast<size_t>(r * n + j)] /= divisors[static_cast<size_t>(j)];
    }
  }
  if (problem.moments == nullptr) return out;
  auto moments = std::make_shared<InputMoments>(*problem.moments);
  for (int64_t part = 0; part < moments->parts; ++part) {
    for (int64_t i = 0; i < n; ++i) {
      const float left = divisors[static_cast<size_t>(i)];
      float* const row = moments->hessian.data() + (part * n + i) * n;
      for (int64_t j = 0; j < n; ++j) row[j] *= left * divisors[static_cast<size_t>(j)];
      moments->mean_abs[static_cast<size_t>(part * n + i)] *= left;
    }
  }
  out.moments = std::move(moments);
  return out;
}

}  // namespace lathe::engine
