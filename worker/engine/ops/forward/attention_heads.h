// Scaled dot-product attention over heads: what every attention operator comes down to.
//
//   S = scale Q K^T, softcap tanh(S / softcap), + bias;  P = softmax(S);  Y = P V
//
// A query that may look at no key gives zeros. Scores of some queries exist at a time, never
// [queries, keys] of all heads.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_ATTENTION_HEADS_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_ATTENTION_HEADS_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

// A tensor [batch, heads, rows, width] that lies somehow: how far apart the entries of each axis
// are. Rows are dense.
template <typename T>
struct HeadsView {
  T* data = nullptr;
  int64_t batch = 0;
  int64_t head = 0;
  int64_t row = 0;

  T* At(int64_t b, int64_t h, int64_t r) const { return data + b * batch + h * head + r * row; }

  // Dense [batch, heads, rows, width].
  static HeadsView Dense(T* data, int64_t heads, int64_t rows, int64_t width) {
    return {data, heads * rows * width, rows * width, width};
  }
  // Dense [batch, rows, heads * width].
  static HeadsView Flat(T* data, int64_t heads, int64_t rows, int64_t width) {
    return {data, heads * rows * width, width, heads * width};
  }
};

struct HeadsCall {
  int64_t batch = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;  // divides `heads`; query head h looks at h / (heads / kv_heads)
  int64_t queries = 0;
  int64_t keys = 0;
  int64_t width = 0;        // of queries and keys
  int64_t value_width = 0;  // of values and outputs
  HeadsView<const float> q;
  HeadsView<const float> k;
  HeadsView<const float> v;
  HeadsView<float> out;
  float scale = 1;
  float softcap = 0;  // 0: none
  // Added to the scores: [batch, heads, queries, keys] with strides (0: shared); null: nothing.
  HeadsView<const float> bias;

  // Which keys there are: query i of batch b stands at position i + offset[b] among the keys.
  // Empty: 0 for all.
  std::vector<int64_t> offset;
  // Keys of each batch that exist; empty: all of them.
  std::vector<int64_t> valid;
  bool causal = false;  // only keys up to the query's position
  // How far before and after its position a query looks; -1: any distance.
  int64_t left = -1;
  int64_t right = -1;

  // Scores to keep, dense [batch, heads, queries, keys]; null: none.
  enum class Keep { kProducts, kCapped, kBiased, kProbabilities };
  float* kept = nullptr;
  Keep keep = Keep::kProducts;
};

absl::Status AttendHeads(RunContext& ctx, const HeadsCall& call);

// What is done with the heads of an attention operator once they are read: AttendHeads in a forward
// run.
using HeadsFn = absl::FunctionRef<absl::Status(const HeadsCall&)>;

// One query's row of products scale Q K^T, [keys], to probabilities. Keeps what `call` asks for.
void FinishScores(const HeadsCall& call, int64_t b, int64_t h, int64_t i, float* row);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_ATTENTION_HEADS_H_
