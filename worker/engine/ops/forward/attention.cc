#include "worker/engine/ops/forward/attention.h"

#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/tensors_only.h"

namespace lathe::engine {
namespace {

absl::Status GroupQueryAttention(RunContext& ctx) {
  return ctx.Unsupported(
      "its cache, which it shares between calls, is not modelled; use the decomposed attention or "
      "Attention of opset 23");
}

constexpr char kMs[] = "com.microsoft";

constexpr OpForward kForwards[] = {
    {"", "Attention", OnTensors<OnnxAttention>, kComputesInFloat},
    {"", "CausalConvWithState", OnTensors<CausalConvWithState>, kComputesInFloat},
    {"", "LinearAttention", OnTensors<LinearAttention>, kComputesInFloat},
    {"", "RotaryEmbedding", OnTensors<RotaryEmbedding>, kComputesInFloat},
    {"", "SwiGLU", OnTensors<SwiGlu>, kComputesInFloat},
    {kMs, "Attention", OnTensors<ContribAttention>, kComputesInFloat},
    {kMs, "GroupQueryAttention", GroupQueryAttention},
    {kMs, "MultiHeadAttention", OnTensors<MultiHeadAttention>, kComputesInFloat},
    {kMs, "RotaryEmbedding", OnTensors<ContribRotaryEmbedding>, kComputesInFloat},
};

}  // namespace

std::span<const OpForward> AttentionForwards() { return kForwards; }

}  // namespace lathe::engine
