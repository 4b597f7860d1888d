// With P = softmax(S) recomputed for some queries at a time:
//   G_V = P^T G_y,  G_P = G_y V^T,  G_S = P (G_P - sum(G_P P)) over each row,
// G_S being also that of the bias; times 1 - tanh^2 where scores are capped; then
//   G_Q = scale G_S K,  G_K = scale G_S^T Q.
#include "worker/engine/ops/backward/attention_heads.h"

#include <algorithm>
#include <cmath>

#include "common/status_macros.h"
#include "worker/engine/kernels/row_grads.h"
#include "worker/engine/linalg/strided_product.h"

namespace lathe::engine {
namespace {

constexpr int64_t kQueries = 64;  // whose scores exist at a time

// to [columns, rows] := the transpose of from [rows, columns].
void Turn(int64_t rows, int64_t columns, const float* from, float* to) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) to[c * rows + r] = from[r * columns + c];
  }
}

}  // namespace

absl::Status AttendHeadsBack(GradContext& ctx, const HeadsCall& call, HeadsView<const float> g,
                             const HeadsGrads& grads) {
  if (call.batch == 0 || call.heads == 0 || call.queries == 0 || call.keys == 0) {
    return absl::OkStatus();
  }
  const int64_t keys = call.keys;
  const int64_t chunk = std::min(kQueries, call.queries);
  ASSIGN_OR_RETURN(Value scratch, ctx.NewValue({4, chunk, keys}));
  float* p = scratch.Mutable<float>().data();
  float* ds = p + chunk * keys;
  float* slope = ds + chunk * keys;  // of the cap
  float* turned = slope + chunk * keys;
  const int64_t group = call.heads / call.kv_heads;
  for (int64_t bh = 0; bh < call.batch * call.heads; ++bh) {
    const int64_t b = bh / call.heads;
    const int64_t h = bh % call.heads;
    const MatrixView k = {call.k.At(b, h / group, 0), call.k.row};
    const MatrixView v = {call.v.At(b, h / group, 0), call.v.row};
    for (int64_t first = 0; first < call.queries; first += chunk) {
      const int64_t count = std::min(chunk, call.queries - first);
      const MatrixView q = {call.q.At(b, h, first), call.q.row};
      const MatrixView dy = {g.At(b, h, first), g.row};
      MultiplyStrided(Side::kTransposed, count, keys, call.width, call.scale, q, k, p, keys);
      for (int64_t at = 0; call.softcap > 0 && at < count * keys; ++at) {
        const float t = std::tanh(p[at] / call.softcap);
        slope[at] = 1 - t * t;
      }
      for (int64_t i = 0; i < count; ++i) FinishScores(call, b, h, first + i, p + i * keys);
      if (grads.v.data != nullptr) {
        Turn(count, keys, p, turned);
        AddProductStrided(keys, call.value_width, count, 1, {turned, count}, dy,
                          grads.v.At(b, h / group, 0), grads.v.row);
      }
      MultiplyStrided(Side::kTransposed, count, keys, call.value_width, 1, dy, v, ds, keys);
      SoftmaxGradRows(count, keys, /*log=*/false, p, ds, ds);
      for (int64_t i = 0; grads.bias.data != nullptr && i < count; ++i) {
        float* to = grads.bias.At(b, h, first + i);
        for (int64_t j = 0; j < std::min(keys, grads.bias_keys); ++j) to[j] += ds[i * keys + j];
      }
      for (int64_t at = 0; call.softcap > 0 && at < count * keys; ++at) ds[at] *= slope[at];
      if (grads.q.data != nullptr) {
        MultiplyStrided(Side::kPlain, count, call.width, keys, call.scale, {ds, keys}, k,
                        grads.q.At(b, h, first), grads.q.row);
      }
      if (grads.k.data != nullptr) {
        Turn(count, keys, ds, turned);
        AddProductStrided(keys, call.width, count, call.scale, {turned, count}, q,
                          grads.k.At(b, h / group, 0), grads.k.row);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
