#include "worker/engine/train/trained_inputs.h"

#include <cstdint>

#include "absl/strings/string_view.h"
#include "worker/engine/graph/trace.h"

namespace lathe::engine {
namespace {

struct Row {
  absl::string_view domain;
  absl::string_view op;
  uint32_t matrices;  // bit i: input i
  uint32_t vectors;
};

constexpr Row kRows[] = {
    {"", "Conv", 0b10, 0b100},
    {"", "ConvTranspose", 0b10, 0b100},
    {"", "Gemm", 0b11, 0b100},
    {"", "MatMul", 0b11, 0},
    {"", "Einsum", 0b11, 0},
    {"", "Gather", 0b1, 0},
    {"", "LSTM", 0b110, 0b1000},
    {"", "GRU", 0b110, 0b1000},
    {"", "RNN", 0b110, 0b1000},
    {"", "PRelu", 0, 0b10},
    {"", "BatchNormalization", 0, 0b110},
    {"", "InstanceNormalization", 0, 0b110},
    {"", "GroupNormalization", 0, 0b110},
    {"", "LayerNormalization", 0, 0b110},
    {"", "RMSNormalization", 0, 0b10},
    {"", "SimplifiedLayerNormalization", 0, 0b10},
    {"com.microsoft", "SkipLayerNormalization", 0, 0b11100},
    {"com.microsoft", "SkipSimplifiedLayerNormalization", 0, 0b1100},
    {"com.microsoft", "SimplifiedLayerNormalization", 0, 0b10},
    {"com.microsoft", "BiasGelu", 0, 0b10},
    {"com.microsoft", "FusedMatMul", 0b11, 0},
    {"com.microsoft", "FusedConv", 0b10, 0b100},
    {"com.microsoft", "FusedGemm", 0b11, 0b100},
    {"com.microsoft", "Attention", 0b10, 0b100},
};

}  // namespace

TrainedInput TrainedInputOf(const Node& node, size_t input) {
  if (input >= 32) return TrainedInput::kNo;
  if (node.Is("Add") || node.Is("Mul")) return TrainedInput::kElementwise;
  for (const Row& row : kRows) {
    if (!node.Is(row.op, row.domain)) continue;
    if ((row.matrices >> input & 1) != 0) return TrainedInput::kMatrix;
    if ((row.vectors >> input & 1) != 0) return TrainedInput::kVector;
    return TrainedInput::kNo;
  }
  return TrainedInput::kNo;
}

bool PassesConstantOn(const Node& node) {
  return node.Is("Identity") || node.Is("Transpose") || node.Is("Reshape") || node.Is("Squeeze") ||
         node.Is("Unsqueeze") || node.Is("Flatten") || IsFloatCast(node);
}

}  // namespace lathe::engine
