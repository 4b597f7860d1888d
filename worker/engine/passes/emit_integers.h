// Rewrites units (passes/integer_units.h) so that a stock ONNX Runtime runs them in integers.
//
//   static    before: y = Relu(Conv(x, W, b))
//             after:  y_f = Conv(DQ(Q(x)), DQ(Wq), DQ(bq)); y = DQ(Q(y_f))
//             Q, DQ with one constant scale and zero point an activation; Wq int8 with a scale a
//             channel; bq int32 with scale s_x s_w. The Relu is what clamping to [0, 255] does.
//             A value that only float operators produce is quantized where integer units read it;
//             a value that an integer unit produces is read by all others through its Q and DQ.
//   dynamic   before: y = MatMul(x, W)
//             after:  q, s, z = DynamicQuantizeLinear(x)
//                     y = Mul(Cast(MatMulInteger(q, Wq, z, 0)), Mul(s, s_w))
//
// The graph keeps its inputs and outputs. Values that keep their names keep their meaning.
#ifndef LATHE_WORKER_ENGINE_PASSES_EMIT_INTEGERS_H_
#define LATHE_WORKER_ENGINE_PASSES_EMIT_INTEGERS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/passes/integer_units.h"
#include "worker/engine/passes/integer_weight.h"
#include "worker/engine/tensor/dtype.h"
#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

// q = clamp(round(x / scale) + zero_point).
struct IntegerRange {
  float scale = 1;  // > 0
  int32_t zero_point = 0;
  DType dtype = DType::kUint8;  // uint8, int8, uint16, int16
};

// What of a value's range an integer type of `bits` covers: `low` <= 0 <= `high`.
IntegerRange MakeIntegerRange(double low, double high, int bits, bool symmetric,
                              bool powers_of_two);

enum class UnitForm { kFloat, kStatic, kDynamic };

struct IntegerPlan {
  std::vector<UnitForm> forms;  // one a unit
  // Of every input and result of a static unit.
  std::map<std::string, IntegerRange> ranges;
  IntegerWeightRule weights;
  // By unit: what is added to its bias, a number an output channel.
  std::map<size_t, std::vector<float>> corrections;
};

// What became of the weight of a linear unit.
struct EmittedWeight {
  size_t unit = 0;
  int64_t bytes = 0;  // integers, scales and bias
  double squared_error = 0;
  double squared_norm = 0;
  int64_t repaired_channels = 0;
};

// Whether a linear static unit's result is written as integers: those of a Conv always, others'
// where an integer unit reads them.
bool WritesIntegers(const std::vector<IntegerUnit>& units, const std::vector<UnitForm>& forms,
                    size_t unit);

// `model` is the one that `units` were found in, or a copy of it; of opset 13 (static) or 11
// (dynamic) at least, 21 for 16 bits. Constants that nothing reads any more stay; see
// RemoveUnusedConstants. INVALID_ARGUMENT: weights that are not finite (named).
absl::StatusOr<std::vector<EmittedWeight>> EmitIntegers(Model& model,
                                                        const std::vector<IntegerUnit>& units,
                                                        const IntegerPlan& plan,
                                                        Parallel& parallel);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_EMIT_INTEGERS_H_
