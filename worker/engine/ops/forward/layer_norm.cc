#include "worker/engine/ops/forward/layer_norm.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/kernels/backend.h"

namespace lathe::engine {
namespace {

absl::Status CheckFloat(const RunContext& ctx, size_t i) {
  if (!ctx.In(i).IsTensor() || ctx.In(i).dtype != DType::kFloat) {
    return ctx.Error(absl::StrCat("input ", i, " must be a tensor of floats"));
  }
  return absl::OkStatus();
}

// Input `i`, which broadcasts to x, spread over all of x where it is not simply a row of `n`.
struct Factor {
  const float* row = nullptr;  // [n]
  std::vector<float> spread;   // of x's size, when there is no such row
};

absl::StatusOr<Factor> ReadFactor(const RunContext& ctx, size_t i, const Shape& x, int64_t n) {
  Factor factor;
  if (!ctx.Has(i)) return factor;
  RETURN_IF_ERROR(CheckFloat(ctx, i));
  const Value& value = ctx.In(i);
  const std::optional<Shape> together = Broadcast(value.dims, x);
  if (!together || *together != x) {
    return ctx.Error(absl::StrCat("input ", i, " does not broadcast to the input"));
  }
  int64_t tail = 1;
  size_t axes = 0;
  while (axes < x.size() && tail < n) tail *= x[x.size() - ++axes];
  const bool is_row =
      value.size() == n && value.dims.size() >= axes &&
      std::equal(x.rbegin(), x.rbegin() + static_cast<int64_t>(axes), value.dims.rbegin());
  if (is_row) {
    factor.row = value.As<float>().data();
    return factor;
  }
  Shape dims = value.dims;
  dims.insert(dims.begin(), x.size() - dims.size(), 1);
  const std::vector<int64_t> strides = Strides(dims);
  int64_t count = 1;
  for (const int64_t extent : x) count *= extent;
  factor.spread.reserve(static_cast<size_t>(count));
  Shape index(x.size(), 0);
  for (int64_t k = 0; k < count; ++k) {
    int64_t at = 0;
    for (size_t a = 0; a < x.size(); ++a) at += dims[a] == 1 ? 0 : index[a] * strides[a];
    factor.spread.push_back(value.As<float>()[static_cast<size_t>(at)]);
    for (size_t a = x.size(); a-- > 0;) {
      if (++index[a] < x[a]) break;
      index[a] = 0;
    }
  }
  return factor;
}

// What is normalized, over its last axes; the memory may be the output's.
struct Job {
  bool centered = true;
  float epsilon = 1e-5f;
  size_t scale = 1;
  size_t bias = 2;
  size_t mean_output = 1;
  size_t inverse_output = 2;
};

absl::StatusOr<float*> Statistic(RunContext& ctx, size_t output, const Shape& dims) {
  if (!ctx.Wants(output)) return nullptr;
  ASSIGN_OR_RETURN(Value * out, ctx.Out(output, DType::kFloat, dims));
  return out->Mutable<float>().data();
}

absl::Status Normalize(RunContext& ctx, const Job& job, int64_t axis, const Shape& dims,
                       const float* x, float* y) {
  int64_t rows = 1;
  int64_t n = 1;
  Shape statistic = dims;
  for (size_t i = 0; i < dims.size(); ++i) {
    (static_cast<int64_t>(i) < axis ? rows : n) *= dims[i];
    if (static_cast<int64_t>(i) >= axis) statistic[i] = 1;
  }
  ASSIGN_OR_RETURN(const Factor scale, ReadFactor(ctx, job.scale, dims, n));
  ASSIGN_OR_RETURN(const Factor bias, ReadFactor(ctx, job.bias, dims, n));
  ASSIGN_OR_RETURN(float* mean, Statistic(ctx, job.mean_output, statistic));
  ASSIGN_OR_RETURN(float* inverse, Statistic(ctx, job.inverse_output, statistic));
  if (rows * n == 0) return absl::OkStatus();
  const bool rowwise = scale.spread.empty() && bias.spread.empty();
  ctx.backend().Normalize(rows, n, job.centered, job.epsilon, x, rowwise ? scale.row : nullptr,
                          rowwise ? bias.row : nullptr, y, mean, inverse);
  if (rowwise) return absl::OkStatus();
  for (int64_t i = 0; i < rows * n; ++i) {
    const auto at = static_cast<size_t>(i);
    if (scale.row != nullptr) y[i] *= scale.row[i % n];
    if (!scale.spread.empty()) y[i] *= scale.spread[at];
    if (bias.row != nullptr) y[i] += bias.row[i % n];
    if (!bias.spread.empty()) y[i] += bias.spread[at];
  }
  return absl::OkStatus();
}

absl::Status OverAxes(RunContext& ctx, Job job) {
  RETURN_IF_ERROR(CheckFloat(ctx, 0));
  const Value& x = ctx.In(0);
  const auto axis =
      NormalAxis(ctx.node().IntAttribute("axis", -1), static_cast<int64_t>(x.dims.size()));
  if (!axis) return ctx.Error("'axis' lies outside of its input's axes");
  job.epsilon = ctx.node().FloatAttribute("epsilon", 1e-5f);
  ASSIGN_OR_RETURN(Value * y, ctx.OutInPlace(0, 0, DType::kFloat, x.dims));
  return Normalize(ctx, job, *axis, x.dims, x.As<float>().data(), y->Mutable<float>().data());
}

// sum := input + skip (+ bias): skip may lack the batch axis, or have 1 there.
absl::Status AddSkip(RunContext& ctx, size_t bias, float* sum) {
  const Value& x = ctx.In(0);
  const Value& skip = ctx.In(1);
  RETURN_IF_ERROR(CheckFloat(ctx, 1));
  const std::optional<Shape> together = Broadcast(skip.dims, x.dims);
  const int64_t n = x.dims.back();
  if (!together || *together != x.dims || skip.size() == 0 || skip.dims.back() != n ||
      (skip.dims.size() > 1 && skip.dims[skip.dims.size() - 2] != x.dims[x.dims.size() - 2])) {
    return ctx.Error("skip must be of the input's shape but for the batch");
  }
  const int64_t period = skip.size();
  for (int64_t i = 0; i < x.size(); ++i) {
    sum[i] =
        x.As<float>()[static_cast<size_t>(i)] + skip.As<float>()[static_cast<size_t>(i % period)];
  }
  if (!ctx.Has(bias)) return absl::OkStatus();
  if (ctx.In(bias).dtype != DType::kFloat || ctx.In(bias).dims != Shape{n}) {
    return ctx.Error(absl::StrCat("the bias must be float32[", n, "]"));
  }
  const float* b = ctx.Data<float>(bias).data();
  for (int64_t i = 0; i < x.size(); ++i) sum[i] += b[i % n];
  return absl::OkStatus();
}

absl::Status Skip(RunContext& ctx, Job job, size_t bias) {
  RETURN_IF_ERROR(CheckFloat(ctx, 0));
  const Value& x = ctx.In(0);
  if (x.dims.empty()) return ctx.Error("its input must not be a scalar");
  ASSIGN_OR_RETURN(Value * y, ctx.Out(0, DType::kFloat, x.dims));
  job.epsilon = ctx.node().FloatAttribute("epsilon", 1e-12f);
  float* to = y->Mutable<float>().data();
  float* sum = to;
  if (ctx.Wants(3)) {
    ASSIGN_OR_RETURN(Value * out, ctx.Out(3, DType::kFloat, x.dims));
    sum = out->Mutable<float>().data();
  }
  if (x.size() > 0) RETURN_IF_ERROR(AddSkip(ctx, bias, sum));
  return Normalize(ctx, job, static_cast<int64_t>(x.dims.size()) - 1, x.dims, sum, to);
}

// Adds rows of `table` [rows, n] to `sum`, by index.
absl::Status AddRows(RunContext& ctx, size_t table, const std::vector<int64_t>& ids, int64_t n,
                     float* sum) {
  RETURN_IF_ERROR(CheckFloat(ctx, table));
  const Value& rows = ctx.In(table);
  if (rows.dims.size() != 2 || rows.dims[1] != n) {
    return ctx.Error(absl::StrCat("input ", table, " must have rows of ", n));
  }
  for (const int64_t id : ids) {
    if (id < 0 || id >= rows.dims[0]) {
      return ctx.Error(absl::StrCat("index ", id, " lies outside of the ", rows.dims[0],
                                    " rows of input ", table));
    }
    const float* row = rows.As<float>().data() + id * n;
    for (int64_t i = 0; i < n; ++i) sum[i] += row[i];
    sum += n;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status LayerNormalization(RunContext& ctx) { return OverAxes(ctx, Job()); }

absl::Status RmsNormalization(RunContext& ctx) {
  Job job;
  job.centered = false;
  job.bias = 99;         // it has none
  job.mean_output = 99;  // nor this
  job.inverse_output = 1;
  return OverAxes(ctx, job);
}

absl::Status SkipLayerNormalization(RunContext& ctx) {
  Job job;
  job.scale = 2;
  job.bias = 3;
  return Skip(ctx, job, 4);
}

absl::Status SkipRmsNormalization(RunContext& ctx) {
  Job job;
  job.centered = false;
  job.scale = 2;
  job.bias = 99;
  return Skip(ctx, job, 3);
}

// Inputs: ids [B, S], segment ids, word, position and segment embeddings, gamma, beta, mask,
// position ids. Outputs: [B, S, n], how many positions of each row the mask keeps, the sum before
// normalization.
absl::Status EmbedLayerNormalization(RunContext& ctx) {
  ASSIGN_OR_RETURN(const std::vector<int64_t> ids, ctx.Ints(0));
  const Shape& at = ctx.In(0).dims;
  RETURN_IF_ERROR(CheckFloat(ctx, 2));
  if (at.size() != 2 || ctx.In(2).dims.size() != 2) {
    return ctx.Error("ids must be [batch, positions], embeddings matrices");
  }
  const int64_t n = ctx.In(2).dims[1];
  const Shape dims = {at[0], at[1], n};
  ASSIGN_OR_RETURN(Value * y, ctx.Out(0, DType::kFloat, dims));
  float* to = y->Mutable<float>().data();
  float* sum = to;
  if (ctx.Wants(2)) {
    ASSIGN_OR_RETURN(Value * out, ctx.Out(2, DType::kFloat, dims));
    sum = out->Mutable<float>().data();
  }
  std::fill_n(sum, y->size(), 0.0f);
  RETURN_IF_ERROR(AddRows(ctx, 2, ids, n, sum));
  std::vector<int64_t> positions(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    positions[i] = static_cast<int64_t>(i) % at[1];
  }
  if (ctx.Has(8)) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> given, ctx.Ints(8));
    if (given.empty() ||
        (given.size() != ids.size() && static_cast<int64_t>(given.size()) != at[1])) {
      return ctx.Error("position ids must be of the ids' shape, or one row");
    }
    for (size_t i = 0; i < ids.size(); ++i) positions[i] = given[i % given.size()];
  }
  RETURN_IF_ERROR(AddRows(ctx, 3, positions, n, sum));
  if (ctx.Has(1) && ctx.Has(4)) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> segments, ctx.Ints(1));
    if (segments.size() != ids.size()) return ctx.Error("segment ids must be of the ids' shape");
    RETURN_IF_ERROR(AddRows(ctx, 4, segments, n, sum));
  }
  if (ctx.Wants(1)) {
    ASSIGN_OR_RETURN(Value * out, ctx.Out(1, DType::kInt32, {at[0]}));
    const std::span<int32_t> kept = out->Mutable<int32_t>();
    std::fill(kept.begin(), kept.end(), 0);
    if (ctx.Has(7)) {
      ASSIGN_OR_RETURN(const std::vector<int64_t> mask, ctx.Ints(7));
      if (mask.size() != ids.size()) return ctx.Error("the mask must be of the ids' shape");
      for (size_t i = 0; i < mask.size(); ++i) {
        kept[i / static_cast<size_t>(at[1])] += mask[i] == 1 ? 1 : 0;
      }
    }
  }
  Job job;
  job.epsilon = ctx.node().FloatAttribute("epsilon", 1e-12f);
  job.scale = 5;
  job.bias = 6;
  job.mean_output = job.inverse_output = 99;
  return Normalize(ctx, job, 2, dims, sum, to);
}

}  // namespace lathe::engine
