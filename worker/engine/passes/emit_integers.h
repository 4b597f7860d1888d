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
//             before: y = LSTM(x, W, R, b, ...)
//             after:  y = com.microsoft.DynamicQuantizeLSTM(x, Wq, Rq, b, ..., s_w, 0, s_r, 0),
//                     Wq and Rq transposed: [directions, I or H, 4 H]
//
// The graph keeps its inputs and outputs. Values that keep their names keep their meaning.
#ifndef LATHE_WORKER_ENGINE_PASSES_EMIT_INTEGERS_H_
#define LATHE_WORKER_ENGINE_PASSES_EMIT_INTEGERS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/passes/integer_plan.h"
#include "worker/engine/passes/integer_units.h"
#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

// What became of a weight of a linear unit.
struct EmittedWeight {
  size_t unit = 0;
  bool recurrent = false;  // the unit's recurrent_weight
  int64_t bytes = 0;       // integers, scales and bias
  double squared_error = 0;
  double squared_norm = 0;
  int64_t repaired_channels = 0;
};

// `model` is the one that `units` were found in, or a copy of it; of opset 13 (static) or 11
// (dynamic) at least, 21 for 16 bits. Constants that nothing reads any more stay; see
// RemoveUnusedConstants. INVALID_ARGUMENT: weights that are not finite (named).
absl::StatusOr<std::vector<EmittedWeight>> EmitIntegers(Model& model,
                                                        const std::vector<IntegerUnit>& units,
                                                        const IntegerPlan& plan,
                                                        Parallel& parallel);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_EMIT_INTEGERS_H_
