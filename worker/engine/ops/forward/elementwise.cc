#include "worker/engine/ops/forward/elementwise.h"

#include "common/status_macros.h"

namespace lathe::engine {

absl::Status CheckTensors(const RunContext& ctx, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (!ctx.Has(i)) return ctx.Error(absl::StrCat("input ", i, " is missing"));
    if (!ctx.In(i).IsTensor()) return ctx.Error(absl::StrCat("input ", i, " must be a tensor"));
  }
  return absl::OkStatus();
}

absl::Status CheckSameType(const RunContext& ctx, size_t count) {
  RETURN_IF_ERROR(CheckTensors(ctx, count));
  for (size_t i = 1; i < count; ++i) {
    if (ctx.In(i).dtype != ctx.In(0).dtype) {
      return ctx.Error(absl::StrCat("input ", i, " must be ",
                                    std::string(DTypeName(ctx.In(0).dtype)), " as input 0 is"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckStringCount(const RunContext& ctx, int64_t count) {
  if (count >= 0 && count <= kMaxStrings) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      ctx.node().op_type, ": ", count, " strings are more than the ", kMaxStrings, " allowed"));
}

absl::StatusOr<Value*> OutOver(RunContext& ctx, std::initializer_list<size_t> inputs) {
  ASSIGN_OR_RETURN(const ValueFact* fact, ctx.Inferred(0));
  for (const size_t i : inputs) {
    const Value& in = ctx.In(i);
    if (in.buffer != nullptr && in.buffer.use_count() == 1 && in.dims == fact->dims) {
      return ctx.OutInPlace(0, i);
    }
  }
  return ctx.Out(0);
}

}  // namespace lathe::engine
