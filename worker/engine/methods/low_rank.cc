// Low-rank factorization: a weight matrix is replaced by the product of two thin ones.
//
//   W [m, n] ~ U diag(s) V^T = (U diag(sqrt s)) (diag(sqrt s) V^T),  U [m, r], s [r], V [n, r],
//
// the first r singular triples, which is the best approximation of rank r in the Frobenius norm
// (Eckart and Young, 1936; for networks: Denton et al., 1404.0736, section 3). Splitting sqrt(s)
// over both sides gives the factors one scale, which later quantization likes.
//
//   rank r:           that rank.
//   energy tau:       the least r with sum_{i <= r} s_i^2 >= tau sum s_i^2. The default, 0.99.
//   parameter_ratio:  the largest r with r (m + n) <= ratio m n, at least 1.
//
// A layer is replaced only where the two factors cost less: r (m + n) < m n; otherwise it is left
// alone, and the report says what rank it would have needed. Gemm, MatMul and convolutions with a
// kernel of one element; see factored_weight.h for the graphs. How singular vectors are found:
// linalg/low_rank_factor.h.
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/recipe/catalogue.h"
#include "common/status_macros.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/linalg/low_rank_factor.h"
#include "worker/engine/linalg/products.h"
#include "worker/engine/methods/factored_weight.h"
#include "worker/engine/methods/layer_outcome.h"
#include "worker/engine/methods/method.h"

namespace lathe::engine {
namespace {

constexpr double kDefaultEnergy = 0.99;

class LowRank {
 public:
  explicit LowRank(StepContext& ctx) : ctx_(ctx), names_(ctx.model) {}

  absl::Status Run() {
    const std::vector<Weight> weights = FindWeights(ctx_.model);
    NoteUnmatchedTargets(ctx_, weights);
    bool replaced = false;
    for (size_t i = 0; i < weights.size(); ++i) {
      RETURN_IF_ERROR(StartLayer(ctx_, i, weights.size(), weights[i].name));
      LayerOutcome outcome = NewOutcome(weights[i]);
      outcome.skipped_reason = ReasonToSkip(weights[i], ctx_.step);
      if (outcome.skipped_reason.empty()) {
        RETURN_IF_ERROR(ApplyTo(weights[i], ctx_.seed + i, outcome));
        replaced = replaced || outcome.skipped_reason.empty();
      }
      ctx_.outcome.layers.push_back(std::move(outcome));
    }
    if (replaced) RemoveUnusedConstants(ctx_.model);
    return absl::OkStatus();
  }

 private:
  absl::Status ApplyTo(const Weight& weight, uint64_t seed, LayerOutcome& outcome) {
    WeightMatrix view;
    outcome.skipped_reason = ViewAsMatrix(weight, view);
    outcome.not_applicable = !outcome.skipped_reason.empty();
    if (outcome.not_applicable) return absl::OkStatus();
    const int64_t useful = LargestUsefulRank(view.m, view.n);
    const LowRankRequest request = Request(view, useful, seed);
    if (useful < 1) {
      outcome.skipped_reason = absl::StrCat("two factors of a ", view.m, " x ", view.n,
                                            " matrix are never smaller than it");
      return absl::OkStatus();
    }
    if (request.rank > useful) {
      outcome.skipped_reason = TooLarge(request, request.rank, useful, false);
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(std::vector<float> values, ReadWeight(weight));
    absl::StatusOr<LowRankFactors> factors =
        FactorLowRank(view.m, view.n, values, request, ctx_.parallel);
    if (!factors.ok()) {
      outcome.skipped_reason = std::string(factors.status().message());
      return absl::OkStatus();
    }
    if (!factors->complete) {
      outcome.skipped_reason =
          TooLarge(request, factors->rank, useful, request.algorithm == SvdAlgorithm::kRandomized);
      return absl::OkStatus();
    }
    if (factors->rank == 0) {
      outcome.skipped_reason = "all its values are zero";
      return absl::OkStatus();
    }
    return Replace(weight, view, std::move(values), *std::move(factors), outcome);
  }

  LowRankRequest Request(const WeightMatrix& view, int64_t useful, uint64_t seed) const {
    LowRankRequest request;
    request.max_rank = useful;
    request.seed = seed;
    const std::string algorithm = GetString(ctx_.step, "algorithm");
    if (algorithm == "exact") request.algorithm = SvdAlgorithm::kExact;
    if (algorithm == "randomized") request.algorithm = SvdAlgorithm::kRandomized;
    if (IsGiven(ctx_.step, "rank")) {
      request.rank = GetInt(ctx_.step, "rank");
    } else if (IsGiven(ctx_.step, "parameter_ratio")) {
      request.rank = RankForParameterRatio(view.m, view.n, GetDouble(ctx_.step, "parameter_ratio"));
    } else {
      request.energy =
          IsGiven(ctx_.step, "energy") ? GetDouble(ctx_.step, "energy") : kDefaultEnergy;
    }
    return request;
  }

  static std::string TooLarge(const LowRankRequest& request, int64_t needed, int64_t useful,
                              bool bound) {
    return absl::StrCat(request.energy > 0 ? absl::StrCat("energy ", request.energy, " needs rank ")
                                           : std::string("factors of rank "),
                        needed, bound ? " or more" : "",
                        request.energy > 0 ? "" : " are no smaller", "; only ranks up to ", useful,
                        " save anything");
  }

  absl::Status Replace(const Weight& weight, const WeightMatrix& view, std::vector<float> values,
                       LowRankFactors factors, LayerOutcome& outcome) {
    const int64_t r = factors.rank;
    std::vector<float> root(static_cast<size_t>(r));
    for (size_t j = 0; j < root.size(); ++j) root[j] = std::sqrt(factors.s[j]);
    std::vector<float> left = std::move(factors.u);
    for (size_t i = 0; i < left.size(); ++i) left[i] *= root[i % root.size()];
    std::vector<float> right = std::move(factors.vt);
    for (size_t i = 0; i < right.size(); ++i) {
      right[i] *= root[i / static_cast<size_t>(view.n)];
    }
    absl::StatusOr<std::vector<float>> rounded_left = RoundedTo(weight.dtype, std::move(left));
    absl::StatusOr<std::vector<float>> rounded_right = RoundedTo(weight.dtype, std::move(right));
    if (!rounded_left.ok() || !rounded_right.ok()) {
      const absl::Status& status =
          rounded_left.ok() ? rounded_right.status() : rounded_left.status();
      outcome.skipped_reason = std::string(status.message());
      return absl::OkStatus();
    }
    const double change = SquaredResidual(view.m, view.n, r, values.data(), rounded_left->data(),
                                          rounded_right->data(), ctx_.parallel);
    SetError(outcome, change, SquaredNorm(values.data(), view.m * view.n, ctx_.parallel));
    std::vector<float>().swap(values);  // the factors may be nearly as large
    outcome.rank = r;
    outcome.scheme =
        absl::StrCat("rank ", r, " of ", std::min(view.m, view.n), ", ", factors.algorithm);
    outcome.bytes_after = DTypeBytes(weight.dtype, r * (view.m + view.n)).value_or(0);
    const std::vector<DType> types = TypesSeen(ctx_.model, weight);
    ReplaceByFactors(ctx_.model, names_, weight, view, types, r, *std::move(rounded_left),
                     *std::move(rounded_right));
    return absl::OkStatus();
  }

  StepContext& ctx_;
  NameScope names_;
};

}  // namespace

absl::Status ApplyLowRank(StepContext& ctx) { return LowRank(ctx).Run(); }

}  // namespace lathe::engine
