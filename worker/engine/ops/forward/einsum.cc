// Einsum, two operands at a time: labels that both have and the rest still needs are the batch,
// those that nothing else needs are summed over, and what is left are rows and columns of a batch
// of matrix products. Operands that do not lie so are copied first.
#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/kernels/backend.h"
#include "worker/engine/ops/forward/einsum_equation.h"
#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {
namespace {

using Labels = EinsumLabels;

struct EinsumState : NodeState {
  std::unique_ptr<GemmKernel> kernel;
};

bool Has(const Labels& labels, int label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

// An operand with a stride a label; a diagonal's strides are added, a broadcast one's is 0.
template <typename T>
struct Operand {
  std::map<int, int64_t> stride;
  const T* data = nullptr;
  std::vector<T> held;  // of an intermediate result
};

int64_t Count(const EinsumEquation& e, const Labels& labels) {
  int64_t count = 1;
  for (const int label : labels) count = SaturatingMul(count, e.extent.at(label));
  return count;
}

template <typename T>
Operand<T> Strided(const Labels& labels, const Shape& dims, const T* data) {
  Operand<T> o;
  o.data = data;
  const std::vector<int64_t> strides = Strides(dims);
  for (size_t i = 0; i < labels.size(); ++i) {
    o.stride[labels[i]] += dims[i] == 1 ? 0 : strides[i];
  }
  return o;
}

// Whether the operand is dense in the order of `labels`.
template <typename T>
bool IsDense(const EinsumEquation& e, const Operand<T>& o, const Labels& labels) {
  int64_t stride = 1;
  for (size_t i = labels.size(); i-- > 0;) {
    const int64_t extent = e.extent.at(labels[i]);
    const auto found = o.stride.find(labels[i]);
    if (extent != 1 && (found == o.stride.end() || found->second != stride)) return false;
    stride *= extent;
  }
  return true;
}

// The operand dense in the order of `labels`, summed over `summed`.
template <typename T>
std::vector<T> Gather(const EinsumEquation& e, const Operand<T>& o, const Labels& labels,
                      const Labels& summed) {
  Labels all = labels;
  all.insert(all.end(), summed.begin(), summed.end());
  std::vector<int64_t> extents;
  std::vector<int64_t> strides;
  for (const int label : all) {
    extents.push_back(e.extent.at(label));
    const auto found = o.stride.find(label);
    strides.push_back(found == o.stride.end() ? 0 : found->second);
  }
  const int64_t count = Count(e, labels);
  const int64_t each = Count(e, summed);
  std::vector<T> out(static_cast<size_t>(count), T{0});
  if (count * each == 0) return out;
  std::vector<int64_t> index(all.size(), 0);
  int64_t offset = 0;
  for (int64_t i = 0; i < count; ++i) {
    T sum = T{0};
    for (int64_t j = 0; j < each; ++j) {
      sum = static_cast<T>(sum + o.data[offset]);
      for (size_t a = all.size(); a-- > 0;) {
        offset += strides[a];
        if (++index[a] < extents[a]) break;
        offset -= strides[a] * extents[a];
        index[a] = 0;
      }
    }
    out[static_cast<size_t>(i)] = sum;
  }
  return out;
}

Labels Plus(const Labels& a, const Labels& b, const Labels& c) {
  Labels all = a;
  all.insert(all.end(), b.begin(), b.end());
  all.insert(all.end(), c.begin(), c.end());
  return all;
}

template <typename T>
absl::Status Multiply(RunContext& ctx, const GemmArgs& shape, int64_t batch, const T* a, const T* b,
                      T* c) {
  if constexpr (std::is_same_v<T, float>) {
    auto& state = ctx.State<EinsumState>();
    if (state.kernel == nullptr) state.kernel = ctx.backend().MakeGemm();
    GemmArgs g = shape;
    for (int64_t i = 0; i < batch; ++i) {
      g.a = a + i * g.m * g.k;
      g.b = b + i * g.k * g.n;
      g.c = c + i * g.m * g.n;
      RETURN_IF_ERROR(state.kernel->Run(g));
    }
    return absl::OkStatus();
  } else {
    using Sum = std::conditional_t<std::is_integral_v<T>, uint64_t, T>;
    for (int64_t i = 0; i < batch * shape.m * shape.n; ++i) {
      const int64_t at = i / (shape.m * shape.n);
      const int64_t row = i / shape.n % shape.m;
      const int64_t column = i % shape.n;
      Sum sum = 0;
      for (int64_t k = 0; k < shape.k; ++k) {
        const T right = shape.trans_b ? b[(at * shape.n + column) * shape.k + k]
                                      : b[(at * shape.k + k) * shape.n + column];
        sum += static_cast<Sum>(a[(at * shape.m + row) * shape.k + k]) * static_cast<Sum>(right);
      }
      c[i] = static_cast<T>(sum);
    }
    return absl::OkStatus();
  }
}

// a times b, summed over what neither `needed` nor the other has.
template <typename T>
absl::Status Contract(RunContext& ctx, const EinsumEquation& e, const std::set<int>& needed,
                      Operand<T> a, Operand<T> b, Operand<T>* out) {
  Labels batch;
  Labels rows;
  Labels columns;
  Labels shared;
  Labels a_alone;
  Labels b_alone;
  for (const auto& [label, stride] : a.stride) {
    const bool both = b.stride.count(label) != 0;
    const bool kept = needed.count(label) != 0;
    (both ? (kept ? batch : shared) : (kept ? rows : a_alone)).push_back(label);
  }
  for (const auto& [label, stride] : b.stride) {
    if (a.stride.count(label) == 0) (needed.count(label) != 0 ? columns : b_alone).push_back(label);
  }
  // In the order in which they lie, so that dense operands are found to be so.
  const auto by = [](const Operand<T>& o) {
    return [&o](int x, int y) { return o.stride.at(x) > o.stride.at(y); };
  };
  std::stable_sort(batch.begin(), batch.end(), by(a));
  std::stable_sort(rows.begin(), rows.end(), by(a));
  std::stable_sort(shared.begin(), shared.end(), by(b));
  std::stable_sort(columns.begin(), columns.end(), by(b));
  GemmArgs g;
  g.m = Count(e, rows);
  g.n = Count(e, columns);
  g.k = Count(e, shared);
  const int64_t batches = Count(e, batch);
  const Labels a_order = Plus(batch, rows, shared);
  const Labels b_order = Plus(batch, shared, columns);
  const Labels b_turned = Plus(batch, columns, shared);
  const Labels c_order = Plus(batch, rows, columns);
  constexpr int64_t kMost = int64_t{1} << 33;
  for (const Labels* order : {&a_order, &b_order, &c_order}) {
    if (Count(e, *order) > kMost) {
      return absl::ResourceExhaustedError("Einsum: an intermediate result is too large");
    }
  }
  std::vector<T> a_held;
  std::vector<T> b_held;
  const T* a_data = a.data;
  const T* b_data = b.data;
  if (!a_alone.empty() || !IsDense(e, a, a_order)) {
    a_held = Gather(e, a, a_order, a_alone);
    a_data = a_held.data();
  }
  if (b_alone.empty() && IsDense(e, b, b_turned)) {
    g.trans_b = true;
  } else if (!b_alone.empty() || !IsDense(e, b, b_order)) {
    b_held = Gather(e, b, b_order, b_alone);
    b_data = b_held.data();
  }
  out->held.assign(static_cast<size_t>(Count(e, c_order)), T{0});
  Shape dims;
  for (const int label : c_order) dims.push_back(e.extent.at(label));
  std::vector<T> held = std::move(out->held);
  RETURN_IF_ERROR(Multiply(ctx, g, batches, a_data, b_data, held.data()));
  *out = Strided<T>(c_order, dims, held.data());
  out->held = std::move(held);
  return absl::OkStatus();
}

template <typename T>
absl::Status RunTyped(RunContext& ctx, const EinsumEquation& e, Value& y) {
  Operand<T> result = Strided<T>(e.terms[0], ctx.In(0).dims, ctx.Data<T>(0).data());
  for (size_t i = 1; i < e.terms.size(); ++i) {
    std::set<int> needed(e.output.begin(), e.output.end());
    for (size_t later = i + 1; later < e.terms.size(); ++later) {
      needed.insert(e.terms[later].begin(), e.terms[later].end());
    }
    Operand<T> next;
    RETURN_IF_ERROR(Contract(ctx, e, needed, std::move(result),
                             Strided<T>(e.terms[i], ctx.In(i).dims, ctx.Data<T>(i).data()), &next));
    result = std::move(next);
  }
  Labels summed;
  for (const auto& [label, stride] : result.stride) {
    if (!Has(e.output, label)) summed.push_back(label);
  }
  T* to = y.Mutable<T>().data();
  if (summed.empty() && IsDense(e, result, e.output)) {
    std::copy_n(result.data, y.size(), to);
    return absl::OkStatus();
  }
  const std::vector<T> out = Gather(e, result, e.output, summed);
  std::copy(out.begin(), out.end(), to);
  return absl::OkStatus();
}

absl::Status Einsum(RunContext& ctx) {
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    if (!ctx.In(i).IsTensor() || ctx.In(i).dtype != ctx.In(0).dtype) {
      return ctx.Error("its inputs must be tensors of one type");
    }
  }
  if (ctx.input_count() == 0) return ctx.Error("it has no inputs");
  ASSIGN_OR_RETURN(const EinsumEquation e, ReadEinsumEquation(ctx));
  ASSIGN_OR_RETURN(Value * y, ctx.Out(0));
  if (y->size() != Count(e, e.output)) return ctx.Error("its inputs do not fit together");
  if (y->size() == 0) return absl::OkStatus();
  switch (y->dtype) {
    case DType::kFloat:
      return RunTyped<float>(ctx, e, *y);
    case DType::kDouble:
      return RunTyped<double>(ctx, e, *y);
    case DType::kInt8:
    case DType::kUint8:
      return RunTyped<uint8_t>(ctx, e, *y);
    case DType::kInt16:
    case DType::kUint16:
      return RunTyped<uint16_t>(ctx, e, *y);
    case DType::kInt32:
    case DType::kUint32:
      return RunTyped<uint32_t>(ctx, e, *y);
    case DType::kInt64:
    case DType::kUint64:
      return RunTyped<uint64_t>(ctx, e, *y);
    default:
      return ctx.Unsupported(absl::StrCat("products of ", DTypeName(y->dtype)));
  }
}

constexpr OpForward kForwards[] = {
    {"", "Einsum", Einsum, kComputesInFloat | kTakesDouble},
};

}  // namespace

std::span<const OpForward> EinsumForwards() { return kForwards; }

}  // namespace lathe::engine
