#include "worker/engine/evaluate/layer_summary.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace lathe::engine {
namespace {

// Measured and claimed error agree within this share, or this much of the weight's norm: claims are
// made on values before they are packed, and both are sums of rounded numbers.
constexpr double kAgreement = 0.02;
constexpr double kNoise = 1e-5;

class Summarizer {
 public:
  explicit Summarizer(const ReportInput& input) : input_(input) {}

  std::vector<LayerSummary> Run(std::vector<std::string>* warnings) {
    for (const LayerMeasure& measure : input_.measures) {
      LayerSummary& layer = Layer(measure.name);
      layer.op = measure.op;
      layer.dims = measure.dims;
      layer.parameters = measure.parameters_before;
      layer.parameters_after = measure.parameters_after;
    }
    for (size_t i = 0; i < input_.steps.size(); ++i) AddStep(i);
    for (const LayerMeasure& measure : input_.measures) {
      Finish(measure, Layer(measure.name), warnings);
    }
    for (LayerSummary& layer : layers_) SetReason(layer);
    return std::move(layers_);
  }

 private:
  LayerSummary& Layer(const std::string& name) {
    const auto [slot, fresh] = index_.emplace(name, layers_.size());
    if (fresh) {
      layers_.emplace_back();
      layers_.back().name = name;
    }
    return layers_[slot->second];
  }

  void AddStep(size_t at) {
    const StepRecord& record = input_.steps[at];
    std::set<std::string> met;  // layers, in this step
    for (const LayerOutcome& outcome : record.outcome.layers) {
      const auto origin = record.origins.find(outcome.name);
      LayerSummary& layer = Layer(origin == record.origins.end() ? outcome.name : origin->second);
      const bool another_part = !met.insert(layer.name).second;
      if (layer.op.empty()) layer.op = outcome.op;
      if (layer.parameters == 0 && layer.steps.empty()) layer.parameters = outcome.parameters;
      if (layer.steps.empty()) layer.bytes_before = outcome.bytes_before;
      layer.bytes_after = outcome.bytes_after + (another_part ? layer.bytes_after : 0);
      layer.steps.push_back({static_cast<int>(at), record.step.method, outcome});
      if (!outcome.skipped_reason.empty()) continue;
      if (layer.scheme.find(outcome.scheme) == std::string::npos) {
        absl::StrAppend(&layer.scheme, layer.scheme.empty() ? "" : "; ", outcome.scheme);
      }
      if (outcome.bits) layer.bits = outcome.bits;
      if (outcome.requested_bits) layer.requested_bits = outcome.requested_bits;
      if (outcome.rank) layer.rank = outcome.rank;
      if (outcome.sparsity) layer.sparsity = outcome.sparsity;
    }
  }

  static void Finish(const LayerMeasure& measure, LayerSummary& layer,
                     std::vector<std::string>* warnings) {
    std::vector<const LayerStep*> done;
    for (const LayerStep& step : layer.steps) {
      if (step.outcome.skipped_reason.empty()) done.push_back(&step);
    }
    if (done.empty()) return;
    if (std::any_of(done.begin(), done.end(),
                    [](const LayerStep* step) { return step->outcome.rescaled; })) {
      layer.not_measured =
          "its weights were rescaled together with what they meet, so they differ from the "
          "original's by more than their error";
      if (done.size() == 1) layer.relative_error = done[0]->outcome.relative_error;
      return;
    }
    layer.not_measured = measure.not_measured;
    if (!measure.relative_error) return;
    layer.relative_error = measure.relative_error;
    if (measure.parameters_after > 0) {
      layer.sparsity = 1 - static_cast<double>(measure.nonzero_after) /
                               static_cast<double>(measure.parameters_after);
    }
    if (done.size() != 1 || !done[0]->outcome.relative_error) return;
    const double claimed = *done[0]->outcome.relative_error;
    const double measured = *measure.relative_error;
    if (std::abs(claimed - measured) <= kAgreement * std::max(claimed, measured) + kNoise) return;
    warnings->push_back(absl::StrCat(
        "layer '", layer.name, "': ", done[0]->method, " states a relative error of ", claimed,
        ", but what was written differs from the original by ", measured, "; please report this"));
  }

  // Why no step did anything: one reason, or each step's.
  static void SetReason(LayerSummary& layer) {
    std::vector<std::string> reasons;
    std::set<std::string> distinct;
    for (const LayerStep& step : layer.steps) {
      if (step.outcome.skipped_reason.empty()) return;
      distinct.insert(step.outcome.skipped_reason);
      reasons.push_back(absl::StrCat(step.method, ": ", step.outcome.skipped_reason));
    }
    layer.skipped_reason = distinct.size() == 1 ? *distinct.begin() : absl::StrJoin(reasons, "; ");
  }

  const ReportInput& input_;
  std::vector<LayerSummary> layers_;
  std::unordered_map<std::string, size_t> index_;
};

}  // namespace

std::vector<LayerSummary> SummarizeLayers(const ReportInput& input,
                                          std::vector<std::string>* warnings) {
  return Summarizer(input).Run(warnings);
}

}  // namespace lathe::engine
