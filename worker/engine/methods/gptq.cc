#include "worker/engine/methods/gptq.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <utility>

#include "common/status_macros.h"
#include "worker/engine/kernels/weighted_clip.h"
#include "worker/engine/linalg/strided_product.h"

namespace lathe::engine {
namespace {

constexpr double kDamping = 0.01;
constexpr int64_t kBlock = 128;

std::vector<int64_t> ByFallingEnergy(const InputMoments& moments) {
  std::vector<double> energy(static_cast<size_t>(moments.length));
  for (int64_t part = 0; part < moments.parts; ++part) {
    for (int64_t j = 0; j < moments.length; ++j) {
      energy[static_cast<size_t>(j)] += moments.Diagonal(part, j);
    }
  }
  std::vector<int64_t> order(energy.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return energy[static_cast<size_t>(a)] > energy[static_cast<size_t>(b)];
  });
  return order;
}

// One piece of rows, all columns.
class RowRounder {
 public:
  RowRounder(const RoundingProblem& problem, const std::vector<float>& u,
             const std::vector<int64_t>& order, const RowPiece& piece, RoundedRows* out)
      : problem_(problem),
        u_(u),
        order_(order),
        piece_(piece),
        n_(problem.length),
        rows_(piece.end - piece.begin),
        out_(out),
        w_(static_cast<size_t>(rows_ * n_)),
        errors_(static_cast<size_t>(rows_ * kBlock)) {
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t j = 0; j < n_; ++j) w_[At(r, j)] = problem.w[Global(r, Column(j))];
    }
  }

  // False when a scale does not fit float16.
  bool Go() {
    // Scales of whole groups in order are found as they come; all others are given.
    moving_scales_ = order_.empty() && !problem_.one_set && problem_.set_length < n_;
    for (int64_t begin = 0; begin < n_; begin += kBlock) {
      const int64_t end = std::min(n_, begin + kBlock);
      for (int64_t r = 0; r < rows_; ++r) RoundBlock(r, begin, end);
      AddProductStrided(rows_, n_ - end, end - begin, -1.0F, {errors_.data(), kBlock},
                        {u_.data() + begin * n_ + end, n_}, w_.data() + end, n_);
    }
    return fits_;
  }

 private:
  size_t At(int64_t r, int64_t j) const { return static_cast<size_t>(r * n_ + j); }
  size_t Global(int64_t r, int64_t j) const {
    return static_cast<size_t>((piece_.begin + r) * n_ + j);
  }
  int64_t Column(int64_t j) const { return order_.empty() ? j : order_[static_cast<size_t>(j)]; }

  void RoundBlock(int64_t r, int64_t begin, int64_t end) {
    const int64_t sets = problem_.sets_a_row();
    const auto low = static_cast<int32_t>(LowestInteger(problem_.rule));
    const auto high = static_cast<int32_t>(HighestInteger(problem_.rule));
    float* const w = w_.data() + r * n_;
    float* const errors = errors_.data() + r * kBlock;
    for (int64_t j = begin; j < end; ++j) {
      const int64_t column = Column(j);
      SetScale& s = out_->scales[static_cast<size_t>((piece_.begin + r) * sets +
                                                     column / problem_.set_length)];
      if (moving_scales_ && j % problem_.set_length == 0) {
        s = ScaleOf(problem_, piece_.begin + r, j, w + j, std::min(problem_.set_length, n_ - j),
                    &fits_);
      }
      const int32_t q = RoundOne(w[j], 1.0F / s.scale, s.zero_point, low, high);
      out_->q[Global(r, column)] = static_cast<int8_t>(q);
      const float* const u = u_.data() + j * n_;
      const float e = (w[j] - static_cast<float>(q - s.zero_point) * s.scale) / u[j];
      errors[j - begin] = e;
      for (int64_t k = j + 1; k < end; ++k) w[k] -= e * u[k];
    }
  }

  const RoundingProblem& problem_;
  const std::vector<float>& u_;
  const std::vector<int64_t>& order_;
  const RowPiece piece_;
  const int64_t n_;
  const int64_t rows_;
  RoundedRows* const out_;
  std::vector<float> w_;       // [rows, n], columns in the order of rounding
  std::vector<float> errors_;  // [rows, kBlock]
  bool moving_scales_ = false;
  bool fits_ = true;
};

}  // namespace

absl::StatusOr<GptqFactors> FactorForGptq(const InputMoments& moments, bool act_order) {
  GptqFactors out;
  const int64_t n = moments.length;
  if (act_order) out.order = ByFallingEnergy(moments);
  for (int64_t part = 0; part < moments.parts; ++part) {
    const float* h = moments.Part(part);
    std::vector<float> ordered;
    if (act_order) {
      ordered.resize(static_cast<size_t>(n * n));
      for (int64_t i = 0; i < n; ++i) {
        const float* const row = h + out.order[static_cast<size_t>(i)] * n;
        for (int64_t j = 0; j < n; ++j) {
          ordered[static_cast<size_t>(i * n + j)] = row[out.order[static_cast<size_t>(j)]];
        }
      }
      h = ordered.data();
    }
    ASSIGN_OR_RETURN(InverseFactor factor, FactorInverse(n, h, kDamping));
    out.u.push_back(std::move(factor.u));
  }
  return out;
}

RoundedRows RoundByGptq(const RoundingProblem& problem, const GptqFactors& factors,
                        const std::vector<float>& divisors, Parallel& parallel) {
  const int64_t n = problem.length;
  // Rounds more than is kept, and finds the scales that do not move.
  RoundedRows out = RoundNearest(problem, parallel);
  if (!out.half_fits) return out;
  // (D H D)^-1 = (U D^-1)^T (U D^-1).
  std::vector<std::vector<float>> divided;
  if (!divisors.empty()) {
    divided = factors.u;
    for (std::vector<float>& u : divided) {
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = i; j < n; ++j) {
          const int64_t column = factors.order.empty() ? j : factors.order[static_cast<size_t>(j)];
          u[static_cast<size_t>(i * n + j)] /= divisors[static_cast<size_t>(column)];
        }
      }
    }
  }
  const std::vector<std::vector<float>>& u = divisors.empty() ? factors.u : divided;
  const std::vector<RowPiece> pieces = RowPieces(problem);
  std::atomic<bool> all_fit{true};
  parallel.Run(static_cast<int64_t>(pieces.size()), [&](int64_t p) {
    const RowPiece& piece = pieces[static_cast<size_t>(p)];
    RowRounder rounder(problem, u[static_cast<size_t>(piece.part)], factors.order, piece, &out);
    if (!rounder.Go()) all_fit.store(false, std::memory_order_relaxed);
  });
  out.half_fits = all_fit.load();
  return out;
}

}  // namespace lathe::engine
