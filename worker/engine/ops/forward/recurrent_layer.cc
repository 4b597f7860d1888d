#include "worker/engine/ops/forward/recurrent_layer.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/value_read.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

bool Has(std::span<const Value> inputs, size_t i) {
  return i < inputs.size() && inputs[i].kind != Value::Kind::kNone;
}

absl::Status CheckInput(std::span<const Value> inputs, size_t i, const Shape& dims) {
  if (!Has(inputs, i)) return absl::OkStatus();
  if (!inputs[i].IsTensor() || inputs[i].dtype != DType::kFloat || inputs[i].dims != dims) {
    const Value wanted = Value::Borrow(DType::kFloat, dims, nullptr);
    return absl::InvalidArgumentError(absl::StrCat("input ", i, " must be ", Describe(wanted)));
  }
  return absl::OkStatus();
}

absl::Status ReadLengths(std::span<const Value> inputs, RecurrentLayer& l) {
  l.lengths.assign(static_cast<size_t>(l.batch), static_cast<int32_t>(l.steps));
  if (!Has(inputs, 4)) return absl::OkStatus();
  const std::optional<std::vector<int64_t>> given = ReadInts(inputs[4]);
  if (!given || static_cast<int64_t>(given->size()) != l.batch) {
    return absl::InvalidArgumentError(
        absl::StrCat("input 4 must have ", l.batch, " integers, the lengths"));
  }
  for (size_t i = 0; i < given->size(); ++i) {
    const int64_t length = (*given)[i];
    if (length < 0 || length > l.steps) {
      return absl::InvalidArgumentError(
          absl::StrCat("length ", length, " lies outside of [0, ", l.steps, "]"));
    }
    l.lengths[i] = static_cast<int32_t>(length);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RecurrentLayer> RecurrentLayerOf(
    const Node& node, std::span<const Value> inputs, int64_t gates,
    const std::vector<RecurrentActivation::Kind>& activations) {
  for (size_t i = 0; i < 3; ++i) {
    if (!Has(inputs, i) || !inputs[i].IsTensor() || inputs[i].dims.size() != 3 ||
        inputs[i].dtype != DType::kFloat) {
      return absl::InvalidArgumentError(
          absl::StrCat("input ", i, " must be of floats, with three axes"));
    }
  }
  RecurrentLayer l;
  const Shape& x = inputs[0].dims;
  l.batch_first = node.IntAttribute("layout", 0) != 0;
  l.steps = x[l.batch_first ? 1 : 0];
  l.batch = x[l.batch_first ? 0 : 1];
  l.width = x[2];
  l.hidden = inputs[2].dims[2];
  l.gates = gates;
  const std::string direction = node.StringAttribute("direction", "forward");
  l.reversed = direction == "reverse";
  l.directions = direction == "bidirectional" ? 2 : 1;
  if (direction != "forward" && l.directions == 1 && !l.reversed) {
    return absl::InvalidArgumentError(absl::StrCat("the direction '", direction, "' is not known"));
  }
  if (node.IntAttribute("hidden_size", l.hidden) != l.hidden) {
    return absl::InvalidArgumentError("'hidden_size' is not that of the weights");
  }
  const int64_t d = l.directions;
  const int64_t rows = SaturatingMul(gates, l.hidden);
  const Shape state = l.batch_first ? Shape{l.batch, d, l.hidden} : Shape{d, l.batch, l.hidden};
  RETURN_IF_ERROR(CheckInput(inputs, 1, {d, rows, l.width}));
  RETURN_IF_ERROR(CheckInput(inputs, 2, {d, rows, l.hidden}));
  RETURN_IF_ERROR(CheckInput(inputs, 3, {d, 2 * rows}));
  RETURN_IF_ERROR(CheckInput(inputs, 5, state));
  RETURN_IF_ERROR(CheckInput(inputs, 6, state));
  RETURN_IF_ERROR(CheckInput(inputs, 7, {d, 3 * l.hidden}));
  l.clip = node.FloatAttribute("clip", 0.0f);
  RETURN_IF_ERROR(ReadLengths(inputs, l));
  ASSIGN_OR_RETURN(l.activations, RecurrentActivationsOf(node, l.directions, activations));
  l.activations_each = activations.size();
  return l;
}

}  // namespace lathe::engine
