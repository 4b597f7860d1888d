// A weight of a model, decoded in pieces, alone or beside what has become of it (internal to
// evaluate/).
#ifndef LATHE_WORKER_ENGINE_EVALUATE_OPERAND_SOURCE_H_
#define LATHE_WORKER_ENGINE_EVALUATE_OPERAND_SOURCE_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/evaluate/constant_evaluator.h"
#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

// A piece of work: large enough to pay for itself, small enough that nothing large is decoded twice
// over.
inline constexpr int64_t kPieceElements = int64_t{256} << 10;

// Elements of a shape; 0 when they cannot be counted.
int64_t Elements(const Shape& dims);

// A constant that is read in parts where that is possible, and as a whole otherwise.
class OperandSource {
 public:
  // Errors as ConstantEvaluator.
  static absl::StatusOr<OperandSource> Open(const ConstantEvaluator& evaluator, const Graph* graph,
                                            const std::string& value);
  const Shape& dims() const { return plan_.dims; }
  bool by_rows() const { return plan_.by_rows; }
  const std::vector<float>& whole() const { return whole_; }
  // Rows of a constant that is read by rows.
  absl::StatusOr<std::vector<float>> Rows(int64_t begin, int64_t end) const {
    return evaluator_->Evaluate(graph_, value_, RowRange{begin, end});
  }
  absl::StatusOr<std::vector<float>> All() const {
    if (!plan_.by_rows) return whole_;
    return evaluator_->Evaluate(graph_, value_);
  }

 private:
  OperandSource(const ConstantEvaluator& evaluator, const Graph* graph, std::string value)
      : evaluator_(&evaluator), graph_(graph), value_(std::move(value)) {}

  const ConstantEvaluator* evaluator_;
  const Graph* graph_;
  std::string value_;
  ConstantPlan plan_;
  std::vector<float> whole_;
};

// The same rows of two weights.
struct WeightPiece {
  int64_t index = 0;
  std::span<const float> before;
  std::span<const float> after;  // as many
  int64_t size() const { return static_cast<int64_t>(before.size()); }
};

// Two weights of the same shape, cut along their first axis; borrows them.
class WeightPieces {
 public:
  WeightPieces(const OperandSource& before, const OperandSource& after);
  int64_t count() const { return count_; }
  // Calls `fn` for pieces 0, `stride`, 2 `stride`, ..., from several threads at once. The errors of
  // reading.
  absl::Status ForEach(Parallel& parallel, const std::function<void(const WeightPiece&)>& fn,
                       int64_t stride = 1) const;

 private:
  const OperandSource& before_;
  const OperandSource& after_;
  int64_t rows_ = 0;
  int64_t width_ = 0;  // elements a row
  int64_t rows_a_piece_ = 1;
  int64_t count_ = 0;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_OPERAND_SOURCE_H_
