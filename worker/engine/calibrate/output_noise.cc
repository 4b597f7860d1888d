#include "worker/engine/calibrate/output_noise.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/status_macros.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/run/executor.h"

namespace lathe::engine {
namespace {

constexpr double kInfinitelyOff = 1e30;

bool Comparable(const Value& value) {
  return value.IsTensor() && value.dtype == DType::kFloat && value.layout == Layout::kPlain;
}

}  // namespace

absl::StatusOr<OutputNoise> OutputNoise::Make(const Model& model, const CalibrationData::Next& next,
                                              int64_t max_examples,
                                              std::function<bool()> cancelled) {
  OutputNoise noise;
  noise.cancelled_ = cancelled;
  ExecutorOptions options;
  options.cancelled = std::move(cancelled);
  ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor, Executor::Make(model, options));
  noise.outputs_ = executor->output_names();
  noise.signal_.assign(noise.outputs_.size(), 0.0);
  int64_t bytes = 0;
  while (noise.examples_ < max_examples) {
    ASSIGN_OR_RETURN(const std::optional<CalibrationBatch> batch, next());
    if (!batch) break;
    ASSIGN_OR_RETURN(const std::vector<Value> outputs, executor->Run(batch->inputs));
    Kept kept;
    int64_t more = 0;
    for (const auto& [name, value] : batch->inputs) more += value.bytes();
    for (const Value& value : outputs) more += Comparable(value) ? value.bytes() : 0;
    if (!noise.batches_.empty() && bytes + more > kMaxKeptBytes) break;
    bytes += more;
    for (const auto& [name, value] : batch->inputs) kept.inputs[name] = value.ToTensor(name);
    for (size_t i = 0; i < outputs.size(); ++i) {
      Tensor& tensor = kept.outputs.emplace_back();
      if (!Comparable(outputs[i])) continue;
      tensor = outputs[i].ToTensor(noise.outputs_[i]);
      for (const float y : outputs[i].As<float>()) {
        if (std::isfinite(y)) noise.signal_[i] += static_cast<double>(y) * y;
      }
    }
    noise.examples_ += batch->examples;
    noise.batches_.push_back(std::move(kept));
  }
  return noise;
}

int64_t OutputNoise::CandidatesAtOnce(const Model& model, int threads) {
  constexpr int64_t kLargeModelBytes = int64_t{64} << 20;
  int64_t bytes = 0;
  ForEachGraph(model, [&bytes](const Graph& graph) {
    for (const auto& [name, tensor] : graph.initializers) bytes += tensor.byte_size();
    for (const auto& node : graph.nodes) {
      for (const Attribute& attribute : node->attributes) {
        for (const Tensor& tensor : attribute.tensors) bytes += tensor.byte_size();
      }
    }
  });
  return bytes > kLargeModelBytes ? 1 : threads;
}

bool OutputNoise::comparable() const {
  return std::any_of(signal_.begin(), signal_.end(), [](double s) { return s > 0; });
}

absl::StatusOr<std::vector<double>> OutputNoise::Ratios(const Model& changed,
                                                        int64_t batches) const {
  ExecutorOptions options;
  options.cancelled = cancelled_;
  ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor, Executor::Make(changed, options));
  std::vector<double> difference(outputs_.size(), 0.0);
  std::vector<double> signal(outputs_.size(), 0.0);
  const auto count = std::min<size_t>(batches_.size(), static_cast<size_t>(batches));
  for (size_t b = 0; b < count; ++b) {
    const Kept& kept = batches_[b];
    std::map<std::string, Value> inputs;
    for (const auto& [name, tensor] : kept.inputs) inputs[name] = Value::FromTensor(tensor);
    ASSIGN_OR_RETURN(const std::vector<Value> outputs, executor->Run(inputs));
    for (size_t i = 0; i < outputs.size() && i < outputs_.size(); ++i) {
      if (kept.outputs[i].dtype != DType::kFloat) continue;
      const Value wanted = Value::FromTensor(kept.outputs[i]);
      if (!Comparable(outputs[i]) || outputs[i].dims != wanted.dims) {
        difference[i] = kInfinitelyOff;  // an extent that the data decide came out otherwise
        continue;
      }
      const std::span<const float> y = wanted.As<float>();
      const std::span<const float> z = outputs[i].As<float>();
      for (size_t k = 0; k < y.size(); ++k) {
        const double d = static_cast<double>(y[k]) - z[k];
        if (!std::isfinite(y[k]) || !std::isfinite(d)) {
          if (std::isfinite(y[k]) != std::isfinite(z[k])) difference[i] = kInfinitelyOff;
          continue;
        }
        difference[i] += d * d;
        signal[i] += static_cast<double>(y[k]) * y[k];
      }
    }
  }
  std::vector<double> ratios;
  for (size_t i = 0; i < outputs_.size(); ++i) {
    // An output that is zero throughout has no ratio; a difference there is judged as it is.
    if (!(difference[i] > 0)) {
      ratios.push_back(0);
    } else {
      ratios.push_back(std::min(kInfinitelyOff, difference[i] / std::max(signal[i], 1e-20)));
    }
  }
  return ratios;
}

double WorstDb(const std::vector<double>& ratios) {
  double worst = 1e-20;
  for (const double ratio : ratios) worst = std::max(worst, ratio);
  return -10 * std::log10(worst);
}

}  // namespace lathe::engine
