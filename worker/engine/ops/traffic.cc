#include "worker/engine/ops/traffic.h"

#include <algorithm>

namespace lathe::engine {

int64_t ReadsNothing(const OpContext&, size_t) { return 0; }

int64_t ReadsWhatItGives(const OpContext& ctx, size_t i) {
  const int64_t all = ctx.In(i).size();
  if (i > 0 || ctx.output_count() < 1 || !ctx.Out(0).ranked) return all;
  return std::min(all, ctx.Out(0).size());
}

int64_t ReadsRows(const OpContext& ctx, size_t i) {
  const int64_t all = ctx.In(i).size();
  const int64_t table = ctx.In(0).size();
  if (i == 1 || table == 0 || ctx.output_count() < 1 || !ctx.Out(0).ranked) return all;
  // The table may hold two elements a byte: rows are told by the indices.
  const int64_t rows = ctx.Dims(0).empty() ? 1 : ctx.Dims(0)[0];
  const bool by_rows = ctx.node().IntAttribute("gather_axis", 0) == 0 && rows > 0;
  return by_rows ? std::min(all, SaturatingMul(all / rows, ctx.In(1).size())) : all;
}

int64_t ReadsEmbeddings(const OpContext& ctx, size_t i) {
  const int64_t all = ctx.In(i).size();
  if (i < 2 || i > 4 || ctx.Rank(i) != 2) return all;
  return std::min(all, SaturatingMul(ctx.In(0).size(), ctx.Dims(i)[1]));
}

}  // namespace lathe::engine
