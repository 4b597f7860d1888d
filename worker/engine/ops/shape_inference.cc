#include "worker/engine/ops/shape_inference.h"

#include <algorithm>
#include <memory>
#include <set>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/graph/function_calls.h"
#include "worker/engine/graph/scopes.h"
#include "worker/engine/ops/graph_walker.h"

namespace lathe::engine {

int64_t MacCounts::total() const { return SaturatingAdd(SaturatingAdd(float32, float16), int8); }

void MacCounts::Add(MacCount macs) {
  int64_t& slot = macs.type == MacType::kInt8      ? int8
                  : macs.type == MacType::kFloat16 ? float16
                                                   : float32;
  slot = SaturatingAdd(slot, macs.count);
}

void MacCounts::Add(const MacCounts& other, int64_t times) {
  float32 = SaturatingAdd(float32, SaturatingMul(other.float32, times));
  float16 = SaturatingAdd(float16, SaturatingMul(other.float16, times));
  int8 = SaturatingAdd(int8, SaturatingMul(other.int8, times));
}

const ValueFact* Inference::Find(const Graph* graph, const std::string& value) const {
  for (; graph != nullptr; graph = graph->parent) {
    const auto scope = values.find(graph);
    if (scope == values.end()) continue;
    const auto found = scope->second.find(value);
    if (found != scope->second.end()) return &found->second;
  }
  return nullptr;
}

Inference InferShapes(const Model& model, const Bindings& bindings) {
  return GraphWalker(model, bindings).Run();
}

}  // namespace lathe::engine
