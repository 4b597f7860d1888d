// If, Loop and Scan.
#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/run_node.h"
#include "worker/engine/ops/forward/value_read.h"
#include "worker/engine/ops/op_context.h"
#include "worker/engine/run/frame.h"

namespace lathe::engine {
namespace {

// A bound on what one loop collects, beside that on nodes.
constexpr int64_t kMaxIterations = int64_t{1} << 31;

absl::StatusOr<Value> Scalar(DType dtype, int64_t number, ActivationMemory& memory) {
  Value out;
  out.kind = Value::Kind::kTensor;
  out.dtype = dtype;
  const int64_t bytes = ValueBytes(dtype, {}, Layout::kPlain);
  ASSIGN_OR_RETURN(out.buffer, memory.Allocate(bytes));
  std::memcpy(out.buffer->data(), &number, static_cast<size_t>(bytes));  // little-endian
  out.data = out.buffer->data();
  return out;
}

absl::StatusOr<bool> Truth(const Value& value, const char* what) {
  const std::optional<double> number = ReadFirst(value);
  if (!number) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " must be one boolean, not ", Describe(value)));
  }
  return *number != 0;
}

// Element bytes; 0 when elements are not whole bytes.
int64_t Width(DType dtype) {
  const std::optional<int> bits = DTypeBits(dtype);
  return bits && *bits % 8 == 0 ? *bits / 8 : 0;
}

int64_t ProductOf(const Shape& dims, size_t begin, size_t end) {
  int64_t product = 1;
  for (size_t i = begin; i < end; ++i) product *= dims[i];
  return product;
}

// Type and shape that the body declares for its output `i`; symbols count 0.
Shape DeclaredDims(const ValueInfo& info) {
  Shape dims;
  if (!info.dims) return dims;
  for (const Dim& dim : *info.dims) dims.push_back(dim.value.value_or(0));
  return dims;
}

}  // namespace

absl::StatusOr<Value> Machine::Stack(const std::vector<Value>& slices, int64_t axis, bool reverse,
                                     DType dtype, const Shape& dims) {
  const DType type = slices.empty() ? dtype : slices[0].dtype;
  Shape slice_dims = slices.empty() ? dims : slices[0].dims;
  const auto normal = NormalAxis(axis, static_cast<int64_t>(slice_dims.size()) + 1);
  if (!normal) return absl::InvalidArgumentError("a scan output's axis is out of range");
  for (const Value& slice : slices) {
    if (!slice.IsTensor() || slice.dims != slice_dims || slice.dtype != type) {
      return absl::InvalidArgumentError(
          absl::StrCat("a scan output changes its shape between iterations: ", Describe(slices[0]),
                       " and ", Describe(slice)));
    }
  }
  Shape out_dims = slice_dims;
  out_dims.insert(out_dims.begin() + *normal, static_cast<int64_t>(slices.size()));
  if (type == DType::kString) {
    if (*normal != 0) return absl::UnimplementedError("strings are scanned along axis 0 only");
    std::vector<std::string> all;
    for (const Value& slice : slices) {
      all.insert(all.end(), slice.strings->begin(), slice.strings->end());
    }
    return Value::FromStrings(std::move(out_dims), std::move(all));
  }
  const int64_t width = Width(type);
  if (width == 0) return absl::UnimplementedError("a scan output of this type");
  const int64_t bytes = ValueBytes(type, out_dims, Layout::kPlain);
  if (bytes < 0) return absl::InvalidArgumentError("a scan output of an impossible shape");
  Value out;
  out.kind = Value::Kind::kTensor;
  out.dtype = type;
  ASSIGN_OR_RETURN(out.buffer, memory_.Allocate(bytes));
  out.data = out.buffer->data();
  const int64_t outer = ProductOf(slice_dims, 0, static_cast<size_t>(*normal));
  const int64_t inner =
      ProductOf(slice_dims, static_cast<size_t>(*normal), slice_dims.size()) * width;
  const auto count = static_cast<int64_t>(slices.size());
  for (int64_t s = 0; s < count; ++s) {
    ASSIGN_OR_RETURN(const Value plain, ToPlain(slices[s], memory_));
    const int64_t at = reverse ? count - 1 - s : s;
    for (int64_t o = 0; o < outer && inner > 0; ++o) {
      std::memcpy(out.buffer->data() + (o * count + at) * inner, plain.data + o * inner,
                  static_cast<size_t>(inner));
    }
  }
  out.dims = std::move(out_dims);
  return out;
}

absl::StatusOr<Value> Machine::Slice(const Value& value, int64_t axis, int64_t index) {
  ASSIGN_OR_RETURN(const Value plain, ToPlain(value, memory_));
  Value out;
  out.kind = Value::Kind::kTensor;
  out.dtype = plain.dtype;
  out.dims = plain.dims;
  out.dims.erase(out.dims.begin() + axis);
  const int64_t width = Width(plain.dtype);
  if (width == 0) return absl::UnimplementedError("scanning a tensor of this type");
  const int64_t outer = ProductOf(plain.dims, 0, static_cast<size_t>(axis));
  const int64_t inner =
      ProductOf(plain.dims, static_cast<size_t>(axis) + 1, plain.dims.size()) * width;
  ASSIGN_OR_RETURN(out.buffer, memory_.Allocate(outer * inner));
  out.data = out.buffer->data();
  for (int64_t o = 0; o < outer && inner > 0; ++o) {
    std::memcpy(out.buffer->data() + o * inner, plain.data + (o * plain.dims[axis] + index) * inner,
                static_cast<size_t>(inner));
  }
  return out;
}

absl::StatusOr<std::vector<Value>> Machine::RunIf(const Instruction& instruction, Frame& frame,
                                                  std::vector<Value> inputs) {
  if (inputs.empty()) return absl::InvalidArgumentError("If without a condition");
  ASSIGN_OR_RETURN(const bool yes, Truth(inputs[0], "the condition"));
  return RunProgram(*instruction.bodies[yes ? 0 : 1], &frame, {});
}

absl::StatusOr<std::vector<Value>> Machine::RunLoop(const Instruction& instruction, Frame& frame,
                                                    std::vector<Value> inputs) {
  const Program& body = *instruction.bodies[0];
  int64_t trips = std::numeric_limits<int64_t>::max();
  bool go_on = true;
  if (!inputs.empty() && inputs[0].kind != Value::Kind::kNone) {
    const std::optional<double> given = ReadFirst(inputs[0]);
    if (!given) return absl::InvalidArgumentError("the trip count must be an integer");
    trips = ReadInteger(inputs[0], 0);
  }
  if (inputs.size() > 1 && inputs[1].kind != Value::Kind::kNone) {
    ASSIGN_OR_RETURN(go_on, Truth(inputs[1], "the condition"));
  }
  const size_t carried = inputs.size() < 2 ? 0 : inputs.size() - 2;
  if (body.outputs.size() < carried + 1 || body.inputs.size() != carried + 2) {
    return absl::InvalidArgumentError(
        "the body's inputs and outputs do not fit the carried values");
  }
  std::vector<Value> state(std::make_move_iterator(inputs.begin() + (carried == 0 ? 0 : 2)),
                           std::make_move_iterator(carried == 0 ? inputs.begin() : inputs.end()));
  inputs.clear();
  const size_t scanned = body.outputs.size() - 1 - carried;
  std::vector<std::vector<Value>> slices(scanned);
  for (int64_t i = 0; i < trips && go_on; ++i) {
    if (i >= kMaxIterations) return absl::ResourceExhaustedError("the loop does not end");
    RETURN_IF_ERROR(Visit());
    std::vector<Value> arguments;
    ASSIGN_OR_RETURN(Value iteration, Scalar(DType::kInt64, i, memory_));
    ASSIGN_OR_RETURN(Value condition, Scalar(DType::kBool, 1, memory_));
    arguments.push_back(std::move(iteration));
    arguments.push_back(std::move(condition));
    for (Value& value : state) arguments.push_back(std::move(value));
    state.clear();
    ASSIGN_OR_RETURN(std::vector<Value> results, RunProgram(body, &frame, std::move(arguments)));
    ASSIGN_OR_RETURN(go_on, Truth(results[0], "the body's condition"));
    for (size_t k = 0; k < carried; ++k) state.push_back(std::move(results[1 + k]));
    for (size_t k = 0; k < scanned; ++k) slices[k].push_back(std::move(results[1 + carried + k]));
  }
  std::vector<Value> outputs = std::move(state);
  for (size_t k = 0; k < scanned; ++k) {
    const ValueInfo& info = body.graph->outputs[1 + carried + k];
    ASSIGN_OR_RETURN(Value joined, Stack(slices[k], 0, false, info.dtype, DeclaredDims(info)));
    slices[k].clear();
    outputs.push_back(std::move(joined));
  }
  return outputs;
}

absl::StatusOr<std::vector<Value>> Machine::RunScan(const Instruction& instruction, Frame& frame,
                                                    std::vector<Value> inputs) {
  const Node& node = *instruction.node;
  const Program& body = *instruction.bodies[0];
  if (instruction.opset < 9) {
    return absl::UnimplementedError("Scan of opset 8, with a batch axis, is not supported");
  }
  const int64_t given = node.IntAttribute("num_scan_inputs", 0);
  if (given < 1 || given > static_cast<int64_t>(inputs.size()) ||
      body.inputs.size() != inputs.size()) {
    return absl::InvalidArgumentError("num_scan_inputs does not fit the inputs");
  }
  const auto scanned = static_cast<size_t>(given);
  const size_t states = inputs.size() - scanned;
  if (body.outputs.size() < states) {
    return absl::InvalidArgumentError("the body gives fewer outputs than there are states");
  }
  const auto at = [](const std::vector<int64_t>& list, size_t i) {
    return i < list.size() ? list[i] : 0;
  };
  const std::vector<int64_t> axes = node.IntsAttribute("scan_input_axes");
  const std::vector<int64_t> directions = node.IntsAttribute("scan_input_directions");
  const std::vector<int64_t> out_axes = node.IntsAttribute("scan_output_axes");
  const std::vector<int64_t> out_directions = node.IntsAttribute("scan_output_directions");
  std::vector<int64_t> in_axes(scanned);
  int64_t trips = -1;
  for (size_t k = 0; k < scanned; ++k) {
    const Value& in = inputs[states + k];
    const auto axis = NormalAxis(at(axes, k), static_cast<int64_t>(in.dims.size()));
    if (!in.IsTensor() || !axis) {
      return absl::InvalidArgumentError("a scan input's axis is out of range");
    }
    in_axes[k] = *axis;
    if (trips >= 0 && in.dims[*axis] != trips) {
      return absl::InvalidArgumentError("the scan inputs are of different lengths");
    }
    trips = in.dims[*axis];
  }
  std::vector<Value> state(inputs.begin(), inputs.begin() + static_cast<int64_t>(states));
  const size_t joined = body.outputs.size() - states;
  std::vector<std::vector<Value>> slices(joined);
  for (int64_t i = 0; i < trips; ++i) {
    RETURN_IF_ERROR(Visit());
    std::vector<Value> arguments = std::move(state);
    for (size_t k = 0; k < scanned; ++k) {
      const int64_t index = at(directions, k) == 1 ? trips - 1 - i : i;
      ASSIGN_OR_RETURN(Value slice, Slice(inputs[states + k], in_axes[k], index));
      arguments.push_back(std::move(slice));
    }
    ASSIGN_OR_RETURN(std::vector<Value> results, RunProgram(body, &frame, std::move(arguments)));
    state.assign(std::make_move_iterator(results.begin()),
                 std::make_move_iterator(results.begin() + static_cast<int64_t>(states)));
    for (size_t k = 0; k < joined; ++k) slices[k].push_back(std::move(results[states + k]));
  }
  std::vector<Value> outputs = std::move(state);
  for (size_t k = 0; k < joined; ++k) {
    const ValueInfo& info = body.graph->outputs[states + k];
    ASSIGN_OR_RETURN(Value all, Stack(slices[k], at(out_axes, k), at(out_directions, k) == 1,
                                      info.dtype, DeclaredDims(info)));
    slices[k].clear();
    outputs.push_back(std::move(all));
  }
  return outputs;
}

}  // namespace lathe::engine
