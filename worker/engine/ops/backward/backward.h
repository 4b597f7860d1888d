// The operators through which gradients pass. One family of operators a file of this folder, as in
// ops/forward, each with its own table; backward.cc lists the tables.
//
// A rule computes, from G_y = dL/dy of each output y, G_x = dL/dx of each input x that is wanted:
// the vector-Jacobian product of the operator (Griewank and Walther 2008, "Evaluating
// Derivatives", section 3.2). At kinks (Relu at 0, ties of Max) it takes the derivative that is
// named in its comment.
#ifndef LATHE_WORKER_ENGINE_OPS_BACKWARD_BACKWARD_H_
#define LATHE_WORKER_ENGINE_OPS_BACKWARD_BACKWARD_H_

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "worker/engine/ops/backward/grad_context.h"

namespace lathe::engine {

// Which values a rule reads: bit i for input or output i. The tape keeps those until the rule has
// run, and no others.
inline constexpr uint32_t kReadsNothing = 0;
inline constexpr uint32_t kReadsAll = ~uint32_t{0};

enum BackwardFlags : unsigned {
  kPlainRule = 0,
  // Gradients pass through integer outputs too: those of the integers' values ("code space"), as of
  // QuantizeLinear, whose rounding counts as the identity (straight-through estimation, Bengio,
  // Leonard and Courville 2013, section 4).
  kThroughIntegers = 1,
  // Takes inputs, outputs and gradients in a blocked layout, each as it lies; otherwise they come
  // plain. GradContext::Align helps.
  kTakesBlockedValues = 2,
};

struct OpBackward {
  const char* domain;  // "" is ai.onnx
  const char* op;
  // Emits the gradients that are wanted; those that it does not emit are zero.
  absl::Status (*run)(GradContext& ctx);
  uint32_t reads_inputs = kReadsNothing;  // float inputs; integer inputs are always there
  uint32_t reads_outputs = kReadsNothing;
  unsigned flags = kPlainRule;
};

// nullptr when no gradient passes through it.
const OpBackward* FindBackward(const std::string& domain, const std::string& op);

// Every operator that has a rule, in the order of the tables.
std::span<const OpBackward* const> AllBackwards();

// The tables, by file.
std::span<const OpBackward> ProductBackwards();     // product.cc: MatMul, Gemm
std::span<const OpBackward> ArithmeticBackwards();  // arithmetic.cc: Add, Mul, Pow, Max, Where, ...
std::span<const OpBackward> UnaryBackwards();       // unary.cc: Exp, Erf, Sin, Cast, CumSum, ...
std::span<const OpBackward> ActivationBackwards();  // activation.cc: Relu, Gelu, Clip, PRelu, ...
std::span<const OpBackward> ReductionBackwards();   // reduction.cc: Reduce*
std::span<const OpBackward> LayoutBackwards();      // layout.cc: Reshape, Transpose, DepthToSpace
std::span<const OpBackward> PieceBackwards();       // pieces.cc: Concat, Split, Slice, Pad, Tile
std::span<const OpBackward> GatherBackwards();      // gather.cc: Gather*, Scatter*, TopK, Trilu
std::span<const OpBackward> SoftmaxBackwards();     // softmax.cc: Softmax, LogSoftmax
std::span<const OpBackward> NormBackwards();    // norm.cc: BatchNormalization, LayerNormalization
std::span<const OpBackward> ResizeBackwards();  // resize.cc: Resize, Upsample
std::span<const OpBackward> EinsumBackwards();  // einsum.cc
std::span<const OpBackward> AttentionBackwards();   // attention.cc: Attention, SwiGLU
std::span<const OpBackward> QuantizeBackwards();    // quantize.cc: QuantizeLinear, Dequantize, ...
std::span<const OpBackward> NoGradientBackwards();  // no_gradient.cc: ArgMax, Equal, Shape, ...
std::span<const OpBackward> ConvBackwards();        // conv.cc: Conv, ConvTranspose
std::span<const OpBackward> PoolBackwards();        // pool.cc: MaxPool, GlobalAveragePool, ...
std::span<const OpBackward> RecurrentBackwards();   // recurrent.cc: LSTM, GRU, RNN

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_BACKWARD_BACKWARD_H_
