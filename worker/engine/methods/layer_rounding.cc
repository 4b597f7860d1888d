#include "worker/engine/methods/layer_rounding.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "worker/engine/methods/adaround.h"
#include "worker/engine/methods/awq.h"
#include "worker/engine/methods/hqq.h"
#include "worker/engine/methods/input_scales.h"
#include "worker/engine/methods/weight_rows.h"

namespace lathe::engine {

struct LayerRounder::Problem {
  RoundingProblem plain;            // as the weight is
  RoundingProblem scaled;           // divided by the second scales
  std::vector<float> input_scales;  // of `scaled`
  std::vector<float> divisors;      // the same for each column
  QuantizedLayout rows;             // what lays the rows out; of one set: that of channels
  int64_t inputs = 0;               // of the source's reduction axis; 0: no second scales
  std::vector<double> row_weights;  // of an embedding
};

struct LayerRounder::Attempt {
  RoundedRows rounded;
  std::vector<float> input_scales;
  std::vector<float> decoded;  // [rows, length], multiplied again
  double error = 0;            // OutputError of the plain problem
};

namespace {

// Of each column: `inputs` equal runs share one.
std::vector<float> Spread(const std::vector<float>& scales, int64_t length) {
  if (scales.empty()) return {};
  const int64_t run = length / static_cast<int64_t>(scales.size());
  std::vector<float> out(static_cast<size_t>(length));
  for (int64_t j = 0; j < length; ++j) {
    out[static_cast<size_t>(j)] = scales[static_cast<size_t>(j / run)];
  }
  return out;
}

// What was rounded, as what the layer computes with.
std::vector<float> DecodeScaled(const RoundingProblem& scaled, const RoundedRows& rounded,
                                const std::vector<float>& divisors) {
  std::vector<float> decoded = DecodeRows(scaled, rounded);
  if (divisors.empty()) return decoded;
  for (size_t i = 0; i < decoded.size(); ++i) decoded[i] *= divisors[i % divisors.size()];
  return decoded;
}

}  // namespace

LayerRounder::Problem LayerRounder::MakeProblem(const Weight& weight, const WeightStorage& storage,
                                                const LayerInputs& inputs, bool half_scales) {
  const Tensor& source = SourceTensor(weight);
  Problem out;
  out.rows = storage.layout;
  RoundingProblem& p = out.plain;
  p.rule = {storage.bits, settings_->symmetric, false};
  p.clip = settings_->clip;
  p.half_scales = half_scales;
  if (storage.layout.granularity == Granularity::kTensor) {
    p.one_set = true;
    out.rows = PlanLayout(weight, Granularity::kChannel, 0);
  }
  const RowOrder order = RowsOf(source.dims, out.rows);
  p.rows = order.rows();
  p.length = order.length();
  p.set_length = storage.layout.granularity == Granularity::kGroup ? storage.layout.group_size
                                                                   : std::max<int64_t>(1, p.length);
  ReadRoom room;
  const float* const values = ReadRows(source, order, 0, p.rows, room);
  p.w.assign(values, values + p.rows * p.length);
  if (inputs.moments != nullptr && inputs.moments->length == p.length &&
      p.rows % inputs.moments->parts == 0) {
    p.moments = inputs.moments;
  }
  if (inputs.lookups != nullptr && static_cast<int64_t>(inputs.lookups->size()) == p.rows) {
    out.row_weights = *inputs.lookups;
    // Rows that no example reads count a little: others may.
    for (double& count : out.row_weights) count += 1e-3;
  }
  const int axis = weight.uses[0].source_reduction_axis;
  if (axis >= 0 && storage.form != WeightForm::kBlockLookup) {
    const int64_t count = weight.dims[static_cast<size_t>(axis)];
    if (count > 0 && p.length % count == 0) out.inputs = count;
  }
  if (storage.layout.granularity == Granularity::kChannel && axis >= 0) {
    RoundingRule rule = p.rule;
    rule.clip_mse = settings_->clip != Clip::kNone;
    out.input_scales =
        FindInputScales(source, axis, storage.layout, rule, out.row_weights, *parallel_);
    out.divisors = InputDivisors(source.dims, storage.layout, axis, out.input_scales);
  }
  out.scaled = Divided(p, out.divisors);
  return out;
}

LayerRounder::Attempt LayerRounder::Nearest(const Problem& problem) {
  // By what the recipe without an algorithm would do: its error is what others are held against.
  const auto round = [&](Clip clip) {
    RoundingProblem scaled = problem.scaled;
    scaled.clip = clip;
    Attempt out;
    out.rounded = RoundNearest(scaled, *parallel_);
    out.input_scales = problem.input_scales;
    out.decoded = DecodeScaled(scaled, out.rounded, problem.divisors);
    out.error = OutputError(problem.plain, out.decoded, *parallel_);
    return out;
  };
  return round(settings_->clip == Clip::kNone ? Clip::kNone : Clip::kWeights);
}

std::optional<LayerRounder::Attempt> LayerRounder::Gptq(const Problem& problem,
                                                        const LayerInputs& inputs,
                                                        std::string* why) {
  if (factors_of_ != inputs.source || inputs.source == SIZE_MAX) {
    factors_ = FactorForGptq(*problem.plain.moments, settings_->act_order);
    factors_of_ = inputs.source;
  }
  if (!factors_.ok()) {
    *why = std::string(factors_.status().message());
    return std::nullopt;
  }
  Attempt out;
  out.rounded = RoundByGptq(problem.scaled, *factors_, problem.divisors, *parallel_);
  out.input_scales = problem.input_scales;
  out.decoded = DecodeScaled(problem.scaled, out.rounded, problem.divisors);
  out.error = OutputError(problem.plain, out.decoded, *parallel_);
  return out;
}

LayerRounder::Attempt LayerRounder::Awq(const Problem& problem) {
  std::vector<float> scales;
  if (problem.inputs > 0) scales = FindAwqScales(problem.plain, problem.inputs, *parallel_);
  const std::vector<float> divisors = Spread(scales, problem.plain.length);
  RoundingProblem scaled = Divided(problem.plain, divisors);
  std::optional<Attempt> best;
  for (const Clip clip : {settings_->clip, Clip::kOutput}) {
    scaled.clip = clip;
    Attempt out;
    out.rounded = RoundNearest(scaled, *parallel_);
    out.input_scales = scales;
    out.decoded = DecodeScaled(scaled, out.rounded, divisors);
    out.error = OutputError(problem.plain, out.decoded, *parallel_);
    if (!best || out.error < best->error || !out.rounded.half_fits) best = std::move(out);
    if (!best->rounded.half_fits || problem.plain.one_set) break;
  }
  return *std::move(best);
}

std::optional<LayerRounder::Attempt> LayerRounder::ByAlgorithm(const Problem& problem,
                                                               const LayerInputs& inputs,
                                                               const Attempt& nearest,
                                                               std::string* why) {
  const bool asks_inputs = settings_->algorithm != RoundingAlgorithm::kHqq;
  if (asks_inputs && problem.plain.moments == nullptr) {
    *why = !inputs.why_not.empty()     ? inputs.why_not
           : inputs.lookups != nullptr ? "its rows are looked up, each for itself"
           : inputs.moments != nullptr ? "its inputs do not line up with what shares a scale"
                                       : "it has no inputs to learn from";
    return std::nullopt;
  }
  Attempt out;
  switch (settings_->algorithm) {
    case RoundingAlgorithm::kGptq:
      return Gptq(problem, inputs, why);
    case RoundingAlgorithm::kAwq:
      return Awq(problem);
    case RoundingAlgorithm::kHqq:
      out.rounded = RoundByHqq(problem.scaled, *parallel_);
      break;
    case RoundingAlgorithm::kAdaRound:
    case RoundingAlgorithm::kNearest:
      // Ranges by the output, where the recipe asks for them.
      out.rounded = RoundNearest(problem.scaled, *parallel_);
      if (out.rounded.half_fits && settings_->algorithm == RoundingAlgorithm::kAdaRound) {
        ImproveByFlips(problem.scaled, &out.rounded, *parallel_);
      }
      break;
  }
  out.input_scales = problem.input_scales;
  out.decoded = DecodeScaled(problem.scaled, out.rounded, problem.divisors);
  out.error = OutputError(problem.plain, out.decoded, *parallel_);
  return out;
}

RoundedLayer LayerRounder::Round(const Weight& weight, const WeightStorage& storage,
                                 const LayerInputs& inputs) {
  const RoundingAlgorithm algorithm = settings_->algorithm;
  const bool plain_nearest =
      algorithm == RoundingAlgorithm::kNearest && settings_->clip != Clip::kOutput;
  for (bool half : {storage.half_scales(), false}) {
    const Problem problem = MakeProblem(weight, storage, inputs, half);
    Attempt best = Nearest(problem);
    if (!best.rounded.half_fits) continue;
    RoundedLayer out;
    if (!plain_nearest) {
      std::string why;
      std::optional<Attempt> other = ByAlgorithm(problem, inputs, best, &why);
      if (other && !other->rounded.half_fits) continue;
      std::string name = AlgorithmName(algorithm);
      if (algorithm == RoundingAlgorithm::kNearest) name = "clip by output";
      if (!other) {
        out.how = absl::StrCat("nearest, not ", name, ": ", why);
      } else if (algorithm == RoundingAlgorithm::kHqq) {
        out.how = name;  // what it minimizes is another error
        best = *std::move(other);
      } else if (other->error < best.error) {
        out.how = absl::StrCat(name, ": output error ",
                               absl::StrFormat("%.3g", std::sqrt(other->error / best.error)),
                               " of nearest's");
        best = *std::move(other);
      } else {
        out.how = absl::StrCat("nearest: ", name, " is no better here");
      }
    }
    // From rows to the source's layout.
    const RowOrder order = RowsOf(weight.dims, problem.rows);
    out.decoded.resize(best.decoded.size());
    order.Scatter(best.decoded.data(), 0, problem.plain.rows,
                  reinterpret_cast<float*>(out.decoded.data()));
    std::vector<SetScale> scales = best.rounded.scales;
    std::vector<int8_t> q = best.rounded.q;
    if (problem.plain.one_set) {
      order.Scatter(best.rounded.q.data(), 0, problem.plain.rows, q.data());
      scales.resize(1);
    }
    out.stored = StoreRows(weight.dims, storage.layout, q, scales, settings_->symmetric,
                           storage.nibbles && storage.form != WeightForm::kMatMulNBits, half);
    for (size_t i = 0; i < best.decoded.size(); ++i) {
      const double w = problem.plain.w[i];
      const double e = w - static_cast<double>(best.decoded[i]);
      out.stored.squared_error += e * e;
      out.stored.squared_norm += w * w;
    }
    out.input_scales = std::move(best.input_scales);
    return out;
  }
  return {};  // not reached: float32 scales always fit
}

double LayerRounder::RelativeError(const Weight& weight, const WeightStorage& storage,
                                   const LayerInputs& inputs) {
  const Problem problem = MakeProblem(weight, storage, inputs, false);
  const Attempt nearest = Nearest(problem);
  if (problem.row_weights.empty()) {
    const double energy = OutputEnergy(problem.plain, *parallel_);
    return energy > 0 ? nearest.error / energy : 0;
  }
  double error = 0;
  double energy = 0;
  for (int64_t r = 0; r < problem.plain.rows; ++r) {
    const double times = problem.row_weights[static_cast<size_t>(r)];
    for (int64_t j = 0; j < problem.plain.length; ++j) {
      const auto at = static_cast<size_t>(r * problem.plain.length + j);
      const double w = problem.plain.w[at];
      const double e = w - static_cast<double>(nearest.decoded[at]);
      error += times * e * e;
      energy += times * w * w;
    }
  }
  return energy > 0 ? error / energy : 0;
}

}  // namespace lathe::engine
