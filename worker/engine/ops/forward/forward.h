// The operators that the engine can run. One family of operators a file of this folder, each with
// its own table; forward.cc lists the tables.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_FORWARD_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_FORWARD_H_

#include <span>
#include <string>

#include "absl/status/status.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

// How the executor prepares a call.
enum ForwardFlags : unsigned {
  kPlainCall = 0,
  // Written for float32 alone: float16, bfloat16 and (unless kTakesDouble) float64 inputs are
  // converted to float32 first. When the first input of floats was, float32 outputs become its
  // type.
  kComputesInFloat = 1,
  kTakesDouble = 2,
  // Takes float32 inputs in a blocked layout (tensor/value.h) as well as plain ones.
  kTakesBlocked = 4,
  // Gives another result each time: never folded into a constant.
  kRandom = 8,
};

struct OpForward {
  const char* domain;  // "" is ai.onnx
  const char* op;
  // Computes the outputs that are wanted. Inputs have passed no check but that they are there.
  absl::Status (*run)(RunContext& ctx);
  unsigned flags = kPlainCall;
};

// nullptr when the engine cannot run it.
const OpForward* FindForward(const std::string& domain, const std::string& op);

// Every operator that can be run, in the order of the tables.
std::span<const OpForward* const> AllForwards();

// The tables, by file.
std::span<const OpForward> ArithmeticForwards();  // arithmetic.cc: Add, Pow, Mod, Sum, Max, ...
std::span<const OpForward> UnaryForwards();       // unary.cc: Exp, Abs, Erf, Sign, IsNaN, ...
std::span<const OpForward> ActivationForwards();  // activation.cc: Relu, Gelu, Clip, PRelu, ...
std::span<const OpForward> LogicForwards();       // logic.cc: comparisons, And, BitShift, Where
std::span<const OpForward> CastForwards();        // cast.cc: Cast, CastLike, BitCast
std::span<const OpForward> GeneratorForwards();   // generator.cc: Constant, Range, Shape, windows
std::span<const OpForward> RandomForwards();      // random.cc
std::span<const OpForward> TextForwards();        // text.cc: operators on strings
std::span<const OpForward> LayoutForwards();      // layout.cc: Reshape, Transpose, DepthToSpace
std::span<const OpForward> PieceForwards();       // pieces.cc: Concat, Split, Slice, Pad, Tile
std::span<const OpForward> GatherForwards();      // gather.cc: Gather*, Scatter*, OneHot, Compress
std::span<const OpForward> SelectionForwards();   // selection.cc: TopK, NonZero, Unique, NMS
std::span<const OpForward> ReductionForwards();   // reduction.cc: Reduce*, ArgMax, CumSum, Det
std::span<const OpForward> SequenceForwards();    // sequence.cc: sequences and optionals
std::span<const OpForward> SignalForwards();      // signal.cc: DFT, STFT, MelWeightMatrix
std::span<const OpForward> ResizeForwards();      // resize.cc: Resize, GridSample, AffineGrid
std::span<const OpForward> RegionForwards();      // region.cc: RoiAlign, MaxRoiPool, Col2Im
std::span<const OpForward> ConvForwards();        // conv.cc: Conv, ConvTranspose, DeformConv
std::span<const OpForward> PoolForwards();        // pool.cc
std::span<const OpForward> ProductForwards();     // product.cc: MatMul, Gemm
std::span<const OpForward> EinsumForwards();      // einsum.cc
std::span<const OpForward> NormForwards();        // norm.cc: BatchNormalization, LayerNormalization
std::span<const OpForward> SoftmaxForwards();     // softmax.cc: Softmax, LogSoftmax, Hardmax
std::span<const OpForward> RecurrentForwards();   // recurrent.cc: LSTM, GRU, RNN
std::span<const OpForward> AttentionForwards();   // attention.cc
std::span<const OpForward> QuantizeForwards();    // quantize.cc: QuantizeLinear, Dequantize, ...
std::span<const OpForward> QLinearForwards();     // qlinear.cc: QLinearConv, MatMulInteger, ...
std::span<const OpForward> LossForwards();        // loss.cc
std::span<const OpForward> RecurrentQuantizedForwards();  // recurrent_quantized.cc

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_FORWARD_H_
