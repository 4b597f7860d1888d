// What operators share that work element by element: types, broadcasting, where the output goes.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_ELEMENTWISE_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_ELEMENTWISE_H_

#include <array>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

// INVALID_ARGUMENT unless inputs 0 to count - 1 are given and are tensors.
absl::Status CheckTensors(const RunContext& ctx, size_t count);
// Likewise, and all of one type.
absl::Status CheckSameType(const RunContext& ctx, size_t count);

// RESOURCE_EXHAUSTED when an output would have more strings than kMaxStrings.
absl::Status CheckStringCount(const RunContext& ctx, int64_t count);
inline constexpr int64_t kMaxStrings = int64_t{1} << 24;

// Output 0 by the shape rule, in the memory of the first of `inputs` that it fits and that nobody
// else needs.
absl::StatusOr<Value*> OutOver(RunContext& ctx, std::initializer_list<size_t> inputs);

enum NumberKinds : unsigned { kInts = 1, kFloats = 2, kNumbers = 3 };

// Calls fn(T()) with the C++ type of `dtype`: the integers of whole bytes, float and double, those
// of `kinds`. INVALID_ARGUMENT for others.
template <unsigned kinds = kNumbers, class Fn>
absl::Status VisitNumber(const RunContext& ctx, DType dtype, Fn&& fn) {
  if constexpr ((kinds & kInts) != 0) {
    switch (dtype) {
      case DType::kUint8:
        return fn(uint8_t());
      case DType::kInt8:
        return fn(int8_t());
      case DType::kUint16:
        return fn(uint16_t());
      case DType::kInt16:
        return fn(int16_t());
      case DType::kUint32:
        return fn(uint32_t());
      case DType::kInt32:
        return fn(int32_t());
      case DType::kUint64:
        return fn(uint64_t());
      case DType::kInt64:
        return fn(int64_t());
      default:
        break;
    }
  }
  if constexpr ((kinds & kFloats) != 0) {
    if (dtype == DType::kFloat) return fn(float());
    if (dtype == DType::kDouble) return fn(double());
  }
  return ctx.Error(absl::StrCat("it does not take ", std::string(DTypeName(dtype))));
}

// Calls fn(T()) with an unsigned integer as wide as an element of `dtype`, for moving elements of
// one byte to eight; INVALID_ARGUMENT for others.
template <class Fn>
absl::Status VisitWidth(const RunContext& ctx, DType dtype, Fn&& fn) {
  switch (DTypeBits(dtype).value_or(0)) {
    case 8:
      return fn(uint8_t());
    case 16:
      return fn(uint16_t());
    case 32:
      return fn(uint32_t());
    case 64:
      return fn(uint64_t());
    default:
      return ctx.Error(absl::StrCat("it does not take ", std::string(DTypeName(dtype))));
  }
}

// Integers in which sums, differences and products of T wrap around instead of being undefined.
template <class T>
using Wrapping = std::common_type_t<unsigned, std::make_unsigned_t<T>>;

// An integer from a real: 0 of NaN, and the nearest of the type's range for what lies outside.
template <class T>
T Saturated(double value) {
  if (std::isnan(value)) return 0;
  // The largest int64 is no double: its successor is.
  if (value >= std::ldexp(1.0, std::numeric_limits<T>::digits)) {
    return std::numeric_limits<T>::max();
  }
  if (value <= static_cast<double>(std::numeric_limits<T>::min())) {
    return std::numeric_limits<T>::min();
  }
  return static_cast<T>(value);
}

// Walks a shape together with inputs that broadcast to it (numpy's rules), in runs in which every
// input either advances or stands still.
template <size_t n>
class BroadcastWalk {
 public:
  using Offsets = std::array<int64_t, n>;

  // nullopt when an input does not broadcast to `out`.
  static std::optional<BroadcastWalk> Make(const Shape& out,
                                           const std::array<const Shape*, n>& inputs) {
    BroadcastWalk walk;
    std::array<int64_t, n> strides;
    strides.fill(1);
    for (const Shape* in : inputs) {
      if (in->size() > out.size()) return std::nullopt;
    }
    for (size_t back = 1; back <= out.size(); ++back) {
      const int64_t extent = out[out.size() - back];
      Axis axis{extent, {}};
      for (size_t k = 0; k < n; ++k) {
        const Shape& in = *inputs[k];
        const int64_t own = back <= in.size() ? in[in.size() - back] : 1;
        if (own != extent && own != 1) return std::nullopt;
        axis.strides[k] = own == 1 ? 0 : strides[k];
        strides[k] *= own;
      }
      walk.empty_ |= extent == 0;
      if (extent != 1) walk.Push(axis);
    }
    if (walk.axes_.empty()) walk.axes_.push_back({1, {}});
    return walk;
  }

  // Elements of a run.
  int64_t run() const { return axes_[0].extent; }
  // How input `k` advances within a run: 0 or 1.
  int64_t step(size_t k) const { return axes_[0].strides[k]; }

  // fn(offset of the output, offsets of the inputs), in elements, for each run in order.
  template <class Fn>
  void ForEachRun(Fn&& fn) const {
    if (empty_) return;
    std::vector<int64_t> at(axes_.size(), 0);
    Offsets offsets{};
    for (int64_t out = 0;; out += run()) {
      fn(out, static_cast<const Offsets&>(offsets));
      size_t axis = 1;
      for (; axis < axes_.size(); ++axis) {
        for (size_t k = 0; k < n; ++k) offsets[k] += axes_[axis].strides[k];
        if (++at[axis] < axes_[axis].extent) break;
        for (size_t k = 0; k < n; ++k) offsets[k] -= axes_[axis].strides[k] * at[axis];
        at[axis] = 0;
      }
      if (axis == axes_.size()) return;
    }
  }

 private:
  struct Axis {
    int64_t extent;
    std::array<int64_t, n> strides;
  };

  // From the last axis on; those that all inputs walk as one are joined.
  void Push(const Axis& axis) {
    if (!axes_.empty()) {
      Axis& inner = axes_.back();
      bool joined = true;
      for (size_t k = 0; k < n; ++k) {
        joined &= axis.strides[k] == inner.strides[k] * inner.extent;
      }
      if (joined) {
        inner.extent *= axis.extent;
        return;
      }
    }
    axes_.push_back(axis);
  }

  std::vector<Axis> axes_;
  bool empty_ = false;
};

// out[i] = fn(a[i a_step], b[i b_step]); steps are 0 or 1.
template <class A, class B, class Out, class Fn>
void ForEachPair(const A* a, int64_t a_step, const B* b, int64_t b_step, int64_t count, Out* out,
                 const Fn& fn) {
  if (a_step != 0 && b_step != 0) {
    for (int64_t i = 0; i < count; ++i) out[i] = fn(a[i], b[i]);
  } else if (a_step != 0) {
    const B right = b[0];
    for (int64_t i = 0; i < count; ++i) out[i] = fn(a[i], right);
  } else {
    const A left = a[0];
    for (int64_t i = 0; i < count; ++i) out[i] = fn(left, b[i * b_step]);
  }
}

// Output element k = fn(element of a, element of b), broadcast to the output's shape; types by the
// caller. INVALID_ARGUMENT when a shape does not fit.
template <class A, class B, class Out, class Fn>
absl::Status BroadcastPair(const RunContext& ctx, const Value& a, const Value& b, Value& out,
                           const Fn& fn) {
  const auto walk = BroadcastWalk<2>::Make(out.dims, {&a.dims, &b.dims});
  if (!walk) return ctx.Error("the shapes do not broadcast");
  const A* left = a.As<A>().data();
  const B* right = b.As<B>().data();
  Out* to = out.Mutable<Out>().data();
  walk->ForEachRun([&](int64_t at, const auto& from) {
    ForEachPair(left + from[0], walk->step(0), right + from[1], walk->step(1), walk->run(), to + at,
                fn);
  });
  return absl::OkStatus();
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_ELEMENTWISE_H_
