#include "worker/engine/evaluate/constant_evaluator.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checked.h"
#include "common/status_macros.h"
#include "worker/engine/evaluate/decode.h"
#include "worker/engine/graph/sparse.h"
#include "worker/engine/graph/trace.h"
#include "worker/engine/ops/op_context.h"
#include "worker/engine/ops/op_table.h"

namespace lathe::engine {
namespace {

constexpr int kMaxDepth = 64;

bool IsBinary(const Node& node) {
  return node.Is("Add") || node.Is("Sub") || node.Is("Mul") || node.Is("Div");
}

bool IsDequantize(const Node& node) {
  return node.op_type == "DequantizeLinear" &&
         (node.domain.empty() || node.domain == "com.microsoft");
}

bool IsBlockTable(const Node& node) {
  return node.op_type == "GatherBlockQuantized" && node.domain == "com.microsoft";
}

bool IsLayout(const Node& node) {
  return node.Is("Reshape") || node.Is("Flatten") || node.Is("Squeeze") || node.Is("Unsqueeze");
}

int64_t Count(const Shape& dims) { return CheckedProduct(dims).value_or(0); }

// Indices into a value of shape `from` for every element of `to`, which it broadcasts to, one axis
// at a time.
class BroadcastWalk {
 public:
  BroadcastWalk(const Shape& from, const Shape& to) : to_(to), step_(to.size(), 0) {
    const std::vector<int64_t> strides = Strides(from);
    const size_t lead = to.size() - from.size();
    for (size_t axis = lead; axis < to.size(); ++axis) {
      if (from[axis - lead] != 1) step_[axis] = strides[axis - lead];
    }
  }
  // Calls fn(first index in `to`, first index in `from`, step in `from`, count) for each run along
  // the last axis.
  template <typename Fn>
  void Runs(Fn&& fn) const {
    if (to_.empty()) return fn(int64_t{0}, int64_t{0}, int64_t{0}, int64_t{1});
    const int64_t run = to_.back();
    const int64_t runs = run == 0 ? 0 : Count(to_) / run;
    std::vector<int64_t> at(to_.size(), 0);
    int64_t source = 0;
    for (int64_t r = 0; r < runs; ++r) {
      fn(r * run, source, step_.back(), run);
      for (size_t axis = to_.size() - 1; axis-- > 0;) {
        source += step_[axis];
        if (++at[axis] < to_[axis]) break;
        source -= step_[axis] * to_[axis];
        at[axis] = 0;
      }
    }
  }

 private:
  const Shape& to_;
  std::vector<int64_t> step_;
};

template <typename Fn>
void Combine(std::vector<float>& values, const Shape& dims, const std::vector<float>& other,
             const Shape& other_dims, Fn&& fn) {
  BroadcastWalk(other_dims, dims).Runs([&](int64_t to, int64_t from, int64_t step, int64_t count) {
    float* out = values.data() + to;
    const float* in = other.data() + from;
    if (step == 0) {
      const float value = *in;
      for (int64_t i = 0; i < count; ++i) out[i] = fn(out[i], value);
    } else {
      for (int64_t i = 0; i < count; ++i) out[i] = fn(out[i], in[i * step]);
    }
  });
}

// Whether the part `out` of `in` that starts at `first` is the beginning of its elements.
bool IsPrefix(const Shape& in, const Shape& out, const std::vector<int64_t>& first) {
  int64_t before = 1;  // elements of the axes so far
  for (size_t axis = 0; axis < in.size(); ++axis) {
    if (first[axis] != 0 || (in[axis] != out[axis] && before != 1)) return false;
    before = SaturatingMul(before, in[axis]);
  }
  return true;
}

// Elements that were copied need not be in memory twice. Few ones (scales, read with every piece of
// what they scale) may stay.
void DropDecoded(const Tensor& tensor, int64_t begin, int64_t count) {
  constexpr int64_t kFewBytes = 64 << 10;
  const int64_t bits = DTypeBits(tensor.dtype).value_or(0);
  if (count * bits / 8 < kFewBytes) return;
  tensor.data.DropPages(begin * bits / 8, count * bits / 8);
}

std::vector<int64_t> PermutationOf(const Node& node, size_t rank) {
  std::vector<int64_t> perm = node.IntsAttribute("perm");
  if (node.FindAttribute("perm") == nullptr) {
    perm.resize(rank);
    std::iota(perm.rbegin(), perm.rend(), int64_t{0});
  }
  std::vector<int64_t> sorted = perm;
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i < sorted.size(); ++i) {
    if (sorted[i] != static_cast<int64_t>(i)) return {};
  }
  return perm;
}

std::vector<float> Permute(const std::vector<float>& in, const Shape& dims,
                           const std::vector<int64_t>& perm, const Shape& out_dims) {
  const std::vector<int64_t> strides = Strides(dims);
  std::vector<float> out(in.size());
  std::vector<int64_t> at(dims.size(), 0);
  int64_t source = 0;
  for (float& value : out) {
    value = in[static_cast<size_t>(source)];
    for (size_t axis = dims.size(); axis-- > 0;) {
      source += strides[perm[axis]];
      if (++at[axis] < out_dims[axis]) break;
      source -= strides[perm[axis]] * out_dims[axis];
      at[axis] = 0;
    }
  }
  return out;
}

}  // namespace

absl::Status ConstantEvaluator::NotUnderstood(const Node& node) {
  return absl::UnimplementedError(
      absl::StrCat("the constant is computed by ", DescribeNode(node), ", which is not evaluated"));
}

std::optional<std::vector<int64_t>> ConstantEvaluator::Ints(const Graph* graph,
                                                            const std::string& value) const {
  const Definition* definition = index_.Resolve(graph, value);
  if (definition == nullptr) return std::nullopt;
  if (const Tensor* tensor = ConstantTensor(*definition)) {
    const auto ints = tensor->ToInt64s();
    if (!ints.ok() || ints->size() > static_cast<size_t>(kMaxFoldedElements)) return std::nullopt;
    return *ints;
  }
  if (definition->kind == Definition::Kind::kNode && definition->node->Is("Constant")) {
    const Attribute* ints = std::as_const(*definition->node).FindAttribute("value_ints");
    if (ints != nullptr) return ints->ints;
  }
  return std::nullopt;
}

absl::StatusOr<ConstantPlan> ConstantEvaluator::Plan(const Graph* graph,
                                                     const std::string& value) const {
  ASSIGN_OR_RETURN(ConstantPlan plan, PlanOf(graph, value, 0));
  if (!IsPlausible(plan.dims)) {
    return absl::InvalidArgumentError(absl::StrCat("'", value, "' has an impossible shape"));
  }
  if (plan.dims.empty()) plan.by_rows = false;
  return plan;
}

absl::StatusOr<ConstantPlan> ConstantEvaluator::PlanOf(const Graph* graph, const std::string& value,
                                                       int depth) const {
  const Definition* definition = index_.Resolve(graph, value);
  if (definition == nullptr || depth > kMaxDepth) {
    return absl::FailedPreconditionError(absl::StrCat("'", value, "' is not a constant"));
  }
  if (const Tensor* tensor = ConstantTensor(*definition)) return ConstantPlan{tensor->dims, true};
  if (definition->kind == Definition::Kind::kSparse) {
    // Whether its elements fit is told when it is evaluated.
    ASSIGN_OR_RETURN(const SparseTensor sparse,
                     ReadSparse(definition->graph->sparse_initializers.at(definition->name)));
    return ConstantPlan{sparse.dims, false};
  }
  if (definition->kind != Definition::Kind::kNode) {
    return absl::FailedPreconditionError(absl::StrCat("'", value, "' is not a constant"));
  }
  return PlanNode(*definition, depth);
}

absl::StatusOr<ConstantPlan> ConstantEvaluator::PlanNode(const Definition& definition,
                                                         int depth) const {
  const Node& node = *definition.node;
  if (node.inputs.empty()) return NotUnderstood(node);
  const auto input = [&](size_t i) {
    return PlanOf(definition.graph, i < node.inputs.size() ? node.inputs[i] : "", depth + 1);
  };
  if (node.Is("Identity") || node.Is("Cast")) return input(0);
  if (node.Is("Gather")) {
    if (node.IntAttribute("axis", 0) != 0 || node.inputs.size() < 2) return NotUnderstood(node);
    if (PlanOf(definition.graph, node.inputs[1], depth + 1).ok()) return NotUnderstood(node);
    return input(0);
  }
  if (IsDequantize(node)) return input(0);
  if (IsBlockTable(node)) {
    if (node.IntAttribute("gather_axis", 0) != 0) return NotUnderstood(node);
    ASSIGN_OR_RETURN(ConstantPlan plan, input(0));
    const Definition* data = index_.Resolve(definition.graph, node.inputs[0]);
    const Tensor* tensor = data == nullptr ? nullptr : ConstantTensor(*data);
    const int64_t bits = node.IntAttribute("bits", 4);
    if (tensor == nullptr || plan.dims.size() < 2 || (bits != 4 && bits != 8 && bits != 2)) {
      return NotUnderstood(node);
    }
    if (tensor->dtype == DType::kUint8)
      plan.dims.back() = SaturatingMul(plan.dims.back(), 8 / bits);
    return plan;
  }
  if (IsBinary(node)) {
    ASSIGN_OR_RETURN(const ConstantPlan a, input(0));
    ASSIGN_OR_RETURN(const ConstantPlan b, input(1));
    const std::optional<Shape> dims = Broadcast(a.dims, b.dims);
    if (!dims) return absl::InvalidArgumentError("the operands of a constant do not fit");
    const auto whole = [&dims](const ConstantPlan& plan) {
      return plan.by_rows || plan.dims.size() < dims->size() || plan.dims[0] != (*dims)[0];
    };
    return ConstantPlan{*dims, whole(a) && whole(b)};
  }
  if (node.Is("Transpose")) {
    ASSIGN_OR_RETURN(ConstantPlan plan, input(0));
    const std::vector<int64_t> perm = PermutationOf(node, plan.dims.size());
    if (perm.size() != plan.dims.size()) return NotUnderstood(node);
    Shape dims;
    for (const int64_t axis : perm) dims.push_back(plan.dims[static_cast<size_t>(axis)]);
    return ConstantPlan{dims, false};
  }
  if (IsLayout(node) || node.Is("Slice")) {
    ASSIGN_OR_RETURN(ConstantPlan plan, input(0));
    return PlanByRule(definition, std::move(plan));
  }
  return NotUnderstood(node);
}

absl::StatusOr<ConstantPlan> ConstantEvaluator::PlanByRule(const Definition& definition,
                                                           ConstantPlan in) const {
  const Node& node = *definition.node;
  ValueFact fact;
  fact.dims = in.dims;
  fact.ranked = true;
  std::vector<ValueFact> others;
  for (size_t i = 1; i < node.inputs.size(); ++i) {
    std::optional<std::vector<int64_t>> ints = std::vector<int64_t>();
    if (!node.inputs[i].empty()) ints = Ints(definition.graph, node.inputs[i]);
    if (!ints) return NotUnderstood(node);
    others.push_back(IntsFact(*std::move(ints)));
  }
  std::vector<const ValueFact*> inputs = {&fact};
  for (size_t i = 0; i < others.size(); ++i) {
    inputs.push_back(node.inputs[i + 1].empty() ? nullptr : &others[i]);
  }
  OpContext ctx(node, 13, std::move(inputs));
  const OpRule* rule = FindOpRule("", node.op_type);
  if (rule == nullptr || !rule->infer(ctx) || ctx.output_count() < 1) return NotUnderstood(node);
  if (node.Is("Slice") && node.inputs.size() > 4 && !node.inputs[4].empty()) {
    for (const int64_t step : others[3].ints) {
      if (step != 1) return NotUnderstood(node);
    }
  }
  const Shape& dims = ctx.Out(0).dims;
  // Rows stay rows when their number does.
  const bool same_rows = !dims.empty() && !in.dims.empty() && dims[0] == in.dims[0];
  return ConstantPlan{dims, in.by_rows && same_rows};
}

absl::StatusOr<std::vector<float>> ConstantEvaluator::Evaluate(const Graph* graph,
                                                               const std::string& value,
                                                               std::optional<RowRange> rows) const {
  ASSIGN_OR_RETURN(const ConstantPlan plan, Plan(graph, value));
  if (rows && !plan.by_rows) return absl::InternalError("rows of a constant that has none");
  ASSIGN_OR_RETURN(Piece piece, Eval(graph, value, rows));
  return std::move(piece.values);
}

absl::StatusOr<ConstantEvaluator::Piece> ConstantEvaluator::Eval(
    const Graph* graph, const std::string& value, const std::optional<RowRange>& rows) const {
  const Definition* definition = index_.Resolve(graph, value);
  if (definition == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("'", value, "' is not a constant"));
  }
  if (const Tensor* tensor = ConstantTensor(*definition)) {
    Piece piece;
    piece.dims = tensor->dims;
    int64_t begin = 0;
    int64_t count = tensor->size();
    if (rows && !tensor->dims.empty() && tensor->dims[0] > 0) {
      const int64_t row = count / tensor->dims[0];
      begin = rows->begin * row;
      count = (rows->end - rows->begin) * row;
      piece.dims[0] = rows->end - rows->begin;
    }
    ASSIGN_OR_RETURN(piece.values, DecodeElements(*tensor, begin, count));
    DropDecoded(*tensor, begin, count);
    return piece;
  }
  if (definition->kind == Definition::Kind::kSparse) {
    ASSIGN_OR_RETURN(DenseValues dense,
                     DecodeSparse(definition->graph->sparse_initializers.at(definition->name)));
    return Piece{std::move(dense.dims), std::move(dense.values)};
  }
  return EvalNode(*definition, rows);
}

absl::StatusOr<ConstantEvaluator::Piece> ConstantEvaluator::EvalNode(
    const Definition& definition, const std::optional<RowRange>& rows) const {
  const Node& node = *definition.node;
  if (IsBinary(node)) return EvalBinary(definition, rows);
  if (IsDequantize(node)) return EvalDequantize(definition, rows);
  if (IsBlockTable(node)) return EvalBlockTable(definition, rows);
  if (node.Is("Slice")) return EvalSlice(definition, rows);
  ASSIGN_OR_RETURN(Piece piece, Eval(definition.graph, node.inputs[0], rows));
  if (node.Is("Identity") || node.Is("Gather")) return piece;
  if (node.Is("Cast")) {
    const auto to = static_cast<DType>(node.IntAttribute("to", 0));
    if (to == DType::kFloat16) {
      for (float& value : piece.values) value = HalfToFloat(FloatToHalf(value));
    } else if (to == DType::kBfloat16) {
      for (float& value : piece.values) value = Bfloat16ToFloat(FloatToBfloat16(value));
    } else if (to != DType::kFloat && to != DType::kDouble) {
      return NotUnderstood(node);
    }
    return piece;
  }
  ASSIGN_OR_RETURN(const ConstantPlan plan, PlanNode(definition, 0));
  if (node.Is("Transpose")) {
    piece.values =
        Permute(piece.values, piece.dims, PermutationOf(node, piece.dims.size()), plan.dims);
  }
  piece.dims = plan.dims;
  if (rows && !piece.dims.empty()) piece.dims[0] = rows->end - rows->begin;
  return piece;
}

absl::StatusOr<ConstantEvaluator::Piece> ConstantEvaluator::EvalOperand(
    const Graph* graph, const std::string& value, size_t rank, int64_t total,
    const std::optional<RowRange>& rows) const {
  ASSIGN_OR_RETURN(const ConstantPlan plan, PlanOf(graph, value, 0));
  const bool has_rows =
      plan.dims.size() == rank && !plan.dims.empty() && plan.dims[0] == total && total != 1;
  return Eval(graph, value, has_rows ? rows : std::nullopt);
}

absl::StatusOr<ConstantEvaluator::Piece> ConstantEvaluator::EvalBinary(
    const Definition& definition, const std::optional<RowRange>& rows) const {
  const Node& node = *definition.node;
  ASSIGN_OR_RETURN(const ConstantPlan plan, PlanNode(definition, 0));
  const int64_t total = plan.dims.empty() ? 1 : plan.dims[0];
  ASSIGN_OR_RETURN(Piece a,
                   EvalOperand(definition.graph, node.inputs[0], plan.dims.size(), total, rows));
  ASSIGN_OR_RETURN(Piece b,
                   EvalOperand(definition.graph, node.inputs[1], plan.dims.size(), total, rows));
  Shape dims = plan.dims;
  if (rows && !dims.empty()) dims[0] = rows->end - rows->begin;
  bool swapped = false;
  if (a.dims != dims && b.dims == dims) {
    std::swap(a, b);
    swapped = true;
  }
  if (a.dims != dims) {
    std::vector<float> wide(static_cast<size_t>(Count(dims)), 0.0f);
    Combine(wide, dims, a.values, a.dims, [](float, float x) { return x; });
    a = {dims, std::move(wide)};
  }
  const auto combine = [&](auto fn) { Combine(a.values, dims, b.values, b.dims, fn); };
  if (node.Is("Add")) {
    combine([](float x, float y) { return x + y; });
  } else if (node.Is("Mul")) {
    combine([](float x, float y) { return x * y; });
  } else if (node.Is("Sub")) {
    if (swapped) {
      combine([](float x, float y) { return y - x; });
    } else {
      combine([](float x, float y) { return x - y; });
    }
  } else if (swapped) {
    combine([](float x, float y) { return y / x; });
  } else {
    combine([](float x, float y) { return x / y; });
  }
  return a;
}

absl::StatusOr<ConstantEvaluator::Piece> ConstantEvaluator::EvalSlice(
    const Definition& definition, const std::optional<RowRange>& rows) const {
  const Node& node = *definition.node;
  const Graph* graph = definition.graph;
  ASSIGN_OR_RETURN(const ConstantPlan plan, PlanNode(definition, 0));
  ASSIGN_OR_RETURN(const ConstantPlan whole, PlanOf(graph, node.inputs[0], 0));
  ASSIGN_OR_RETURN(Piece in, Eval(graph, node.inputs[0], rows));
  std::vector<int64_t> starts = node.IntsAttribute("starts");
  std::vector<int64_t> axes = node.IntsAttribute("axes");
  if (node.inputs.size() > 1) starts = Ints(graph, node.inputs[1]).value_or(starts);
  if (node.inputs.size() > 3 && !node.inputs[3].empty()) {
    axes = Ints(graph, node.inputs[3]).value_or(axes);
  }
  std::vector<int64_t> first(whole.dims.size(), 0);
  for (size_t i = 0; i < starts.size(); ++i) {
    const auto axis = NormalAxis(axes.empty() ? static_cast<int64_t>(i) : axes[i],
                                 static_cast<int64_t>(whole.dims.size()));
    if (!axis) return NotUnderstood(node);
    const int64_t extent = whole.dims[static_cast<size_t>(*axis)];
    const int64_t start = starts[i] < 0 ? std::max<int64_t>(0, starts[i] + extent) : starts[i];
    first[static_cast<size_t>(*axis)] = std::min(start, extent);
  }
  Piece out;
  out.dims = plan.dims;
  if (rows) out.dims[0] = in.dims[0];
  const int64_t count = Count(out.dims);
  if (IsPrefix(in.dims, out.dims, first)) {  // padding that is cut off: no second copy
    in.values.resize(static_cast<size_t>(count));
    out.values = std::move(in.values);
    return out;
  }
  out.values.reserve(static_cast<size_t>(count));
  if (count == 0) return out;
  const std::vector<int64_t> strides = Strides(in.dims);
  std::vector<int64_t> at(out.dims.size(), 0);
  const int64_t run = out.dims.empty() ? 1 : out.dims.back();
  for (int64_t done = 0; done < count; done += run) {
    int64_t source = 0;
    for (size_t axis = 0; axis < at.size(); ++axis) {
      source += (at[axis] + first[axis]) * strides[axis];
    }
    out.values.insert(out.values.end(), in.values.begin() + source,
                      in.values.begin() + source + run);
    for (size_t axis = at.size() < 2 ? 0 : at.size() - 1; axis-- > 0;) {
      if (++at[axis] < out.dims[axis]) break;
      at[axis] = 0;
    }
  }
  return out;
}

}  // namespace lathe::engine
