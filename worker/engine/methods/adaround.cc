#include "worker/engine/methods/adaround.h"

#include <algorithm>
#include <cmath>

#include "worker/engine/linalg/strided_product.h"

namespace lathe::engine {
namespace {

constexpr int kMostSweeps = 12;
constexpr int64_t kRowsOfH = 64;  // rows for which a row of H is read once

class FlipSearch {
 public:
  FlipSearch(const RoundingProblem& problem, const RowPiece& piece, RoundedRows* rounded)
      : problem_(problem),
        piece_(piece),
        n_(problem.length),
        h_(problem.moments->Part(piece.part)),
        rounded_(rounded) {}

  void Go() {
    for (int64_t r = piece_.begin; r < piece_.end; r += kRowsOfH) {
      Rows(r, std::min(r + kRowsOfH, piece_.end));
    }
  }

 private:
  void Rows(int64_t begin, int64_t end) {
    const int64_t rows = end - begin;
    std::vector<float> d(static_cast<size_t>(rows * n_));
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t j = 0; j < n_; ++j) {
        const auto at = static_cast<size_t>((begin + r) * n_ + j);
        d[static_cast<size_t>(r * n_ + j)] =
            problem_.w[at] - DecodeOne(problem_, rounded_->q[at], Scale(begin + r, j));
      }
    }
    std::vector<float> g(d.size());
    MultiplyStrided(Side::kPlain, rows, n_, n_, 1.0F, {d.data(), n_}, {h_, n_}, g.data(), n_);
    for (int sweep = 0; sweep < kMostSweeps; ++sweep) {
      int64_t flips = 0;
      for (int64_t j = 0; j < n_; ++j) {
        for (int64_t r = 0; r < rows; ++r) flips += Flip(begin + r, j, g.data() + r * n_);
      }
      if (flips * 10000 < rows * n_) return;
    }
  }

  const SetScale& Scale(int64_t row, int64_t j) const {
    return rounded_
        ->scales[static_cast<size_t>(row * problem_.sets_a_row() + j / problem_.set_length)];
  }

  bool Flip(int64_t row, int64_t j, float* g) {
    const auto at = static_cast<size_t>(row * n_ + j);
    const SetScale& s = Scale(row, j);
    int8_t& stored = rounded_->q[at];
    const int32_t q = problem_.rule.symmetric ? stored : static_cast<uint8_t>(stored);
    // The neighbour on the other side of w, where the range has it.
    const float steps = problem_.w[at] / s.scale + static_cast<float>(s.zero_point);
    const float floor = std::floor(steps);
    const float other = static_cast<float>(q) == floor ? floor + 1 : floor;
    if (std::abs(static_cast<float>(q) - steps) > 1 || other < LowestInteger(problem_.rule) ||
        other > HighestInteger(problem_.rule)) {
      return false;
    }
    const float move = (other - static_cast<float>(q)) * s.scale;
    const float* const h = h_ + j * n_;
    if (!(move * move * h[j] - 2 * move * g[j] < 0)) return false;
    stored = static_cast<int8_t>(static_cast<int32_t>(other));
    for (int64_t k = 0; k < n_; ++k) g[k] -= move * h[k];
    return true;
  }

  const RoundingProblem& problem_;
  const RowPiece piece_;
  const int64_t n_;
  const float* const h_;
  RoundedRows* const rounded_;
};

}  // namespace

void ImproveByFlips(const RoundingProblem& problem, RoundedRows* rounded, Parallel& parallel) {
  const std::vector<RowPiece> pieces = RowPieces(problem);
  parallel.Run(static_cast<int64_t>(pieces.size()), [&](int64_t p) {
    FlipSearch(problem, pieces[static_cast<size_t>(p)], rounded).Go();
  });
}

}  // namespace lathe::engine
