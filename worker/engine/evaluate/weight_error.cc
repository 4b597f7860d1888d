#include "worker/engine/evaluate/weight_error.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/evaluate/constant_evaluator.h"
#include "worker/engine/evaluate/linear_operand.h"
#include "worker/engine/evaluate/operand_source.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/linalg/products.h"

namespace lathe::engine {
namespace {

// Operators between a layer's output and the one that multiplies by its weight: Add for a bias.
constexpr int kMaxStepsBack = 4;

struct Sums {
  double change = 0;
  double norm = 0;
  int64_t nonzero_before = 0;
  int64_t nonzero_after = 0;

  void Add(const Sums& other) {
    change += other.change;
    norm += other.norm;
    nonzero_before += other.nonzero_before;
    nonzero_after += other.nonzero_after;
  }
};

Sums Compare(const float* before, const float* after, int64_t count) {
  // Several sums of each kind, which compilers keep in vectors; in a fixed order.
  constexpr int64_t kLanes = 8;
  double change[kLanes] = {};
  double norm[kLanes] = {};
  int64_t nonzero_before[kLanes] = {};
  int64_t nonzero_after[kLanes] = {};
  const auto add = [&](int64_t i, int64_t lane) {
    const double w = before[i];
    const double d = w - static_cast<double>(after[i]);
    change[lane] += d * d;
    norm[lane] += w * w;
    nonzero_before[lane] += before[i] != 0;
    nonzero_after[lane] += after[i] != 0;
  };
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) add(i + lane, lane);
  }
  for (; i < count; ++i) add(i, 0);
  Sums sums;
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    sums.Add({change[lane], norm[lane], nonzero_before[lane], nonzero_after[lane]});
  }
  return sums;
}

int64_t CountNonzero(const std::vector<float>& values) {
  return static_cast<int64_t>(values.size()) -
         static_cast<int64_t>(std::count(values.begin(), values.end(), 0.0f));
}

std::vector<const Graph*> GraphsInOrder(const Model& model) {
  std::vector<const Graph*> graphs;
  ForEachGraph(model, [&graphs](const Graph& graph) { graphs.push_back(&graph); });
  return graphs;
}

class Measurer {
 public:
  Measurer(Model& original, const Model& compressed, Parallel& parallel)
      : before_index_(original),
        after_index_(compressed),
        before_(before_index_),
        after_(after_index_),
        parallel_(parallel) {
    const std::vector<const Graph*> graphs = GraphsInOrder(original);
    after_graphs_ = GraphsInOrder(compressed);
    for (size_t i = 0; i < graphs.size(); ++i) ordinal_[graphs[i]] = i;
  }

  LayerMeasure Measure(const Weight& weight) {
    LayerMeasure measure;
    measure.name = weight.name;
    measure.blocked_reason = weight.blocked_reason;
    measure.dims = weight.dims;
    if (weight.uses.empty()) return measure;
    const WeightUse& use = weight.uses.front();
    measure.op = RoleName(*use.node, use.role);
    if (!weight.blocked_reason.empty()) {
      CountAlone(weight, use, &measure);
      return measure;
    }
    const absl::Status status = MeasureUse(use, &measure);
    if (!status.ok()) {
      measure.not_measured = std::string(status.message());
      CountAlone(weight, use, &measure);
    }
    return measure;
  }

 private:
  // A weight that was left as it is: its elements count the same before and after.
  void CountAlone(const Weight& weight, const WeightUse& use, LayerMeasure* measure) {
    measure->parameters_before = weight.size();
    measure->nonzero_before = weight.size();
    const absl::StatusOr<Counts> counts =
        use.node->op_type == "MatMulNBits" ? CountBlocks(use) : CountOperand(use);
    if (counts.ok()) {
      measure->parameters_before = counts->elements;
      measure->nonzero_before = counts->nonzero;
    }
    measure->parameters_after = measure->parameters_before;
    measure->nonzero_after = measure->nonzero_before;
  }

  struct Counts {
    int64_t elements = 0;
    int64_t nonzero = 0;
  };

  absl::StatusOr<Counts> CountBlocks(const WeightUse& use) {
    ASSIGN_OR_RETURN(const BlockMatrix matrix,
                     BlockMatrix::Read(before_, before_index_, use.graph, *use.node));
    const int64_t a_piece = std::max<int64_t>(1, kPieceElements / matrix.columns());
    const int64_t pieces = (matrix.rows() + a_piece - 1) / a_piece;
    std::vector<int64_t> nonzero(static_cast<size_t>(pieces), 0);
    parallel_.Run(pieces, [&](int64_t p) {
      const int64_t end = std::min(matrix.rows(), (p + 1) * a_piece);
      nonzero[static_cast<size_t>(p)] = CountNonzero(matrix.Rows(p * a_piece, end));
    });
    Counts counts{matrix.rows() * matrix.columns(), 0};
    for (const int64_t count : nonzero) counts.nonzero += count;
    return counts;
  }

  absl::StatusOr<Counts> CountOperand(const WeightUse& use) {
    if (static_cast<size_t>(use.input) >= use.node->inputs.size()) {
      return absl::NotFoundError("it has no operand");
    }
    const std::string& operand = use.node->inputs[static_cast<size_t>(use.input)];
    ASSIGN_OR_RETURN(const OperandSource source, OperandSource::Open(before_, use.graph, operand));
    const std::vector<float> zeros = ZeroPoint(use);
    const bool leading = use.node->op_type == "ConvInteger" || use.node->op_type == "QLinearConv";
    const int64_t elements = Elements(source.dims());
    const int64_t rows = source.dims().empty() ? 1 : source.dims()[0];
    const int64_t width = rows == 0 ? 0 : elements / rows;
    const int64_t a_piece = std::max<int64_t>(1, kPieceElements / std::max<int64_t>(1, width));
    const int64_t pieces = (rows + a_piece - 1) / a_piece;
    // A row's zero point, or its elements' ones, repeated.
    const auto count_rows = [&](const float* values, int64_t begin, int64_t end) {
      const auto count = static_cast<int64_t>(zeros.size());
      int64_t nonzero = 0;
      for (int64_t r = begin; r < end; ++r) {
        for (int64_t i = 0; i < width; ++i) {
          const int64_t at = count <= 1 ? 0 : leading ? r % count : i % count;
          nonzero += *values++ != (count == 0 ? 0.0f : zeros[static_cast<size_t>(at)]);
        }
      }
      return nonzero;
    };
    std::vector<int64_t> nonzero(static_cast<size_t>(pieces), 0);
    std::vector<absl::Status> failed(static_cast<size_t>(pieces));
    parallel_.Run(pieces, [&](int64_t p) {
      const int64_t begin = p * a_piece;
      const int64_t end = std::min(rows, begin + a_piece);
      if (!source.by_rows()) {
        nonzero[static_cast<size_t>(p)] =
            count_rows(source.whole().data() + begin * width, begin, end);
        return;
      }
      const auto values = source.Rows(begin, end);
      failed[static_cast<size_t>(p)] = values.status();
      if (values.ok()) nonzero[static_cast<size_t>(p)] = count_rows(values->data(), begin, end);
    });
    Counts counts{elements, 0};
    for (size_t p = 0; p < nonzero.size(); ++p) {
      RETURN_IF_ERROR(failed[p]);
      counts.nonzero += nonzero[p];
    }
    return counts;
  }

  // Operators on integers take the weight's zero point as an input of their own: one number, or one
  // an output channel, along axis 0 of convolutions and the last axis of products.
  std::vector<float> ZeroPoint(const WeightUse& use) const {
    size_t at = 0;
    const std::string& op = use.node->op_type;
    if (op == "ConvInteger" || op == "MatMulInteger" || op == "DynamicQuantizeMatMul") at = 3;
    if (op == "QLinearConv" || op == "QLinearMatMul" || op == "MatMulIntegerToFloat") at = 5;
    if (at == 0 || at >= use.node->inputs.size() || use.node->inputs[at].empty()) return {};
    const auto zeros = before_.Evaluate(use.graph, use.node->inputs[at]);
    return zeros.ok() ? *zeros : std::vector<float>();
  }

  absl::Status MeasureUse(const WeightUse& use, LayerMeasure* measure) {
    const auto ordinal = ordinal_.find(use.graph);
    if (ordinal == ordinal_.end() || ordinal->second >= after_graphs_.size()) {
      return absl::NotFoundError("its graph is not in the compressed model");
    }
    const Graph* graph = after_graphs_[ordinal->second];
    const auto named = std::find_if(use.node->outputs.begin(), use.node->outputs.end(),
                                    [](const std::string& name) { return !name.empty(); });
    if (named == use.node->outputs.end()) return absl::NotFoundError("it has no output");
    const Definition* made = after_index_.Resolve(graph, *named);
    if (made == nullptr || made->kind != Definition::Kind::kNode) {
      return absl::NotFoundError(
          absl::StrCat("'", *named, "' is not computed in the compressed model"));
    }
    ASSIGN_OR_RETURN(
        const OperandSource before,
        OperandSource::Open(before_, use.graph, use.node->inputs[static_cast<size_t>(use.input)]));
    measure->dims = before.dims();
    measure->parameters_before = Elements(before.dims());
    if (use.role == WeightRole::kEmbedding) {
      ASSIGN_OR_RETURN(const OperandSource after, OperandSource::Open(after_, graph, *named));
      return CompareSources(before, after, measure);
    }
    const Node* node = made->node;
    for (int step = 0; step < kMaxStepsBack; ++step) {
      const bool same_op = node->op_type == use.node->op_type && node->domain == use.node->domain;
      if (same_op && static_cast<size_t>(use.input) < node->inputs.size()) {
        auto after =
            OperandSource::Open(after_, graph, node->inputs[static_cast<size_t>(use.input)]);
        const bool same_form =
            node->IntAttribute("transB", 0) == use.node->IntAttribute("transB", 0);
        if (after.ok() && after->dims() == before.dims() && same_form) {
          return CompareSources(before, *after, measure);
        }
        if (!after.ok()) return after.status();
      }
      if (same_op || node->op_type == "MatMulNBits" || node->Is("MatMul") || node->Is("Gemm")) {
        return MeasureLinear(use, graph, *node, measure);
      }
      // A bias, a cast or a reshape stands after the product.
      const Node* earlier = ComputedInput(graph, *node);
      if (earlier == nullptr) break;
      node = earlier;
    }
    return absl::UnimplementedError("its new form is not understood");
  }

  // The node that makes the one input of `node` which is not constant.
  const Node* ComputedInput(const Graph* graph, const Node& node) const {
    for (const std::string& input : node.inputs) {
      const Definition* definition = input.empty() ? nullptr : after_index_.Resolve(graph, input);
      if (definition == nullptr || definition->kind != Definition::Kind::kNode) continue;
      if (!after_.Plan(graph, input).ok()) return definition->node;
    }
    return nullptr;
  }

  static absl::Status Finish(const Sums& sums, LayerMeasure* measure) {
    measure->nonzero_before = sums.nonzero_before;
    measure->nonzero_after = sums.nonzero_after;
    if (!std::isfinite(sums.norm) || !std::isfinite(sums.change)) {
      measure->not_measured = "it holds values that are not finite";
    } else if (sums.norm > 0) {
      measure->relative_error = std::sqrt(sums.change / sums.norm);
    } else if (sums.change == 0) {
      measure->relative_error = 0;
    }
    return absl::OkStatus();
  }

  static bool Changed(const LayerMeasure& measure) {
    return measure.relative_error && *measure.relative_error > 0;
  }

  absl::Status CompareSources(const OperandSource& before, const OperandSource& after,
                              LayerMeasure* measure) {
    if (before.dims() != after.dims()) {
      return absl::UnimplementedError("it has another shape in the compressed model");
    }
    measure->parameters_after = Elements(before.dims());
    const WeightPieces pieces(before, after);
    std::vector<Sums> sums(static_cast<size_t>(pieces.count()));
    RETURN_IF_ERROR(pieces.ForEach(parallel_, [&](const WeightPiece& piece) {
      sums[static_cast<size_t>(piece.index)] =
          Compare(piece.before.data(), piece.after.data(), piece.size());
    }));
    Sums total;
    for (const Sums& part : sums) total.Add(part);
    RETURN_IF_ERROR(Finish(total, measure));
    if (!Changed(*measure)) return absl::OkStatus();
    ASSIGN_OR_RETURN(measure->histogram, CountWeights(pieces, parallel_));
    return absl::OkStatus();
  }

  // The weight has become another operator's, or two factors.
  absl::Status MeasureLinear(const WeightUse& use, const Graph* graph, const Node& node,
                             LayerMeasure* measure) {
    ASSIGN_OR_RETURN(LinearOperand was,
                     ReadLinearOperand(before_, before_index_, use.graph, *use.node));
    ASSIGN_OR_RETURN(LinearOperand now, ReadLinearOperand(after_, after_index_, graph, node));
    if (was.in == now.in && was.out == now.out) {
      Turn(was.out_major, &now);
      measure->parameters_after = static_cast<int64_t>(now.values.size());
      RETURN_IF_ERROR(Finish(
          Compare(was.values.data(), now.values.data(), static_cast<int64_t>(was.values.size())),
          measure));
      if (Changed(*measure)) measure->histogram = CountWeights(was.values, now.values);
      return absl::OkStatus();
    }
    const Definition* first = after_index_.Resolve(graph, now.data);
    if (first == nullptr || first->kind != Definition::Kind::kNode || was.out != now.out) {
      return absl::UnimplementedError("it has another shape in the compressed model");
    }
    ASSIGN_OR_RETURN(LinearOperand inner,
                     ReadLinearOperand(after_, after_index_, graph, *first->node));
    if (inner.in != was.in || inner.out != now.in) {
      return absl::UnimplementedError("its factors do not fit together");
    }
    // The factors turn the way the whole lies: they are smaller.
    for (LinearOperand* factor : {&now, &inner}) Turn(was.out_major, factor);
    Sums sums;
    sums.nonzero_before = CountNonzero(was.values);
    sums.nonzero_after = CountNonzero(now.values) + CountNonzero(inner.values);
    sums.norm = SquaredNorm(was.values.data(), was.in * was.out, parallel_);
    const LinearOperand& left = was.out_major ? now : inner;
    const LinearOperand& right = was.out_major ? inner : now;
    const int64_t rows = was.out_major ? was.out : was.in;
    const int64_t columns = was.out_major ? was.in : was.out;
    sums.change = SquaredResidual(rows, columns, now.in, was.values.data(), left.values.data(),
                                  right.values.data(), parallel_);
    measure->parameters_after =
        static_cast<int64_t>(now.values.size()) + static_cast<int64_t>(inner.values.size());
    RETURN_IF_ERROR(Finish(sums, measure));
    if (!Changed(*measure)) return absl::OkStatus();
    measure->histogram = CountProduct(rows, columns, now.in, was.values.data(), left.values.data(),
                                      right.values.data(), parallel_);
    return absl::OkStatus();
  }

  static void Turn(bool out_major, LinearOperand* operand) {
    if (operand->out_major == out_major) return;
    operand->values = operand->out_major
                          ? Transposed(operand->out, operand->in, operand->values.data())
                          : Transposed(operand->in, operand->out, operand->values.data());
    operand->out_major = out_major;
  }

  ScopeIndex before_index_;
  ScopeIndex after_index_;
  ConstantEvaluator before_;
  ConstantEvaluator after_;
  Parallel& parallel_;
  std::unordered_map<const Graph*, size_t> ordinal_;
  std::vector<const Graph*> after_graphs_;
};

}  // namespace

absl::StatusOr<std::vector<LayerMeasure>> MeasureWeights(
    Model& original, const Model& compressed, Parallel& parallel,
    const std::function<absl::Status()>& next_layer) {
  const std::vector<Weight> weights = FindWeights(original);
  Measurer measurer(original, compressed, parallel);
  std::vector<LayerMeasure> measures;
  for (const Weight& weight : weights) {
    if (next_layer) RETURN_IF_ERROR(next_layer());
    measures.push_back(measurer.Measure(weight));
  }
  return measures;
}

}  // namespace lathe::engine
