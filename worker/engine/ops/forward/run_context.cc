#include "worker/engine/ops/forward/run_context.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/value_read.h"

namespace lathe::engine {

const Value& RunContext::In(size_t i) const {
  static const auto* const nothing = new Value;
  return Has(i) ? call_.inputs[i] : *nothing;
}

absl::StatusOr<std::vector<int64_t>> RunContext::Ints(size_t i) const {
  if (!Has(i)) return Error(absl::StrCat("input ", i, " is missing"));
  std::optional<std::vector<int64_t>> ints = ReadInts(In(i));
  if (!ints) return Error(absl::StrCat("input ", i, " must be a tensor of integers"));
  return *std::move(ints);
}

absl::Status RunContext::Spend(int64_t steps) {
  constexpr int64_t kAskEvery = int64_t{1} << 22;
  spent_ = SaturatingAdd(spent_, steps);
  if (spent_ < kAskEvery) return absl::OkStatus();
  spent_ = 0;
  if (call_.cancelled == nullptr || !*call_.cancelled || !(*call_.cancelled)()) {
    return absl::OkStatus();
  }
  return absl::CancelledError("the run was stopped");
}

double RunContext::Scalar(size_t i, double fallback) const {
  return Has(i) ? ReadFirst(In(i)).value_or(fallback) : fallback;
}

absl::Status RunContext::InferAll() {
  if (inferred_) return absl::OkStatus();
  if (call_.rule == nullptr || call_.rule->infer == nullptr) {
    return Unsupported("the shape of its outputs is not known");
  }
  std::vector<ValueFact> facts(call_.inputs.size());
  std::vector<const ValueFact*> pointers(call_.inputs.size(), nullptr);
  for (size_t i = 0; i < call_.inputs.size(); ++i) {
    if (!Has(i)) continue;
    if (IsConstant(i)) {
      pointers[i] = call_.constants[i];
      continue;
    }
    facts[i] = FactOfValue(call_.inputs[i]);
    pointers[i] = &facts[i];
  }
  OpContext rule(node(), opset(), std::move(pointers));
  if (!call_.rule->infer(rule)) return Error("the inputs do not fit together");
  inferred_ = std::move(rule.outputs());
  return absl::OkStatus();
}

absl::StatusOr<const ValueFact*> RunContext::Inferred(size_t i) {
  RETURN_IF_ERROR(InferAll());
  if (i >= inferred_->size() || !(*inferred_)[i].ranked || !IsPlausible((*inferred_)[i].dims)) {
    return Error(absl::StrCat("the shape of output ", i, " cannot be told"));
  }
  return &(*inferred_)[i];
}

absl::StatusOr<Value*> RunContext::Out(size_t i) {
  ASSIGN_OR_RETURN(const ValueFact* fact, Inferred(i));
  return Out(i, fact->dtype, fact->dims);
}

absl::StatusOr<Value*> RunContext::Out(size_t i, DType dtype, Shape dims, Layout layout) {
  if (i >= call_.outputs.size()) return Error(absl::StrCat("it has no output ", i));
  const int64_t bytes = IsPlausible(dims) ? ValueBytes(dtype, dims, layout) : -1;
  if (bytes < 0) return Error(absl::StrCat("output ", i, " would have an impossible shape"));
  ASSIGN_OR_RETURN(std::shared_ptr<Buffer> buffer, call_.memory->Allocate(bytes));
  Value& out = call_.outputs[i];
  out = Value();
  out.kind = Value::Kind::kTensor;
  out.dtype = dtype;
  out.dims = std::move(dims);
  out.layout = layout;
  out.data = buffer->data();
  out.buffer = std::move(buffer);
  return &out;
}

absl::StatusOr<Value*> RunContext::OutInPlace(size_t i, size_t input) {
  ASSIGN_OR_RETURN(const ValueFact* fact, Inferred(i));
  return OutInPlace(i, input, fact->dtype, fact->dims);
}

absl::StatusOr<Value*> RunContext::OutInPlace(size_t i, size_t input, DType dtype, Shape dims,
                                              Layout layout) {
  if (i < call_.outputs.size() && Has(input)) {
    const Value& in = call_.inputs[input];
    const int64_t bytes = IsPlausible(dims) ? ValueBytes(dtype, dims, layout) : -1;
    // The executor hands over its own reference at the last use: then this is the only one.
    if (in.IsTensor() && in.buffer != nullptr && in.buffer.use_count() == 1 &&
        in.data == in.buffer->data() && bytes > 0 && bytes == in.bytes()) {
      Value& out = call_.outputs[i];
      out = Value();
      out.kind = Value::Kind::kTensor;
      out.dtype = dtype;
      out.dims = std::move(dims);
      out.layout = layout;
      out.data = in.data;
      out.buffer = in.buffer;
      return &out;
    }
  }
  return Out(i, dtype, std::move(dims), layout);
}

void RunContext::Set(size_t i, Value value) {
  if (i < call_.outputs.size()) call_.outputs[i] = std::move(value);
}

absl::StatusOr<std::shared_ptr<Buffer>> RunContext::Scratch(int64_t bytes) {
  return call_.memory->Allocate(bytes);
}

absl::Status RunContext::Error(const std::string& what) const {
  std::string message = absl::StrCat(node().op_type, ": ", what, "; its inputs are");
  for (size_t i = 0; i < call_.inputs.size(); ++i) {
    absl::StrAppend(&message, i == 0 ? " " : ", ", Describe(call_.inputs[i]));
  }
  if (call_.inputs.empty()) absl::StrAppend(&message, " none");
  return absl::InvalidArgumentError(message);
}

absl::Status RunContext::Unsupported(const std::string& what) const {
  return absl::UnimplementedError(absl::StrCat(node().op_type, ": ", what));
}

}  // namespace lathe::engine
