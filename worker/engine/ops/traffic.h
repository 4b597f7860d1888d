// Which elements of its operands an operator has to read.
#ifndef LATHE_WORKER_ENGINE_OPS_TRAFFIC_H_
#define LATHE_WORKER_ENGINE_OPS_TRAFFIC_H_

#include <cstdint>

#include "worker/engine/ops/op_context.h"

namespace lathe::engine {

// The default is what most operators do: all inputs are read, all outputs written.
struct Traffic {
  // Elements of input `i`, which is given and ranked, that one execution reads; nullptr: all.
  int64_t (*reads)(const OpContext& ctx, size_t i) = nullptr;
  bool writes = true;
};

int64_t ReadsNothing(const OpContext& ctx, size_t i);
// As many elements of input 0 as the first output has; all of the others.
int64_t ReadsWhatItGives(const OpContext& ctx, size_t i);
// GatherBlockQuantized: rows of the table, its scales (2) and zero points (3).
int64_t ReadsRows(const OpContext& ctx, size_t i);
// EmbedLayerNormalization: a row an id of each of three tables (2, 3, 4).
int64_t ReadsEmbeddings(const OpContext& ctx, size_t i);

// The same bytes under another shape or name, or the shape alone.
inline constexpr Traffic kView{ReadsNothing, false};
// Made from the shape of the input, or from scalars.
inline constexpr Traffic kGenerates{ReadsNothing, true};
inline constexpr Traffic kLooksUp{ReadsWhatItGives, true};
inline constexpr Traffic kLooksUpRows{ReadsRows, true};
inline constexpr Traffic kEmbeds{ReadsEmbeddings, true};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_TRAFFIC_H_
