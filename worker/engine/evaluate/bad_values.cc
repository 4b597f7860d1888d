#include "worker/engine/evaluate/bad_values.h"

#include <cmath>
#include <memory>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/graph/scopes.h"
#include "worker/engine/run/executor.h"

namespace lathe::engine {

int64_t CountBad(const Value& value) {
  if (!value.IsTensor()) return 0;
  int64_t bad = 0;
  switch (value.dtype) {
    case DType::kFloat:
      for (const float v : value.As<float>()) bad += !std::isfinite(v);
      return bad;
    case DType::kDouble:
      for (const double v : value.As<double>()) bad += !std::isfinite(v);
      return bad;
    case DType::kFloat16:
      for (const uint16_t v : value.As<uint16_t>()) bad += (v & 0x7c00) == 0x7c00;
      return bad;
    case DType::kBfloat16:
      for (const uint16_t v : value.As<uint16_t>()) bad += (v & 0x7f80) == 0x7f80;
      return bad;
    default:
      return 0;
  }
}

absl::StatusOr<std::string> FirstBadNode(const Model& model,
                                         const std::map<std::string, Value>& inputs,
                                         std::function<bool()> cancelled) {
  std::string found;
  ExecutorOptions options;
  options.optimize = false;
  options.cancelled = std::move(cancelled);
  options.observe = [&found](const Node& node, std::span<const Value> given,
                             std::span<const Value> outputs) {
    if (!found.empty()) return absl::OkStatus();
    for (const Value& output : outputs) {
      const int64_t bad = CountBad(output);
      if (bad == 0) continue;
      int64_t before = 0;
      for (const Value& input : given) before += CountBad(input);
      found = absl::StrCat(DescribeNode(node), " gives ", bad, " NaN or infinite values of ",
                           output.size(),
                           before == 0 ? ", from inputs without any" : ", as do its inputs");
      break;
    }
    return absl::OkStatus();
  };
  ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor, Executor::Make(model, options));
  RETURN_IF_ERROR(executor->Run(inputs).status());
  return found;
}

}  // namespace lathe::engine
