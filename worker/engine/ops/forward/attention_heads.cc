#include "worker/engine/ops/forward/attention_heads.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "common/status_macros.h"
#include "worker/engine/linalg/strided_product.h"

namespace lathe::engine {
namespace {

// Queries whose scores exist at a time.
constexpr int64_t kQueries = 64;
constexpr float kMasked = -std::numeric_limits<float>::infinity();

struct Span {
  int64_t begin = 0;
  int64_t end = 0;
};

// The keys that query `i` of batch entry `b` may look at, before the bias.
Span KeysOf(const HeadsCall& call, int64_t b, int64_t i) {
  const int64_t position = i + (call.offset.empty() ? 0 : call.offset[b]);
  Span span = {0, call.keys};
  if (!call.valid.empty()) span.end = std::min(span.end, call.valid[b]);
  if (call.causal) span.end = std::min(span.end, position + 1);
  if (call.right >= 0) span.end = std::min(span.end, position + call.right + 1);
  if (call.left >= 0) span.begin = std::max(span.begin, position - call.left);
  span.end = std::max<int64_t>(span.end, 0);
  span.begin = std::min(span.begin, span.end);
  return span;
}

// Scores to probabilities; `row` holds those of [span.begin, span.end) at their keys' places, and
// `count` keys in all.
void Softmax(float* row, int64_t count, const Span& span, bool all_masked) {
  std::fill_n(row, span.begin, 0.0F);
  std::fill(row + span.end, row + count, 0.0F);
  float largest = kMasked;
  for (int64_t j = span.begin; j < span.end; ++j) largest = std::max(largest, row[j]);
  if (all_masked || largest == kMasked) {
    std::fill(row + span.begin, row + span.end, 0.0F);
    return;
  }
  float sum = 0;
  for (int64_t j = span.begin; j < span.end; ++j) {
    row[j] = std::exp(row[j] - largest);
    sum += row[j];
  }
  const float inverse = 1.0F / sum;
  for (int64_t j = span.begin; j < span.end; ++j) row[j] *= inverse;
}

}  // namespace

void FinishScores(const HeadsCall& call, int64_t b, int64_t h, int64_t i, float* row) {
  using Keep = HeadsCall::Keep;
  const int64_t keys = call.keys;
  float* const kept =
      call.kept == nullptr ? nullptr : call.kept + ((b * call.heads + h) * call.queries + i) * keys;
  const auto keep = [&](Keep stage) {
    if (kept != nullptr && call.keep == stage) std::copy_n(row, keys, kept);
  };
  keep(Keep::kProducts);
  if (call.softcap > 0) {
    for (int64_t j = 0; j < keys; ++j) row[j] = call.softcap * std::tanh(row[j] / call.softcap);
  }
  keep(Keep::kCapped);
  const Span span = KeysOf(call, b, i);
  bool all_masked = span.begin == span.end;
  if (call.bias.data != nullptr) {
    const float* bias = call.bias.At(b, h, i);
    all_masked = true;
    for (int64_t j = span.begin; j < span.end; ++j) {
      row[j] += bias[j];
      all_masked = all_masked && bias[j] == kMasked;
    }
  }
  if (kept != nullptr && call.keep == Keep::kBiased) {
    std::copy_n(row, keys, kept);
    std::fill_n(kept, span.begin, kMasked);
    std::fill(kept + span.end, kept + keys, kMasked);
  }
  Softmax(row, keys, span, all_masked);
  keep(Keep::kProbabilities);
}

absl::Status AttendHeads(RunContext& ctx, const HeadsCall& call) {
  if (call.batch == 0 || call.heads == 0 || call.queries == 0) return absl::OkStatus();
  const int64_t chunk = std::min(kQueries, call.queries);
  ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> scores, ctx.Scratch(chunk * call.keys * 4));
  auto* const rows = reinterpret_cast<float*>(scores->data());
  const int64_t group = call.heads / call.kv_heads;
  for (int64_t b = 0; b < call.batch; ++b) {
    for (int64_t h = 0; h < call.heads; ++h) {
      const MatrixView k = {call.k.At(b, h / group, 0), call.k.row};
      const MatrixView v = {call.v.At(b, h / group, 0), call.v.row};
      for (int64_t first = 0; first < call.queries; first += chunk) {
        const int64_t count = std::min(chunk, call.queries - first);
        MultiplyStrided(Side::kTransposed, count, call.keys, call.width, call.scale,
                        {call.q.At(b, h, first), call.q.row}, k, rows, call.keys);
        for (int64_t i = 0; i < count; ++i) {
          FinishScores(call, b, h, first + i, rows + i * call.keys);
        }
        MultiplyStrided(Side::kPlain, count, call.value_width, call.keys, 1, {rows, call.keys}, v,
                        call.out.At(b, h, first), call.out.row);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
