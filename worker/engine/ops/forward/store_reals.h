// Outputs of any numeric type from reals.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_STORE_REALS_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_STORE_REALS_H_

#include <cstdint>
#include <type_traits>

#include "absl/status/status.h"
#include "worker/engine/ops/forward/elementwise.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

// Element k of `out` = fn(k), a double, in order; integers are cut off and saturate, bool is
// whether it is not 0. INVALID_ARGUMENT for other types than floats, bool and integers of whole
// bytes.
template <class Fn>
absl::Status StoreReals(const RunContext& ctx, Value& out, Fn&& fn) {
  const int64_t count = out.size();
  if (out.dtype == DType::kFloat16 || out.dtype == DType::kBfloat16) {
    auto* to = out.Mutable<uint16_t>().data();
    for (int64_t k = 0; k < count; ++k) {
      const auto value = static_cast<float>(fn(k));
      to[k] = out.dtype == DType::kFloat16 ? FloatToHalf(value) : FloatToBfloat16(value);
    }
    return absl::OkStatus();
  }
  if (out.dtype == DType::kBool) {
    auto* to = out.Mutable<uint8_t>().data();
    for (int64_t k = 0; k < count; ++k) to[k] = fn(k) != 0;
    return absl::OkStatus();
  }
  return VisitNumber(ctx, out.dtype, [&](auto zero) {
    using T = decltype(zero);
    T* to = out.Mutable<T>().data();
    for (int64_t k = 0; k < count; ++k) {
      if constexpr (std::is_integral_v<T>) {
        to[k] = Saturated<T>(fn(k));
      } else {
        to[k] = static_cast<T>(fn(k));
      }
    }
    return absl::OkStatus();
  });
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_STORE_REALS_H_
