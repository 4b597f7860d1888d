#include "worker/engine/methods/method.h"

namespace lathe::engine {

std::span<const Method> MethodTable() {
  static constexpr Method kMethods[] = {
      {"prune_weights", ApplyPruneWeights},
      {"low_rank", ApplyLowRank},
      {"quantize_weights", ApplyQuantizeWeights},
      {"quantize_activations", ApplyQuantizeActivations},
      {"fp16", ApplyFp16},
      {"fine_tune", ApplyFineTune},
      {"distill", ApplyDistill},
  };
  return kMethods;
}

const Method* FindMethodImpl(const std::string& name) {
  for (const Method& method : MethodTable()) {
    if (name == method.name) return &method;
  }
  return nullptr;
}

}  // namespace lathe::engine
