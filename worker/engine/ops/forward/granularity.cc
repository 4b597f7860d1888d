#include "worker/engine/ops/forward/granularity.h"

#include "worker/engine/ops/forward/value_read.h"

namespace lathe::engine {

std::vector<float> ReadFloats(const Value& value) {
  if (value.dtype == DType::kFloat) {
    const std::span<const float> all = value.As<float>();
    return {all.begin(), all.end()};
  }
  std::vector<float> out(static_cast<size_t>(value.size()));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(ReadNumber(value, static_cast<int64_t>(i)));
  }
  return out;
}

}  // namespace lathe::engine
