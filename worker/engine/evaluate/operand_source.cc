#include "worker/engine/evaluate/operand_source.h"

#include <algorithm>
#include <utility>

#include "common/status_macros.h"
#include "worker/engine/ops/value_fact.h"

namespace lathe::engine {

int64_t Elements(const Shape& dims) {
  ValueFact fact;
  fact.dims = dims;
  fact.ranked = true;
  return fact.size();
}

absl::StatusOr<OperandSource> OperandSource::Open(const ConstantEvaluator& evaluator,
                                                  const Graph* graph, const std::string& value) {
  OperandSource source(evaluator, graph, value);
  ASSIGN_OR_RETURN(source.plan_, evaluator.Plan(graph, value));
  if (!source.plan_.by_rows) {
    ASSIGN_OR_RETURN(source.whole_, evaluator.Evaluate(graph, value));
  }
  return source;
}

WeightPieces::WeightPieces(const OperandSource& before, const OperandSource& after)
    : before_(before), after_(after) {
  const int64_t elements = Elements(before.dims());
  rows_ = before.dims().empty() ? 1 : before.dims()[0];
  width_ = rows_ == 0 ? 0 : elements / rows_;
  rows_a_piece_ = std::max<int64_t>(1, kPieceElements / std::max<int64_t>(1, width_));
  count_ = (rows_ + rows_a_piece_ - 1) / rows_a_piece_;
}

absl::Status WeightPieces::ForEach(Parallel& parallel,
                                   const std::function<void(const WeightPiece&)>& fn,
                                   int64_t stride) const {
  const int64_t visited = (count_ + stride - 1) / stride;
  std::vector<absl::Status> failed(static_cast<size_t>(visited));
  parallel.Run(visited, [&](int64_t i) {
    WeightPiece piece;
    piece.index = i * stride;
    const int64_t begin = piece.index * rows_a_piece_;
    const int64_t end = std::min(rows_, begin + rows_a_piece_);
    std::vector<float> left;
    std::vector<float> right;
    for (const bool is_left : {true, false}) {
      const OperandSource& source = is_left ? before_ : after_;
      std::span<const float>& values = is_left ? piece.before : piece.after;
      if (!source.by_rows()) {
        values = std::span(source.whole())
                     .subspan(static_cast<size_t>(begin * width_),
                              static_cast<size_t>((end - begin) * width_));
        continue;
      }
      absl::StatusOr<std::vector<float>> rows = source.Rows(begin, end);
      if (!rows.ok()) {
        failed[static_cast<size_t>(i)] = rows.status();
        return;
      }
      (is_left ? left : right) = *std::move(rows);
      values = is_left ? left : right;
    }
    fn(piece);
  });
  for (const absl::Status& status : failed) RETURN_IF_ERROR(status);
  return absl::OkStatus();
}

}  // namespace lathe::engine
