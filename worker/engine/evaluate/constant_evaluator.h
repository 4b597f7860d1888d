// Evaluates constants of a model the way a runtime would: an independent second opinion on what
// methods have written.
//
// Understood: initializers (sparse ones too), Constant, Identity, Cast between floats and from
// integers, Add, Sub, Mul, Div, Transpose, Reshape, Flatten, Squeeze, Unsqueeze, Slice (step 1),
// DequantizeLinear (per tensor, axis, block), com.microsoft's DequantizeLinear. A Gather along axis
// 0 whose indices are not constant stands for its whole table: row i of the value is what index i
// would give. GatherBlockQuantized likewise.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_CONSTANT_EVALUATOR_H_
#define LATHE_WORKER_ENGINE_EVALUATE_CONSTANT_EVALUATOR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/graph/scopes.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

// Rows [begin, end) along axis 0.
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
};

// How a constant value comes about, before its elements are read.
struct ConstantPlan {
  Shape dims;
  // Rows along axis 0 can be evaluated for themselves.
  bool by_rows = true;
};

class ConstantEvaluator {
 public:
  // `index` must outlive it.
  explicit ConstantEvaluator(const ScopeIndex& index) : index_(index) {}

  // FAILED_PRECONDITION when `value`, read in `graph`, is not computed from constants;
  // UNIMPLEMENTED when by an operator that is not understood.
  absl::StatusOr<ConstantPlan> Plan(const Graph* graph, const std::string& value) const;

  // The elements as float32, row-major; of `rows` alone when given, which takes a plan with
  // by_rows.
  absl::StatusOr<std::vector<float>> Evaluate(const Graph* graph, const std::string& value,
                                              std::optional<RowRange> rows = std::nullopt) const;

  // The integers of a small constant, for axes and shapes; nullopt when it is none.
  std::optional<std::vector<int64_t>> Ints(const Graph* graph, const std::string& value) const;

 private:
  // A value, or some rows of it.
  struct Piece {
    Shape dims;
    std::vector<float> values;
  };

  static absl::Status NotUnderstood(const Node& node);
  absl::StatusOr<ConstantPlan> PlanOf(const Graph* graph, const std::string& value,
                                      int depth) const;
  absl::StatusOr<ConstantPlan> PlanNode(const Definition& definition, int depth) const;
  // Of Reshape, Squeeze, Slice and their kin: by the operator's own shape rule.
  absl::StatusOr<ConstantPlan> PlanByRule(const Definition& definition, ConstantPlan in) const;
  absl::StatusOr<Piece> Eval(const Graph* graph, const std::string& value,
                             const std::optional<RowRange>& rows) const;
  absl::StatusOr<Piece> EvalNode(const Definition& definition,
                                 const std::optional<RowRange>& rows) const;
  // An operand of a broadcasting operator whose result has `rank` axes and `total` rows.
  absl::StatusOr<Piece> EvalOperand(const Graph* graph, const std::string& value, size_t rank,
                                    int64_t total, const std::optional<RowRange>& rows) const;
  absl::StatusOr<Piece> EvalBinary(const Definition& definition,
                                   const std::optional<RowRange>& rows) const;
  absl::StatusOr<Piece> EvalDequantize(const Definition& definition,
                                       const std::optional<RowRange>& rows) const;
  absl::StatusOr<Piece> EvalSlice(const Definition& definition,
                                  const std::optional<RowRange>& rows) const;
  absl::StatusOr<Piece> EvalBlockTable(const Definition& definition,
                                       const std::optional<RowRange>& rows) const;

  const ScopeIndex& index_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_CONSTANT_EVALUATOR_H_
