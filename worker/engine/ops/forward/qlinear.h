// What the operators on quantized values share, and where they are: qlinear.cc lists them.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_QLINEAR_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_QLINEAR_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/kernels/linear_rounding.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

// int8 or uint8.
inline bool IsByte(DType dtype) { return dtype == DType::kInt8 || dtype == DType::kUint8; }

// Scale and zero point of a whole tensor.
struct Affine {
  float scale = 1;
  int32_t zero = 0;
};

// Input `scale` (a scalar, or one element) and, when given, input `zero`, which must be of `dtype`.
// INVALID_ARGUMENT otherwise.
absl::StatusOr<Affine> ReadAffine(const RunContext& ctx, size_t scale, size_t zero, DType dtype);
// The same with a zero point alone; 0 when it is not given.
absl::StatusOr<int32_t> ReadZero(const RunContext& ctx, size_t zero, DType dtype);

// Values for the lines (rows of a left operand, columns of a right one, channels) of one or more
// matrices: one for all of them, one a line, or one a line of each matrix.
template <typename T>
struct Lines {
  std::vector<T> values;  // never empty
  int64_t step = 0;       // between the lines of a matrix: 0 or 1
  int64_t stride = 0;     // between matrices

  const T* Of(int64_t matrix) const { return values.data() + matrix * stride; }
  bool single() const { return step == 0; }
};

// Input `i`, or `fallback` when it is not given, for an operand of the given shape whose lines are
// indices of `axis`: a scalar, [lines], or the operand's shape with 1 in place of `reduced`.
absl::StatusOr<Lines<float>> ReadScaleLines(const RunContext& ctx, size_t i, const Shape& operand,
                                            size_t axis, size_t reduced);
absl::StatusOr<Lines<int32_t>> ReadZeroLines(const RunContext& ctx, size_t i, DType dtype,
                                             const Shape& operand, size_t axis, size_t reduced);

// Calls fn with a pointer to the elements of an int8 or uint8 tensor.
template <typename Fn>
void VisitBytes(DType dtype, const void* data, Fn fn) {
  if (dtype == DType::kInt8) {
    fn(static_cast<const int8_t*>(data));
  } else {
    fn(static_cast<const uint8_t*>(data));
  }
}

// integer_matmul.cc
absl::Status MatMulInteger(RunContext& ctx);
absl::Status QLinearMatMul(RunContext& ctx);
absl::Status MatMulIntegerToFloat(RunContext& ctx);
absl::Status DynamicQuantizeMatMul(RunContext& ctx);
absl::Status QGemm(RunContext& ctx);

// integer_conv.cc
absl::Status ConvInteger(RunContext& ctx);
absl::Status QLinearConv(RunContext& ctx);

// matmul_nbits.cc
absl::Status MatMulNBits(RunContext& ctx);

// qlinear_elementwise.cc
absl::Status QLinearAdd(RunContext& ctx);
absl::Status QLinearMul(RunContext& ctx);
absl::Status QLinearSigmoid(RunContext& ctx);
absl::Status QLinearLeakyRelu(RunContext& ctx);
absl::Status QLinearSoftmax(RunContext& ctx);
absl::Status QLinearConcat(RunContext& ctx);
absl::Status QLinearWhere(RunContext& ctx);

// qlinear_pool.cc
absl::Status QLinearAveragePool(RunContext& ctx);
absl::Status QLinearGlobalAveragePool(RunContext& ctx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_QLINEAR_H_
