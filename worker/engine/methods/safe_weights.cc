#include "worker/engine/methods/safe_weights.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/methods/layer_outcome.h"

namespace lathe::engine {
namespace {

constexpr int kMostRounds = 8;

double Worst(const std::vector<double>& ratios) {
  return ratios.empty() ? 0 : *std::max_element(ratios.begin(), ratios.end());
}

using Veto = std::function<std::string(const Weight&)>;

absl::Status Store(const StepContext& ctx, Model& model, const Veto& veto, Parallel& parallel,
                   StepOutcome* outcome) {
  Step step{.method = "quantize_weights", .params = {{"bits", int64_t{8}}}};
  for (const char* name : {"targets", "skip"}) {
    const auto given = ctx.step.params.find(name);
    if (given != ctx.step.params.end()) step.params.insert(*given);
  }
  StepOutcome unused;
  StepContext inner{model,
                    step,
                    ctx.seed,
                    parallel,
                    [](double, const std::string&) {},
                    ctx.cancelled,
                    outcome == nullptr ? unused : *outcome,
                    nullptr,
                    nullptr,
                    nullptr,
                    veto,
                    /*decode_small_tables=*/true};
  RETURN_IF_ERROR(ApplyQuantizeWeights(inner));
  RemoveUnusedConstants(model);
  return absl::OkStatus();
}

}  // namespace

absl::Status StoreWeightsIn8Bits(const StepContext& ctx, Model& model,
                                 const std::set<std::string>& kept_float, StepOutcome* outcome) {
  const Veto veto = [&kept_float](const Weight& weight) -> std::string {
    return kept_float.count(weight.name) == 0
               ? ""
               : "8 bits alone would harm the outputs too much (measured)";
  };
  return Store(ctx, model, veto, ctx.parallel, outcome);
}

absl::StatusOr<std::set<std::string>> FindUnsafeWeights(const StepContext& ctx,
                                                        const OutputNoise& noise,
                                                        double min_sqnr_db, int64_t most) {
  std::set<std::string> kept;
  const double allowed = std::pow(10.0, -min_sqnr_db / 10);
  const auto measure = [&]() -> absl::StatusOr<double> {
    Model model = CloneModel(ctx.model);
    RETURN_IF_ERROR(StoreWeightsIn8Bits(ctx, model, kept, nullptr));
    ASSIGN_OR_RETURN(const std::vector<double> ratios, noise.Ratios(model, noise.batches()));
    return Worst(ratios);
  };
  ASSIGN_OR_RETURN(double whole, measure());
  if (whole <= allowed || most <= 0) return kept;

  struct Share {
    std::string name;
    double noise = 0;
  };
  std::vector<Share> shares;
  for (const Weight& weight : FindWeights(ctx.model)) {
    if (ReasonToSkip(weight, ctx.step).empty()) shares.push_back({weight.name});
  }
  std::vector<absl::Status> statuses(shares.size());
  const int64_t batches = std::min<int64_t>(noise.batches(), 4);
  const auto threads =
      static_cast<size_t>(OutputNoise::CandidatesAtOnce(ctx.model, ctx.parallel.threads()));
  for (size_t done = 0; done < shares.size(); done += threads) {
    if (ctx.cancelled && ctx.cancelled()) return absl::CancelledError("the job was cancelled");
    const size_t wave = std::min(threads, shares.size() - done);
    ctx.parallel.Run(static_cast<int64_t>(wave), [&](int64_t k) {
      Share& share = shares[done + static_cast<size_t>(k)];
      Model model = CloneModel(ctx.model);
      const std::unique_ptr<Parallel> serial = MakeSerial();
      absl::Status& status = statuses[done + static_cast<size_t>(k)];
      status = Store(
          ctx, model,
          [&share](const Weight& w) { return std::string(w.name == share.name ? "" : "not now"); },
          *serial, nullptr);
      if (!status.ok()) return;
      const absl::StatusOr<std::vector<double>> ratios = noise.Ratios(model, batches);
      status = ratios.status();
      if (status.ok()) share.noise = Worst(*ratios);
    });
    ctx.progress(0.2 + 0.1 * static_cast<double>(done) / static_cast<double>(shares.size()),
                 absl::StrCat("which weights bear 8 bits (", done, " of ", shares.size(), ")"));
  }
  for (const absl::Status& status : statuses) RETURN_IF_ERROR(status);
  std::stable_sort(shares.begin(), shares.end(),
                   [](const Share& a, const Share& b) { return a.noise > b.noise; });
  double left = 0;
  for (const Share& share : shares) left += share.noise;
  size_t next = 0;
  double factor = whole < 0.3 && left > 0 ? whole / left : 1;
  const size_t end = std::min(shares.size(), static_cast<size_t>(most));
  for (int round = 0; round < kMostRounds && whole > allowed && next < end; ++round) {
    do {
      kept.insert(shares[next].name);
      left -= shares[next].noise;
      ++next;
    } while (next < end && left * factor > allowed);
    ASSIGN_OR_RETURN(whole, measure());
    if (left > 0) factor = std::max(factor, whole / left);
  }
  return kept;
}

}  // namespace lathe::engine
