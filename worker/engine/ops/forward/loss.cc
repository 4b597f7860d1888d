// Losses over classes: scores [N, C, d1, ...], labels [N, d1, ...], weights [C] if given.
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/elementwise.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/value_read.h"

namespace lathe::engine {
namespace {

// Scores as [outer, classes, inner], and what the labels of each position say.
struct Problem {
  int64_t outer = 0;
  int64_t classes = 0;
  int64_t inner = 0;
  Shape label_dims;
  std::vector<int64_t> labels;  // -1 where ignored
  std::vector<double> weights;  // one a label
  std::string reduction;
};

absl::StatusOr<Problem> Read(const RunContext& ctx) {
  RETURN_IF_ERROR(CheckTensors(ctx, 2));
  const Shape& scores = ctx.In(0).dims;
  Problem problem;
  problem.label_dims = ctx.In(1).dims;
  if (scores.size() < 2) return ctx.Error("scores must be [N, C, ...]");
  Shape expected = scores;
  expected.erase(expected.begin() + 1);
  if (problem.label_dims != expected) return ctx.Error("labels must be [N, ...] as the scores are");
  problem.outer = scores[0];
  problem.classes = scores[1];
  problem.inner = 1;
  for (size_t i = 2; i < scores.size(); ++i) problem.inner *= scores[i];
  problem.reduction = ctx.node().StringAttribute("reduction", "mean");
  if (problem.reduction != "mean" && problem.reduction != "sum" && problem.reduction != "none") {
    return ctx.Error(
        absl::StrCat("reduction must be mean, sum or none, not '", problem.reduction, "'"));
  }
  if (ctx.Has(2)) {
    const Value& weights = ctx.In(2);
    if (!weights.IsTensor() || weights.dtype != ctx.In(0).dtype ||
        weights.dims != Shape{problem.classes}) {
      return ctx.Error("weights must be [C], of the scores' type");
    }
  }
  std::optional<int64_t> ignored;
  if (ctx.node().FindAttribute("ignore_index") != nullptr) {
    ignored = ctx.node().IntAttribute("ignore_index", 0);
  }
  ASSIGN_OR_RETURN(problem.labels, ctx.Ints(1));
  problem.weights.assign(problem.labels.size(), 1);
  for (size_t i = 0; i < problem.labels.size(); ++i) {
    int64_t& label = problem.labels[i];
    if (label == ignored) {
      label = -1;
      problem.weights[i] = 0;
      continue;
    }
    if (label < 0 || label >= problem.classes) {
      return ctx.Error(absl::StrCat("label ", label, " at ", i, " is not one of the ",
                                    problem.classes, " classes"));
    }
    if (ctx.Has(2)) problem.weights[i] = ReadNumber(ctx.In(2), label);
  }
  return problem;
}

// Output 0 from logarithms of probabilities [N, C, d1, ...].
template <class T>
absl::Status Reduce(RunContext& ctx, const Problem& problem, const T* logs) {
  const bool each = problem.reduction == "none";
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0, ctx.In(0).dtype, each ? problem.label_dims : Shape{}));
  T* losses = out->Mutable<T>().data();
  double sum = 0;
  double weight = 0;
  for (size_t i = 0; i < problem.labels.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    const int64_t label = problem.labels[i];
    const int64_t row = at / problem.inner * problem.classes + label;
    const double loss =
        label < 0 ? 0 : -problem.weights[i] * logs[row * problem.inner + at % problem.inner];
    if (each) losses[i] = static_cast<T>(loss);
    sum += loss;
    weight += problem.weights[i];
  }
  if (!each) losses[0] = static_cast<T>(problem.reduction == "sum" ? sum : sum / weight);
  return absl::OkStatus();
}

absl::Status NegativeLogLikelihoodLoss(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Problem problem, Read(ctx));
  return VisitNumber<kFloats>(ctx, ctx.In(0).dtype, [&](auto zero) {
    return Reduce(ctx, problem, ctx.Data<decltype(zero)>(0).data());
  });
}

// log(softmax) over the classes.
template <class T>
void LogSoftmax(const Problem& problem, const T* scores, T* logs) {
  for (int64_t o = 0; o < problem.outer; ++o) {
    for (int64_t i = 0; i < problem.inner; ++i) {
      const int64_t first = o * problem.classes * problem.inner + i;
      double largest = -HUGE_VAL;
      for (int64_t c = 0; c < problem.classes; ++c) {
        largest = std::max(largest, static_cast<double>(scores[first + c * problem.inner]));
      }
      double sum = 0;
      for (int64_t c = 0; c < problem.classes; ++c) {
        sum += std::exp(scores[first + c * problem.inner] - largest);
      }
      const double log_sum = largest + std::log(sum);
      for (int64_t c = 0; c < problem.classes; ++c) {
        const int64_t at = first + c * problem.inner;
        logs[at] = static_cast<T>(scores[at] - log_sum);
      }
    }
  }
}

absl::Status SoftmaxCrossEntropyLoss(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Problem problem, Read(ctx));
  const Value& scores = ctx.In(0);
  return VisitNumber<kFloats>(ctx, scores.dtype, [&](auto zero) -> absl::Status {
    using T = decltype(zero);
    T* logs = nullptr;
    std::shared_ptr<Buffer> scratch;
    if (ctx.Wants(1)) {
      ASSIGN_OR_RETURN(Value * out, ctx.Out(1, scores.dtype, scores.dims));
      logs = out->Mutable<T>().data();
    } else {
      ASSIGN_OR_RETURN(scratch, ctx.Scratch(scores.bytes()));
      logs = reinterpret_cast<T*>(scratch->data());
    }
    LogSoftmax(problem, scores.As<T>().data(), logs);
    return Reduce(ctx, problem, static_cast<const T*>(logs));
  });
}

constexpr unsigned kReal = kComputesInFloat | kTakesDouble;

constexpr OpForward kForwards[] = {
    {"", "NegativeLogLikelihoodLoss", NegativeLogLikelihoodLoss, kReal},
    {"", "SoftmaxCrossEntropyLoss", SoftmaxCrossEntropyLoss, kReal},
};

}  // namespace

std::span<const OpForward> LossForwards() { return kForwards; }

}  // namespace lathe::engine
