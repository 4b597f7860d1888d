// Operators of one input that compute each element from itself.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_MAP_ELEMENTS_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_MAP_ELEMENTS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "common/status_macros.h"
#include "worker/engine/kernels/elementwise.h"
#include "worker/engine/ops/forward/elementwise.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

// Makes the elements past C zero again in a blocked value.
void ClearPadding(Value& value);

// A kernel of kernels/elementwise.h with its parameters.
struct VectorMap {
  MapOp op;
  float alpha = 0;
  float beta = 0;
};

// Output 0 = fn(input 0), element by element and in place where it can be; input 0 is a tensor of
// T. Fn may name a kernel for float32 by Vector(). Takes blocked inputs.
template <class T, class Fn>
absl::Status MapTyped(RunContext& ctx, const Fn& fn) {
  const Value& in = ctx.In(0);
  ASSIGN_OR_RETURN(Value * out, ctx.OutInPlace(0, 0, in.dtype, in.dims, in.layout));
  const auto* from = reinterpret_cast<const T*>(in.data);
  auto* to = reinterpret_cast<T*>(out->buffer->data());
  const int64_t count = in.bytes() / static_cast<int64_t>(sizeof(T));
  if constexpr (std::is_same_v<T, float> && requires { fn.Vector(); }) {
    const VectorMap map = fn.Vector();
    ApplyMap(map.op, map.alpha, map.beta, from, count, to);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = fn(from[i]);
  }
  if (in.layout != Layout::kPlain && fn(T(0)) != T(0)) ClearPadding(*out);
  return absl::OkStatus();
}

// Likewise, for inputs of the types of `kinds`.
template <unsigned kinds, class Fn>
absl::Status MapElements(RunContext& ctx, const Fn& fn) {
  RETURN_IF_ERROR(CheckTensors(ctx, 1));
  return VisitNumber<kinds>(ctx, ctx.In(0).dtype,
                            [&](auto zero) { return MapTyped<decltype(zero)>(ctx, fn); });
}

// Of an operator without parameters: Fn is made from nothing.
template <unsigned kinds, class Fn>
absl::Status Mapped(RunContext& ctx) {
  return MapElements<kinds>(ctx, Fn());
}

// How operators on floats are called that MapElements computes.
inline constexpr unsigned kMapFlags = kComputesInFloat | kTakesDouble | kTakesBlocked;

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_MAP_ELEMENTS_H_
