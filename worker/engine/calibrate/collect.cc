#include "worker/engine/calibrate/collect.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <utility>

#include "common/status_macros.h"
#include "worker/engine/run/executor.h"

namespace lathe::engine {
namespace {

void AddChannels(const Value& value, int axis, ChannelStatistics* out) {
  const auto rank = static_cast<int>(value.dims.size());
  const int at = axis < 0 ? rank + axis : axis;
  if (at < 0 || at >= rank) return;
  const auto channels = static_cast<size_t>(value.dims[static_cast<size_t>(at)]);
  if (out->sum.empty()) {
    out->sum.assign(channels, 0.0);
    out->largest.assign(channels, 0.0f);
  }
  if (out->sum.size() != channels || channels == 0) return;
  int64_t inner = 1;
  for (int i = at + 1; i < rank; ++i) inner *= value.dims[static_cast<size_t>(i)];
  const std::span<const float> elements = value.As<float>();
  const int64_t outer = static_cast<int64_t>(elements.size()) /
                        std::max<int64_t>(1, inner * static_cast<int64_t>(channels));
  const float* x = elements.data();
  for (int64_t o = 0; o < outer; ++o) {
    for (size_t c = 0; c < channels; ++c) {
      float sum = 0;
      float largest = out->largest[c];
      for (int64_t i = 0; i < inner; ++i) {
        sum += x[i];
        largest = std::max(largest, std::abs(x[i]));
      }
      out->sum[c] += static_cast<double>(sum);
      out->largest[c] = largest;
      x += inner;
    }
  }
  out->elements += outer * inner;
}

}  // namespace

absl::StatusOr<Collected> Collect(const CollectRequest& request,
                                  const CalibrationData::Next& next) {
  Collected out;
  int64_t examples = 0;  // of the batch being run
  const auto see = [&](const std::string& name, const Value& value) {
    if (request.values.count(name) == 0 || !value.IsTensor() || value.dtype != DType::kFloat ||
        value.layout != Layout::kPlain) {
      return;
    }
    ValueStatistics& statistics = out.values[name];
    statistics.Add(value.As<float>(), examples);
    const auto axis = request.channel_axes.find(name);
    if (axis != request.channel_axes.end() && statistics.finite) {
      AddChannels(value, axis->second, &out.channels[name]);
    }
  };
  ExecutorOptions options;
  options.optimize = false;  // the values asked for must exist
  options.cancelled = request.cancelled;
  options.observe = [&](const Node& node, std::span<const Value>, std::span<const Value> outputs) {
    for (size_t i = 0; i < outputs.size() && i < node.outputs.size(); ++i) {
      see(node.outputs[i], outputs[i]);
    }
    return absl::OkStatus();
  };
  ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor,
                   Executor::Make(*request.model, options));
  for (;;) {
    ASSIGN_OR_RETURN(std::optional<CalibrationBatch> batch, next());
    if (!batch) return out;
    examples = batch->examples;
    for (const auto& [name, value] : batch->inputs) see(name, value);
    RETURN_IF_ERROR(executor->Run(batch->inputs).status());
    out.examples += batch->examples;
    if (request.progress) request.progress(out.examples);
  }
}

}  // namespace lathe::engine
