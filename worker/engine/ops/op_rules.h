// The rules that ops/op_table.cc lists, by the file they live in.
#ifndef LATHE_WORKER_ENGINE_OPS_OP_RULES_H_
#define LATHE_WORKER_ENGINE_OPS_OP_RULES_H_

#include <optional>

#include "worker/engine/ops/op_context.h"
#include "worker/engine/ops/op_table.h"

namespace lathe::engine {

// elementwise.cc
bool InferSame(OpContext& ctx);       // output 0 is as input 0
bool InferSameBool(OpContext& ctx);   // the same, as bool
bool InferBroadcast(OpContext& ctx);  // all inputs broadcast; the first one's type
bool InferCompare(OpContext& ctx);    // two inputs broadcast to bool
bool InferWhere(OpContext& ctx);
bool InferCast(OpContext& ctx);  // also CastLike
bool InferDropout(OpContext& ctx);
bool InferUnaryMath(OpContext& ctx);      // InferSame, and small values are evaluated
bool InferNormalization(OpContext& ctx);  // Batch-, Layer-, GroupNormalization and their kin
bool InferSkipNormalization(OpContext& ctx);

// generators.cc
bool InferConstant(OpContext& ctx);
bool InferConstantOfShape(OpContext& ctx);
bool InferRange(OpContext& ctx);
bool InferShape(OpContext& ctx);
bool InferSize(OpContext& ctx);
bool InferEyeLike(OpContext& ctx);
bool InferRandom(OpContext& ctx);  // shape attribute
bool InferRandomLike(OpContext& ctx);
bool InferMultinomial(OpContext& ctx);
bool InferWindow(OpContext& ctx);  // HannWindow and the like

// loss.cc
bool InferLoss(OpContext& ctx);  // over classes

// text.cc
bool InferTfIdfVectorizer(OpContext& ctx);

// layout.cc
bool InferReshape(OpContext& ctx);
bool InferFlatten(OpContext& ctx);
bool InferTranspose(OpContext& ctx);
bool InferSqueeze(OpContext& ctx);
bool InferUnsqueeze(OpContext& ctx);
bool InferDepthToSpace(OpContext& ctx);
bool InferSpaceToDepth(OpContext& ctx);

// pieces.cc
bool InferConcat(OpContext& ctx);
bool InferSplit(OpContext& ctx);
bool InferSlice(OpContext& ctx);
// What Slice takes of an axis of `extent` elements: `count` of them, from `first` on, each `step`
// past the one before. step != 0.
struct SliceRange {
  int64_t first = 0;
  int64_t step = 1;
  int64_t count = 0;
};
SliceRange ResolveSlice(int64_t start, int64_t end, int64_t step, int64_t extent);
bool InferPad(OpContext& ctx);
bool InferTile(OpContext& ctx);
bool InferExpand(OpContext& ctx);
bool InferCenterCropPad(OpContext& ctx);

// gather.cc
bool InferGather(OpContext& ctx);
bool InferGatherElements(OpContext& ctx);
bool InferGatherND(OpContext& ctx);
bool InferOneHot(OpContext& ctx);
bool InferTopK(OpContext& ctx);
bool InferNonZero(OpContext& ctx);
bool InferNonMaxSuppression(OpContext& ctx);
bool InferUnique(OpContext& ctx);
bool InferCompress(OpContext& ctx);
bool InferGatherBlockQuantized(OpContext& ctx);
bool InferEmbedLayerNormalization(OpContext& ctx);

// reduction.cc
bool InferReduce(OpContext& ctx);
bool InferArg(OpContext& ctx);
bool InferDet(OpContext& ctx);

// window.cc
bool InferConv(OpContext& ctx);
bool InferConvInteger(OpContext& ctx);
bool InferQLinearConv(OpContext& ctx);
bool InferConvTranspose(OpContext& ctx);
bool InferDeformConv(OpContext& ctx);
bool InferPool(OpContext& ctx);
bool InferGlobalPool(OpContext& ctx);
bool InferMaxUnpool(OpContext& ctx);
bool InferRoiPool(OpContext& ctx);  // RoiAlign, MaxRoiPool
std::optional<MacCount> MacsConv(const OpContext& ctx);
std::optional<MacCount> MacsConvInteger(const OpContext& ctx);
std::optional<MacCount> MacsQLinearConv(const OpContext& ctx);
std::optional<MacCount> MacsConvTranspose(const OpContext& ctx);

// product.cc
bool InferMatMul(OpContext& ctx);
bool InferMatMulInteger(OpContext& ctx);
bool InferQLinearMatMul(OpContext& ctx);
bool InferMatMulIntegerToFloat(OpContext& ctx);
bool InferFusedMatMul(OpContext& ctx);
bool InferGemm(OpContext& ctx);
bool InferQGemm(OpContext& ctx);
bool InferMatMulNBits(OpContext& ctx);
std::optional<MacCount> MacsMatMul(const OpContext& ctx);
std::optional<MacCount> MacsMatMulInteger(const OpContext& ctx);
std::optional<MacCount> MacsFusedMatMul(const OpContext& ctx);
std::optional<MacCount> MacsGemm(const OpContext& ctx);
std::optional<MacCount> MacsQGemm(const OpContext& ctx);
std::optional<MacCount> MacsMatMulNBits(const OpContext& ctx);
// The arithmetic of a product of inputs `a` and `b` in floats, or in 8 bits when both were just
// dequantized (runtimes fuse that).
MacType ProductType(const OpContext& ctx, size_t a, size_t b);

// einsum.cc
bool InferEinsum(OpContext& ctx);
std::optional<MacCount> MacsEinsum(const OpContext& ctx);

// attention.cc
bool InferContribAttention(OpContext& ctx);  // com.microsoft Attention, QAttention
bool InferMultiHeadAttention(OpContext& ctx);
bool InferAttention23(OpContext& ctx);  // ai.onnx Attention
bool InferLinearAttention(OpContext& ctx);
bool InferCausalConv(OpContext& ctx);  // CausalConvWithState
std::optional<MacCount> MacsContribAttention(const OpContext& ctx);
std::optional<MacCount> MacsMultiHeadAttention(const OpContext& ctx);
std::optional<MacCount> MacsAttention23(const OpContext& ctx);

// recurrent.cc
bool InferRecurrent(OpContext& ctx);
bool InferDynamicQuantizeLstm(OpContext& ctx);
std::optional<MacCount> MacsRecurrent(const OpContext& ctx);
std::optional<MacCount> MacsDynamicQuantizeLstm(const OpContext& ctx);

// resize.cc
bool InferResize(OpContext& ctx);
bool InferUpsample(OpContext& ctx);
bool InferGridSample(OpContext& ctx);
bool InferAffineGrid(OpContext& ctx);

// quantization.cc
bool InferQuantizeLinear(OpContext& ctx);
bool InferDequantizeLinear(OpContext& ctx);
bool InferDynamicQuantizeLinear(OpContext& ctx);
bool InferQLinearBinary(OpContext& ctx);
bool InferQLinearConcat(OpContext& ctx);
bool InferQLinearUnary(OpContext& ctx);
bool InferQLinearWhere(OpContext& ctx);
bool InferQLinearPool(OpContext& ctx);
bool InferQLinearGlobalPool(OpContext& ctx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_OP_RULES_H_
