// LSTM, GRU, RNN. Multiply-accumulates: steps times batch times the elements of W and R.
#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {
namespace {

struct Extents {
  int64_t steps = 0;
  int64_t batch = 0;
  int64_t directions = 0;
  int64_t hidden = 0;
  bool batch_first = false;
};

std::optional<Extents> Read(const OpContext& ctx, bool transposed_weights) {
  for (size_t i = 0; i < 3; ++i) {
    if (!ctx.Ranked(i) || ctx.Rank(i) != 3) return std::nullopt;
  }
  Extents e;
  e.batch_first = ctx.node().IntAttribute("layout", 0) != 0;
  e.steps = ctx.Dims(0)[e.batch_first ? 1 : 0];
  e.batch = ctx.Dims(0)[e.batch_first ? 0 : 1];
  e.directions = ctx.Dims(2)[0];
  e.hidden = ctx.Dims(2)[transposed_weights ? 1 : 2];
  if (ctx.Dims(1)[0] != e.directions) return std::nullopt;
  if (ctx.Dims(1)[transposed_weights ? 1 : 2] != ctx.Dims(0)[2]) return std::nullopt;
  return e;
}

bool SetOutputs(OpContext& ctx, const Extents& e) {
  const DType dtype = ctx.In(0).dtype;
  const Shape state = e.batch_first ? Shape{e.batch, e.directions, e.hidden}
                                    : Shape{e.directions, e.batch, e.hidden};
  ctx.Set(0, dtype,
          e.batch_first ? Shape{e.batch, e.steps, e.directions, e.hidden}
                        : Shape{e.steps, e.directions, e.batch, e.hidden});
  ctx.Set(1, dtype, state);
  ctx.Set(2, dtype, state);
  return true;
}

std::optional<MacCount> Count(const OpContext& ctx, const std::optional<Extents>& e, MacType type) {
  if (!e) return std::nullopt;
  const int64_t weights = SaturatingAdd(ctx.In(1).size(), ctx.In(2).size());
  return MacCount{SaturatingMul(SaturatingMul(e->steps, e->batch), weights), type};
}

}  // namespace

bool InferRecurrent(OpContext& ctx) {
  const auto e = Read(ctx, false);
  return e && SetOutputs(ctx, *e);
}

// com.microsoft: W [dirs, I, 4 H] and R [dirs, H, 4 H], transposed against ONNX's.
bool InferDynamicQuantizeLstm(OpContext& ctx) {
  const auto e = Read(ctx, true);
  return e && SetOutputs(ctx, *e);
}

std::optional<MacCount> MacsRecurrent(const OpContext& ctx) {
  return Count(ctx, Read(ctx, false), ProductType(ctx, 0, 1));
}

std::optional<MacCount> MacsDynamicQuantizeLstm(const OpContext& ctx) {
  return Count(ctx, Read(ctx, true), MacType::kInt8);
}

}  // namespace lathe::engine
