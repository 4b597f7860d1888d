// Operators on strings whose outputs' shapes do not depend on what the strings are.
#include <algorithm>

#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {

bool InferTfIdfVectorizer(OpContext& ctx) {
  if (!ctx.Ranked(0) || ctx.Rank(0) < 1 || ctx.Rank(0) > 2) return false;
  int64_t outputs = 0;
  for (const int64_t index : ctx.node().IntsAttribute("ngram_indexes")) {
    if (index < 0 || index >= kMaxExtent) return false;
    outputs = std::max(outputs, index + 1);
  }
  Shape dims = ctx.Dims(0);
  dims.back() = outputs;
  ctx.Set(0, DType::kFloat, std::move(dims));
  return true;
}

}  // namespace lathe::engine
