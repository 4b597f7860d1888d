// Reduce*: sums, products, norms, extremes over axes. ArgMax and ArgMin are in arg_extreme.cc.
//
// Sums of floats are taken in float64: of n terms their error is n 2^-53 at most, so that it is the
// float32 result's own rounding that counts. Integer sums and products wrap around. Over no
// elements a sum is 0, a product 1, a maximum the type's lowest number (-inf), a minimum its
// highest, a mean of floats NaN and of integers 0. A NaN makes every float result NaN.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/kernels/reduce.h"
#include "worker/engine/ops/forward/arg_extreme.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/reduced_axes.h"

namespace lathe::engine {
namespace {

template <typename T>
using Wide = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;

struct Plain {
  template <typename W, typename T>
  static W Map(T x) {
    return static_cast<W>(x);
  }
};
struct Magnitude {
  template <typename W, typename T>
  static W Map(T x) {
    const auto wide = static_cast<W>(x);
    if constexpr (std::is_floating_point_v<W>) {
      return std::fabs(wide);
    } else {
      return x < T{0} ? W{0} - wide : wide;
    }
  }
};
struct Square {
  template <typename W, typename T>
  static W Map(T x) {
    const auto wide = static_cast<W>(x);
    return wide * wide;
  }
};

enum class After { kNothing, kMean, kRoot, kLog };

// Sums of Mapping(x).
template <typename T, typename Mapping, After kAfter>
struct SumOp {
  using Acc = Wide<T>;
  Acc Start() const { return 0; }
  void Row(Acc& acc, const T* x, int64_t count, int64_t /*output*/) const {
    Acc lanes[8] = {};
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
      for (int64_t k = 0; k < 8; ++k) lanes[k] += Mapping::template Map<Acc>(x[i + k]);
    }
    for (; i < count; ++i) lanes[0] += Mapping::template Map<Acc>(x[i]);
    acc += ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) +
           ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
  }
  void Column(Acc* acc, const T* x, int64_t count, int64_t /*output*/) const {
    for (int64_t i = 0; i < count; ++i) acc[i] += Mapping::template Map<Acc>(x[i]);
  }
  T Finish(Acc acc, int64_t inputs) const {
    if constexpr (std::is_floating_point_v<T>) {
      if constexpr (kAfter == After::kMean) acc /= static_cast<double>(inputs);
      if constexpr (kAfter == After::kRoot) acc = std::sqrt(acc);
      if constexpr (kAfter == After::kLog) acc = std::log(acc);
      return static_cast<T>(acc);
    } else {
      const auto sum = static_cast<T>(acc);
      if constexpr (kAfter == After::kMean) {
        return inputs == 0 ? T{0} : static_cast<T>(static_cast<Signed>(acc) / Signed{inputs});
      }
      if constexpr (kAfter == After::kRoot) return Truncated(std::sqrt(static_cast<double>(sum)));
      if constexpr (kAfter == After::kLog) return Truncated(std::log(static_cast<double>(sum)));
      return sum;
    }
  }

 private:
  // Wide enough for both signs of a sum.
  using Signed = std::conditional_t<std::is_signed_v<T>, int64_t, __int128>;
  // A number that the type cannot hold (the logarithm of nothing) becomes its lowest.
  static T Truncated(double number) {
    const auto low = static_cast<double>(std::numeric_limits<T>::min());
    const auto high = static_cast<double>(std::numeric_limits<T>::max());
    return number > low && number < high ? static_cast<T>(number) : std::numeric_limits<T>::min();
  }
};

template <typename T>
struct ProductOp {
  using Acc = Wide<T>;
  Acc Start() const { return 1; }
  void Row(Acc& acc, const T* x, int64_t count, int64_t /*output*/) const {
    for (int64_t i = 0; i < count; ++i) acc *= static_cast<Acc>(x[i]);
  }
  void Column(Acc* acc, const T* x, int64_t count, int64_t /*output*/) const {
    for (int64_t i = 0; i < count; ++i) acc[i] *= static_cast<Acc>(x[i]);
  }
  T Finish(Acc acc, int64_t /*inputs*/) const { return static_cast<T>(acc); }
};

template <typename T, bool kLargest>
struct ExtremeOp {
  using Acc = T;
  static T Better(T a, T x) {
    if constexpr (std::is_floating_point_v<T>) {
      return (kLargest ? x > a : x < a) || x != x ? x : a;
    } else {
      return (kLargest ? x > a : x < a) ? x : a;
    }
  }
  T Start() const {
    using Limits = std::numeric_limits<T>;
    if constexpr (std::is_floating_point_v<T>) {
      return kLargest ? -Limits::infinity() : Limits::infinity();
    } else {
      return kLargest ? Limits::lowest() : Limits::max();
    }
  }
  void Row(T& acc, const T* x, int64_t count, int64_t /*output*/) const {
    T lanes[16];
    std::fill_n(lanes, 16, Start());
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) {
      for (int64_t k = 0; k < 16; ++k) lanes[k] = Better(lanes[k], x[i + k]);
    }
    for (; i < count; ++i) lanes[0] = Better(lanes[0], x[i]);
    for (const T lane : lanes) acc = Better(acc, lane);
  }
  void Column(T* acc, const T* x, int64_t count, int64_t /*output*/) const {
    for (int64_t i = 0; i < count; ++i) acc[i] = Better(acc[i], x[i]);
  }
  T Finish(T acc, int64_t /*inputs*/) const { return acc; }
};

// log sum exp(x), of which `peaks`, the largest x of each output, is taken out:
// peak + log sum exp(x - peak).
template <typename T>
struct ExponentialOp {
  struct Acc {
    double sum;
    double peak;
  };
  const T* peaks;
  static double Finite(T peak) {
    return std::isfinite(static_cast<double>(peak)) ? static_cast<double>(peak) : 0;
  }
  Acc Start() const { return {0, 0}; }
  void Row(Acc& acc, const T* x, int64_t count, int64_t output) const {
    acc.peak = Finite(peaks[output]);
    for (int64_t i = 0; i < count; ++i) acc.sum += std::exp(static_cast<double>(x[i]) - acc.peak);
  }
  void Column(Acc* acc, const T* x, int64_t count, int64_t output) const {
    for (int64_t i = 0; i < count; ++i) Row(acc[i], x + i, 1, output + i);
  }
  T Finish(Acc acc, int64_t /*inputs*/) const {
    return static_cast<T>(std::log(acc.sum) + acc.peak);
  }
};

template <typename T>
absl::Status ReduceAs(RunContext& ctx, const ReduceAxes& axes) {
  ASSIGN_OR_RETURN(Value * value, ctx.Out(0));
  const T* x = ctx.Data<T>(0).data();
  T* out = value->Mutable<T>().data();
  const std::string& op = ctx.node().op_type;
  if (op == "ReduceMax") {
    Reduce(axes, x, out, ExtremeOp<T, true>());
    return absl::OkStatus();
  }
  if (op == "ReduceMin") {
    Reduce(axes, x, out, ExtremeOp<T, false>());
    return absl::OkStatus();
  }
  if constexpr (sizeof(T) < 4) {
    return ctx.Error("it takes int32, int64, uint32, uint64 and floats");
  } else {
    if (op == "ReduceSum") {
      Reduce(axes, x, out, SumOp<T, Plain, After::kNothing>());
    } else if (op == "ReduceMean") {
      Reduce(axes, x, out, SumOp<T, Plain, After::kMean>());
    } else if (op == "ReduceL1") {
      Reduce(axes, x, out, SumOp<T, Magnitude, After::kNothing>());
    } else if (op == "ReduceL2") {
      Reduce(axes, x, out, SumOp<T, Square, After::kRoot>());
    } else if (op == "ReduceSumSquare") {
      Reduce(axes, x, out, SumOp<T, Square, After::kNothing>());
    } else if (op == "ReduceLogSum") {
      Reduce(axes, x, out, SumOp<T, Plain, After::kLog>());
    } else if (op == "ReduceProd") {
      Reduce(axes, x, out, ProductOp<T>());
    } else if constexpr (std::is_floating_point_v<T>) {
      ASSIGN_OR_RETURN(const auto scratch,
                       ctx.Scratch(axes.outputs * static_cast<int64_t>(sizeof(T))));
      auto* peaks = reinterpret_cast<T*>(scratch->data());
      Reduce(axes, x, peaks, ExtremeOp<T, true>());
      Reduce(axes, x, out, ExponentialOp<T>{peaks});
    } else {
      return ctx.Unsupported("a logarithm of a sum of exponentials of integers");
    }
    return absl::OkStatus();
  }
}

// Of bytes of 0 and 1; those of a hostile file may be others.
absl::Status ReduceBools(RunContext& ctx, const ReduceAxes& axes) {
  RETURN_IF_ERROR(ReduceAs<uint8_t>(ctx, axes));
  if (axes.inputs > 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(Value * value, ctx.Out(0));
  const std::span<uint8_t> out = value->Mutable<uint8_t>();
  std::fill(out.begin(), out.end(), ctx.node().op_type == "ReduceMin" ? 1 : 0);
  return absl::OkStatus();
}

absl::Status RunReduce(RunContext& ctx) {
  if (!ctx.In(0).IsTensor()) return ctx.Error("input 0 must be a tensor");
  ASSIGN_OR_RETURN(const std::vector<bool> reduced, ReducedAxes(ctx));
  const ReduceAxes axes = SplitAxes(ctx.In(0).dims, reduced);
  switch (ctx.In(0).dtype) {
    case DType::kFloat:
      return ReduceAs<float>(ctx, axes);
    case DType::kDouble:
      return ReduceAs<double>(ctx, axes);
    case DType::kInt32:
      return ReduceAs<int32_t>(ctx, axes);
    case DType::kInt64:
      return ReduceAs<int64_t>(ctx, axes);
    case DType::kUint32:
      return ReduceAs<uint32_t>(ctx, axes);
    case DType::kUint64:
      return ReduceAs<uint64_t>(ctx, axes);
    case DType::kInt8:
      return ReduceAs<int8_t>(ctx, axes);
    case DType::kUint8:
      return ReduceAs<uint8_t>(ctx, axes);
    case DType::kBool:
      return ReduceBools(ctx, axes);
    default:
      return ctx.Error("it takes numbers");
  }
}

constexpr unsigned kFloats = kComputesInFloat | kTakesDouble;
constexpr OpForward kForwards[] = {
    {"", "ArgMax", RunArgExtreme, kFloats},
    {"", "ArgMin", RunArgExtreme, kFloats},
    {"", "Det", RunDet, kFloats},
    {"", "ReduceL1", RunReduce, kFloats},
    {"", "ReduceL2", RunReduce, kFloats},
    {"", "ReduceLogSum", RunReduce, kFloats},
    {"", "ReduceLogSumExp", RunReduce, kFloats},
    {"", "ReduceMax", RunReduce, kFloats},
    {"", "ReduceMean", RunReduce, kFloats},
    {"", "ReduceMin", RunReduce, kFloats},
    {"", "ReduceProd", RunReduce, kFloats},
    {"", "ReduceSum", RunReduce, kFloats},
    {"", "ReduceSumSquare", RunReduce, kFloats},
};

}  // namespace

std::span<const OpForward> ReductionForwards() { return kForwards; }

}  // namespace lathe::engine
