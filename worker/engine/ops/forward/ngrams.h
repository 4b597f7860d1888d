// TfIdfVectorizer.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_NGRAMS_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_NGRAMS_H_

#include "absl/status/status.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

// Counts of n-grams, weighted by the node's mode: input [C] or [N, C] of int32, int64 or strings,
// output [outputs] or [N, outputs], float32, where outputs is the largest of ngram_indexes plus 1.
absl::Status TfIdfVectorizer(RunContext& ctx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_NGRAMS_H_
