// Who reads a value, as far as traffic asks (internal to ops/shape_inference).
#ifndef LATHE_WORKER_ENGINE_OPS_VALUE_READERS_H_
#define LATHE_WORKER_ENGINE_OPS_VALUE_READERS_H_

#include <cstdint>
#include <string>
#include <unordered_map>

#include "worker/engine/graph/model.h"

namespace lathe::engine {

class ValueReaders {
 public:
  // Whether nothing but one QuantizeLinear reads `value` of `graph`, as it is or after a Relu or a
  // Clip: runtimes quantize such a value as they make it.
  bool IsQuantizedAtOnce(const Graph& graph, const std::string& value);

 private:
  struct Readers {
    int64_t count = 0;
    const Node* last = nullptr;
  };
  // Of every value that the graph, or a graph within it, reads; made when first asked for.
  using Index = std::unordered_map<std::string, Readers>;
  const Index& IndexOf(const Graph& graph);

  std::unordered_map<const Graph*, Index> indices_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_VALUE_READERS_H_
