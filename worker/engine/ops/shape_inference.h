// Types and shapes of every value of a model, for stated sizes of its symbolic dimensions, and what
// computing it costs.
#ifndef LATHE_WORKER_ENGINE_OPS_SHAPE_INFERENCE_H_
#define LATHE_WORKER_ENGINE_OPS_SHAPE_INFERENCE_H_

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "worker/engine/graph/model.h"
#include "worker/engine/ops/cost.h"
#include "worker/engine/ops/op_table.h"
#include "worker/engine/ops/value_fact.h"

namespace lathe::engine {

// Symbolic dimension -> size. An unnamed dimension is bound by "input[axis]": "images[2]".
using Bindings = std::map<std::string, int64_t>;

struct Inference {
  // What is known of the values of each graph. A function's body holds the last call's.
  std::unordered_map<const Graph*, std::unordered_map<std::string, ValueFact>> values;
  // Of one run, subgraphs and calls included, by operator ("Conv", "com.microsoft.MatMulNBits").
  // What is computed from constants alone, at load, costs nothing.
  std::map<std::string, OperatorCost> by_op;
  // Their sum.
  OperatorCost total;
  // The same by node of the main graph and subgraphs, one execution each.
  std::unordered_map<const Node*, OperatorCost> node_costs;
  // Bytes of constants that nodes read in one run, as they are stored, each constant once; of a
  // table that is looked up, the rows taken. Under the operator that reads them first.
  std::map<std::string, int64_t> stored_bytes_by_op;
  int64_t stored_bytes = 0;
  // Every symbol met with the size it was given, "input[axis]" for unnamed dimensions.
  Bindings bindings;
  // Those of them that the caller did not give, and so were taken to be 1.
  std::vector<std::string> assumed_bindings;
  // Given, but no dimension has that name.
  std::vector<std::string> unused_bindings;
  // Extents that only data decide, and what was taken for them: "NonZero 'nz': ... 1 assumed".
  std::vector<std::string> assumptions;
  // Nodes that do multiply-accumulates, or may, and could not be counted.
  std::vector<std::string> macs_incomplete;
  // Where shapes became unknown although the inputs' were known, each with its reason.
  std::vector<std::string> shape_unknown;

  // nullptr when nothing is known of it.
  const ValueFact* Find(const Graph* graph, const std::string& value) const;
};

// Never fails: what cannot be told is listed. Cost: linear in the nodes, subgraphs once, functions
// once a call up to a bound; large constants are not read.
Inference InferShapes(const Model& model, const Bindings& bindings);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_SHAPE_INFERENCE_H_
