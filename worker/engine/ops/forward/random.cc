// Random numbers without a generator's state: number k of run r of a node is a hash of its seed, r
// and k. The same model gives the same numbers in every process, and others in its next run.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/elementwise.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/store_reals.h"
#include "worker/engine/ops/forward/value_read.h"

namespace lathe::engine {
namespace {

struct RunCount : NodeState {
  uint64_t runs = 0;
};

// The finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

class Numbers {
 public:
  // Counts a run of the node. Without the attribute `seed` the name of its output is the seed.
  explicit Numbers(RunContext& ctx) {
    uint64_t seed = 0;
    if (const Attribute* given = ctx.node().FindAttribute("seed")) {
      uint32_t bits = 0;
      std::memcpy(&bits, &given->f, sizeof(bits));
      seed = bits;
    } else if (!ctx.node().outputs.empty()) {
      for (const char c : ctx.node().outputs[0]) seed = Mix(seed ^ static_cast<uint8_t>(c));
    }
    key_ = Mix(Mix(seed) ^ ctx.State<RunCount>().runs++);
  }

  // In [0, 1), of 53 bits.
  double Uniform(int64_t k) const {
    return static_cast<double>(Mix(key_ + Mix(static_cast<uint64_t>(k))) >> 11) * 0x1p-53;
  }

  // Box and Muller's, each number of two of its own.
  double Normal(int64_t k) const {
    const double radius = std::sqrt(-2 * std::log(1 - Uniform(2 * k)));
    return radius * std::cos(2 * M_PI * Uniform(2 * k + 1));
  }

 private:
  uint64_t key_;
};

// The shape by the attribute `shape`, or that of input 0.
absl::Status Draw(RunContext& ctx, bool like, bool normal) {
  if (like) RETURN_IF_ERROR(CheckTensors(ctx, 1));
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0));
  if (!IsFloat(out->dtype)) return ctx.Error("the output must be of a floating-point type");
  const Numbers numbers(ctx);
  if (normal) {
    const double mean = ctx.node().FloatAttribute("mean", 0);
    const double scale = ctx.node().FloatAttribute("scale", 1);
    return StoreReals(ctx, *out, [&](int64_t k) { return mean + scale * numbers.Normal(k); });
  }
  const double low = ctx.node().FloatAttribute("low", 0);
  const double high = ctx.node().FloatAttribute("high", 1);
  return StoreReals(ctx, *out, [&](int64_t k) { return low + (high - low) * numbers.Uniform(k); });
}

absl::Status RandomNormal(RunContext& ctx) { return Draw(ctx, false, true); }
absl::Status RandomNormalLike(RunContext& ctx) { return Draw(ctx, true, true); }
absl::Status RandomUniform(RunContext& ctx) { return Draw(ctx, false, false); }
absl::Status RandomUniformLike(RunContext& ctx) { return Draw(ctx, true, false); }

// 1 with the probability that the input gives.
absl::Status Bernoulli(RunContext& ctx) {
  RETURN_IF_ERROR(CheckTensors(ctx, 1));
  const Value& in = ctx.In(0);
  if (!IsFloat(in.dtype)) return ctx.Error("probabilities must be of a floating-point type");
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0));
  const Numbers numbers(ctx);
  return StoreReals(ctx, *out,
                    [&](int64_t k) { return numbers.Uniform(k) < ReadNumber(in, k) ? 1.0 : 0.0; });
}

// Indices of classes [batch, sample_size], from logarithms of weights [batch, classes].
absl::Status Multinomial(RunContext& ctx) {
  RETURN_IF_ERROR(CheckTensors(ctx, 1));
  const Value& in = ctx.In(0);
  const int64_t samples = ctx.node().IntAttribute("sample_size", 1);
  if (!IsFloat(in.dtype) || in.dims.size() != 2 || in.dims[1] < 1 || samples < 0) {
    return ctx.Error("it takes floats [batch, classes], and sample_size 0 or more");
  }
  const auto dtype = static_cast<DType>(ctx.node().IntAttribute("dtype", 6));
  if (dtype != DType::kInt32 && dtype != DType::kInt64) {
    return ctx.Error("dtype must be int32 or int64");
  }
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0, dtype, {in.dims[0], samples}));
  const Numbers numbers(ctx);
  const int64_t classes = in.dims[1];
  std::vector<double> sums(static_cast<size_t>(classes));
  int64_t row = -1;
  return StoreReals(ctx, *out, [&](int64_t k) {
    if (k / samples != row) {
      row = k / samples;
      double largest = -HUGE_VAL;
      for (int64_t c = 0; c < classes; ++c) {
        largest = std::max(largest, ReadNumber(in, row * classes + c));
      }
      double sum = 0;
      for (int64_t c = 0; c < classes; ++c) {
        sums[c] = sum += std::exp(ReadNumber(in, row * classes + c) - largest);
      }
    }
    const double mark = numbers.Uniform(k) * sums.back();
    const auto found = std::upper_bound(sums.begin(), sums.end(), mark) - sums.begin();
    return static_cast<double>(std::min<int64_t>(found, classes - 1));
  });
}

constexpr OpForward kForwards[] = {
    {"", "Bernoulli", Bernoulli, kRandom},
    {"", "Multinomial", Multinomial, kRandom},
    {"", "RandomNormal", RandomNormal, kRandom},
    {"", "RandomNormalLike", RandomNormalLike, kRandom},
    {"", "RandomUniform", RandomUniform, kRandom},
    {"", "RandomUniformLike", RandomUniformLike, kRandom},
};

}  // namespace

std::span<const OpForward> RandomForwards() { return kForwards; }

}  // namespace lathe::engine
