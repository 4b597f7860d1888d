#include "worker/engine/ops/backward/grad_context.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "worker/engine/graph/scopes.h"
#include "worker/engine/kernels/reduce.h"
#include "worker/engine/ops/forward/run_node.h"
#include "worker/engine/ops/forward/value_read.h"

namespace lathe::engine {
namespace {

struct DoubleSum {
  using Acc = double;
  Acc Start() const { return 0; }
  void Row(Acc& acc, const float* x, int64_t count, int64_t) const {
    for (int64_t i = 0; i < count; ++i) acc += static_cast<double>(x[i]);
  }
  void Column(Acc* acc, const float* x, int64_t count, int64_t) const {
    for (int64_t i = 0; i < count; ++i) acc[i] += static_cast<double>(x[i]);
  }
  float Finish(Acc acc, int64_t) const { return static_cast<float>(acc); }
};

std::string DescribeInputs(const GradCall& call) {
  std::string out;
  for (const Value& in : call.inputs) absl::StrAppend(&out, out.empty() ? "" : ", ", Describe(in));
  return out;
}

}  // namespace

std::span<const float> Memory(const Value& value) {
  return {reinterpret_cast<const float*>(value.data),
          static_cast<size_t>(value.bytes()) / sizeof(float)};
}

const Value& GradContext::Nothing() {
  static const auto* const nothing = new Value;
  return *nothing;
}

absl::StatusOr<std::vector<int64_t>> GradContext::Ints(size_t i) const {
  if (!Has(i)) return Error(absl::StrCat("input ", i, " is missing"));
  std::optional<std::vector<int64_t>> ints = ReadInts(In(i));
  if (!ints) return Error(absl::StrCat("input ", i, " must be a tensor of integers"));
  return *std::move(ints);
}

double GradContext::Scalar(size_t i, double fallback) const {
  return Has(i) && In(i).data != nullptr ? ReadFirst(In(i)).value_or(fallback) : fallback;
}

absl::StatusOr<Value> GradContext::NewValue(Shape dims, Layout layout) {
  const int64_t bytes = ValueBytes(DType::kFloat, dims, layout);
  if (bytes < 0) return Error("a gradient would have an impossible shape");
  Value out;
  out.kind = Value::Kind::kTensor;
  out.layout = layout;
  out.dtype = DType::kFloat;
  out.dims = std::move(dims);
  ASSIGN_OR_RETURN(out.buffer, call_.memory->Allocate(bytes));
  out.data = out.buffer->data();
  return out;
}

absl::Status GradContext::Align() {
  const Layout layout = GradValue(0).layout;
  bool alike = true;
  for (const std::span<Value> values : {call_.inputs, call_.outputs, call_.output_grads}) {
    for (const Value& value : values) {
      if (!value.IsTensor() || value.data == nullptr || value.dims.size() < 2) continue;
      alike = alike && value.layout == layout;
    }
  }
  return alike ? absl::OkStatus() : MakePlain();
}

absl::Status GradContext::MakePlain() {
  for (const std::span<Value> values : {call_.inputs, call_.outputs, call_.output_grads}) {
    for (Value& value : values) {
      if (!value.IsTensor() || value.data == nullptr) continue;
      ASSIGN_OR_RETURN(value, ToPlain(value, *call_.memory));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::span<float>> GradContext::Emit(size_t i) { return EmitIn(i, Layout::kPlain); }

absl::StatusOr<std::span<float>> GradContext::EmitIn(size_t i, Layout layout) {
  Value& grad = call_.input_grads[i];
  ASSIGN_OR_RETURN(grad, NewValue(Dims(i), layout));
  return std::span<float>(reinterpret_cast<float*>(grad.buffer->data()), Memory(grad).size());
}

absl::StatusOr<std::span<float>> GradContext::EmitZeros(size_t i) {
  ASSIGN_OR_RETURN(const std::span<float> out, Emit(i));
  std::fill(out.begin(), out.end(), 0.0f);
  return out;
}

absl::StatusOr<std::span<float>> GradContext::EmitInPlace(size_t i, size_t o) {
  Value& grad = call_.output_grads[o];
  if (grad.buffer == nullptr || grad.buffer.use_count() > 1 || grad.keep_alive != nullptr ||
      grad.size() != In(i).size()) {
    return EmitIn(i, grad.layout);
  }
  Pass(i, o);
  // Two values hold the memory now, of which one is about to end.
  return std::span<float>(reinterpret_cast<float*>(grad.buffer->data()), Memory(grad).size());
}

void GradContext::Pass(size_t i, size_t o) { Set(i, call_.output_grads[o]); }

void GradContext::Set(size_t i, Value value) {
  value.dims = Dims(i);
  call_.input_grads[i] = std::move(value);
}

absl::Status GradContext::Error(const std::string& what) const {
  return absl::InvalidArgumentError(absl::StrCat("gradient of ", DescribeNode(node()), ": ", what,
                                                 " (", DescribeInputs(call_), ")"));
}

absl::Status GradContext::Unsupported(const std::string& what) const {
  return WithReason(
      absl::UnimplementedError(absl::StrCat("gradient of ", DescribeNode(node()), ": ", what)),
      "UNSUPPORTED_OP");
}

void SumToShape(std::span<const float> grad, const Shape& from, const Shape& to,
                std::span<float> out) {
  if (from == to) {
    std::copy(grad.begin(), grad.end(), out.begin());
    return;
  }
  std::vector<bool> is_reduced(from.size(), true);
  const size_t missing = from.size() - to.size();
  for (size_t a = missing; a < from.size(); ++a) is_reduced[a] = to[a - missing] != from[a];
  Reduce<float, float>(SplitAxes(from, is_reduced), grad.data(), out.data(), DoubleSum{});
}

}  // namespace lathe::engine
