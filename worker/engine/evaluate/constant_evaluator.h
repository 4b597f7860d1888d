// Evaluates constant subgraphs the way a runtime folds them: an independent check of what methods
// emit.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_CONSTANT_EVALUATOR_H_
#define LATHE_WORKER_ENGINE_EVALUATE_CONSTANT_EVALUATOR_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "worker/engine/graph/model.h"

namespace lathe::engine {

struct FloatArray {
  Shape dims;
  std::vector<float> values;
};

// Finds and evaluates constants of one graph and its ancestors. Not thread-safe.
class ConstantEvaluator {
 public:
  // `graph` must outlive the evaluator and not change.
  explicit ConstantEvaluator(const Graph& graph);

  // The value as float32; nullopt when it is not constant, or made by an operator this does not
  // know. Knows constants of float and integer types, sparse initializers, and Identity, Cast, Mul,
  // Add, Sub, Reshape, Transpose, Slice and DequantizeLinear (per tensor, axis, block) over them.
  std::optional<FloatArray> Evaluate(const std::string& value) const;

 private:
  std::optional<FloatArray> EvaluateNode(const Node& node) const;
  std::optional<std::vector<int64_t>> Integers(const std::string& value) const;

  const Graph& graph_;
  std::map<std::string, const Node*> producers_;
  mutable int depth_ = 0;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_CONSTANT_EVALUATOR_H_
