// Which operators have weights, at which inputs, and what their axes mean. One table; FindWeights
// reads it.
#ifndef LATHE_WORKER_ENGINE_GRAPH_WEIGHTED_OPS_H_
#define LATHE_WORKER_ENGINE_GRAPH_WEIGHTED_OPS_H_

#include <span>
#include <string>
#include <vector>

#include "worker/engine/graph/layers.h"

namespace lathe::engine {

// A weight operand of an operator.
struct WeightSlot {
  const char* op;
  int input;
  WeightRole role;
  const char* suffix;  // of the layer's name: ".W", ".R"; "" where the op has one weight
};

// The slots of an ai.onnx node; empty for other operators and for a Gather along another axis than
// 0. A MatMul has two, of which one is taken: the right one where both are constant.
std::vector<WeightSlot> WeightSlots(const Node& node);

// An operator whose weights are integers by definition.
struct QuantizedSlot {
  const char* domain;
  const char* op;
  int input;
  WeightRole role;
  const char* suffix;
};
std::vector<QuantizedSlot> QuantizedSlots(const Node& node);

// Whether the node belongs to a contrib domain of ONNX Runtime whose weighted forms are passed
// through.
bool IsContribDomain(const std::string& domain);

// Fills in dims, axes and groups of `use` for a source of shape `source`, with use.node, use.input,
// use.role and use.permutation set. Returns why the operand cannot be a weight (a rank or group
// that does not fit the operator), or "".
std::string FillAxes(const Shape& source, WeightUse& use);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_WEIGHTED_OPS_H_
