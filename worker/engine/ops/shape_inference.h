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
#include "worker/engine/ops/op_table.h"
#include "worker/engine/ops/value_fact.h"

namespace lathe::engine {

// Symbolic dimension -> size. An unnamed dimension is bound by "input[axis]": "images[2]".
using Bindings = std::map<std::string, int64_t>;

// Multiply-accumulates by their arithmetic.
struct MacCounts {
  int64_t float32 = 0;
  int64_t float16 = 0;
  int64_t int8 = 0;
  int64_t total() const;
  void Add(MacCount macs);
  void Add(const MacCounts& other, int64_t times);
};

struct Inference {
  // What is known of the values of each graph. A function's body holds the last call's.
  std::unordered_map<const Graph*, std::unordered_map<std::string, ValueFact>> values;
  // Multiply-accumulates of one run, subgraphs and calls included.
  MacCounts macs;
  // The same by node of the main graph and subgraphs, one execution each.
  std::unordered_map<const Node*, MacCount> node_macs;
  // Bytes of activations that nodes read and write in one run: every operator reads its inputs and
  // writes its outputs once; views (Reshape and the like) and what is computed from constants
  // alone, at load, move nothing.
  int64_t activation_bytes = 0;
  // Bytes of constants that nodes read in one run, each constant once; of a table that Gather
  // reads, the rows it takes.
  int64_t constant_bytes = 0;
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
