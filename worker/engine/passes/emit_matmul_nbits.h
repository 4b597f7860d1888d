// Puts a 4-bit weight into the graph as ONNX Runtime's MatMulNBits, which multiplies with the
// blocks as they are: small in the file and in memory, and fast for few rows.
//
//   before:  x -> MatMul(W) -> y                x -> Gemm(W, C) -> y
//   after:   x -> [Mul(input scale)] ->         x -> [Mul] -> MatMulNBits(q, scales, [zp]) ->
//                 MatMulNBits(q, scales, [zp]) -> y      Add(C) -> y
//
// q is uint8 [N, blocks, block / 2], low nibble first, along K; scales float32 [N, blocks]; zero
// points two a byte, 8 where there are none. A bias [N] goes into MatMulNBits itself.
// accuracy_level is 4: activations are rounded to int8 by block, as the fast kernels do.
#ifndef LATHE_WORKER_ENGINE_PASSES_EMIT_MATMUL_NBITS_H_
#define LATHE_WORKER_ENGINE_PASSES_EMIT_MATMUL_NBITS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/ops/shape_inference.h"

namespace lathe::engine {

// Every use is a MatMul by a right matrix, or a Gemm with alpha = beta = 1 and transA = 0, of an
// input of two axes or more; all in float32. `shapes` is of the model.
bool AllowsMatMulNBits(const Model& model, const Weight& weight, const Inference& shapes);

struct BlockConstants {
  // Bytes of [outer, blocks * block, inner] (a QuantizedLayout's rows are outer x inner): int8 in
  // [-8, 7], or uint8 in [0, 15] where there are zero points.
  std::string integers;
  std::vector<float> scales;  // [outer, blocks, inner]
  std::string zero_points;    // likewise; empty: symmetric
  int64_t outer = 1;
  int64_t blocks = 1;
  int64_t block = 32;
  int64_t inner = 1;
  int64_t k = 0;                    // of a row, without padding
  std::vector<float> input_scales;  // [K]; empty: none
};

// Needs AllowsMatMulNBits. Imports com.microsoft. Returns the bytes of the new constants; the
// source is removed unless a chain still reads it (RemoveUnusedConstants does the rest).
int64_t EmitMatMulNBits(Model& model, const Weight& weight, const BlockConstants& constants,
                        const Inference& shapes, NameScope& names);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_EMIT_MATMUL_NBITS_H_
