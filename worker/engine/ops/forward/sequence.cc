// Sequences of tensors and optionals. Elements are shared, never copied.
#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

constexpr int64_t kMaxItems = 1 << 20;

// The elements of sequence `i`.
absl::StatusOr<const std::vector<Value>*> Items(const RunContext& ctx, size_t i) {
  const Value& in = ctx.In(i);
  if (in.kind != Value::Kind::kSequence || in.items == nullptr) {
    return ctx.Error(absl::StrCat("input ", i, " must be a sequence"));
  }
  return in.items.get();
}

// Input `i`, a scalar, counted from the front: in [0, count). `fallback` when it is not given.
absl::StatusOr<int64_t> Position(RunContext& ctx, size_t i, int64_t count, int64_t fallback) {
  int64_t position = fallback;
  if (ctx.Has(i)) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> given, ctx.Ints(i));
    if (given.size() != 1) return ctx.Error("a position must be one number");
    position = given[0];
  }
  if (position < -count || position >= count) {
    return ctx.Error(
        absl::StrCat("position ", position, " lies outside of [", -count, ", ", count, ")"));
  }
  return position < 0 ? position + count : position;
}

absl::Status RunSequenceEmpty(RunContext& ctx) {
  const auto dtype =
      static_cast<DType>(ctx.node().IntAttribute("dtype", static_cast<int64_t>(DType::kFloat)));
  ctx.Set(0, Value::Sequence(dtype, {}));
  return absl::OkStatus();
}

absl::Status RunSequenceConstruct(RunContext& ctx) {
  std::vector<Value> items;
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    if (!ctx.In(i).IsTensor() || ctx.In(i).dtype != ctx.In(0).dtype) {
      return ctx.Error("the inputs must be tensors of one type");
    }
    items.push_back(ctx.In(i));
  }
  ctx.Set(0, Value::Sequence(ctx.In(0).dtype, std::move(items)));
  return absl::OkStatus();
}

absl::Status RunSequenceAt(RunContext& ctx) {
  ASSIGN_OR_RETURN(const std::vector<Value>* items, Items(ctx, 0));
  ASSIGN_OR_RETURN(const int64_t at, Position(ctx, 1, static_cast<int64_t>(items->size()), 0));
  ctx.Set(0, (*items)[at]);
  return absl::OkStatus();
}

absl::Status RunSequenceInsert(RunContext& ctx) {
  ASSIGN_OR_RETURN(const std::vector<Value>* items, Items(ctx, 0));
  const Value& item = ctx.In(1);
  const auto count = static_cast<int64_t>(items->size());
  if (!item.IsTensor() || (count > 0 && items->front().dtype != item.dtype)) {
    return ctx.Error("input 1 must be a tensor of the sequence's type");
  }
  if (count >= kMaxItems) return ctx.Error(absl::StrCat("a sequence holds ", kMaxItems));
  int64_t at = count;
  if (ctx.Has(2)) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> given, ctx.Ints(2));
    if (given.size() != 1 || given[0] < -count || given[0] > count) {
      return ctx.Error(absl::StrCat("the position must lie in [", -count, ", ", count, "]"));
    }
    at = given[0] < 0 ? given[0] + count : given[0];
  }
  std::vector<Value> out;
  out.reserve(items->size() + 1);
  out.assign(items->begin(), items->end());
  out.insert(out.begin() + at, item);
  ctx.Set(0, Value::Sequence(item.dtype, std::move(out)));
  return absl::OkStatus();
}

absl::Status RunSequenceErase(RunContext& ctx) {
  ASSIGN_OR_RETURN(const std::vector<Value>* items, Items(ctx, 0));
  const auto count = static_cast<int64_t>(items->size());
  ASSIGN_OR_RETURN(const int64_t at, Position(ctx, 1, count, count - 1));
  std::vector<Value> out = *items;
  out.erase(out.begin() + at);
  ctx.Set(0, Value::Sequence(ctx.In(0).dtype, std::move(out)));
  return absl::OkStatus();
}

absl::Status RunSequenceLength(RunContext& ctx) {
  ASSIGN_OR_RETURN(const std::vector<Value>* items, Items(ctx, 0));
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0, DType::kInt64, {}));
  out->Mutable<int64_t>()[0] = static_cast<int64_t>(items->size());
  return absl::OkStatus();
}

// A tensor like `in` with `count` of its elements along `axis`, from `start` on.
absl::StatusOr<Value> Piece(RunContext& ctx, const Value& in, size_t axis, int64_t start,
                            int64_t count) {
  Value out;
  out.kind = Value::Kind::kTensor;
  out.dtype = in.dtype;
  out.dims = in.dims;
  out.dims[axis] = count;
  const int64_t rows = ExtentProduct(in.dims, 0, axis);
  const int64_t block = ExtentProduct(in.dims, axis + 1, in.dims.size());
  if (in.dtype == DType::kString) {
    std::vector<std::string> strings;
    for (int64_t row = 0; row < rows; ++row) {
      const auto from = in.strings->begin() + (row * in.dims[axis] + start) * block;
      strings.insert(strings.end(), from, from + count * block);
    }
    return Value::FromStrings(std::move(out.dims), std::move(strings));
  }
  const int bits = DTypeBits(in.dtype).value_or(0);
  if (bits == 0 || bits % 8 != 0) return ctx.Unsupported("elements of less than a byte");
  ASSIGN_OR_RETURN(out.buffer, ctx.Scratch(ValueBytes(out.dtype, out.dims, Layout::kPlain)));
  out.data = out.buffer->data();
  const int64_t width = bits / 8;
  const auto bytes = static_cast<size_t>(count * block * width);
  for (int64_t row = 0; row < rows && bytes > 0; ++row) {
    std::memcpy(out.buffer->data() + row * static_cast<int64_t>(bytes),
                in.data + (row * in.dims[axis] + start) * block * width, bytes);
  }
  return out;
}

absl::Status RunSplitToSequence(RunContext& ctx) {
  const Value& in = ctx.In(0);
  if (!in.IsTensor()) return ctx.Error("input 0 must be a tensor");
  const auto axis =
      NormalAxis(ctx.node().IntAttribute("axis", 0), static_cast<int64_t>(in.dims.size()));
  if (!axis) return ctx.Error("axis lies outside of the input's rank");
  const int64_t extent = in.dims[*axis];
  std::vector<int64_t> sizes;
  int64_t chunk = 1;
  if (ctx.Has(1)) {
    ASSIGN_OR_RETURN(sizes, ctx.Ints(1));
    if (ctx.In(1).dims.empty()) {
      chunk = sizes[0];
      if (chunk < 1) return ctx.Error("split must be positive");
    }
  }
  if (!ctx.Has(1) || ctx.In(1).dims.empty()) {
    if (extent / chunk >= kMaxItems) return ctx.Error("it makes too many pieces");
    sizes.clear();
    for (int64_t at = 0; at < extent; at += chunk) sizes.push_back(std::min(chunk, extent - at));
  }
  int64_t total = 0;
  for (const int64_t size : sizes) {
    if (size < 0 || size > extent - total) return ctx.Error("split does not fit the axis");
    total += size;
  }
  if (total != extent || static_cast<int64_t>(sizes.size()) > kMaxItems) {
    return ctx.Error("split does not fit the axis");
  }
  const bool keeps = ctx.Has(1) || ctx.node().IntAttribute("keepdims", 1) != 0;
  std::vector<Value> items;
  int64_t start = 0;
  for (const int64_t size : sizes) {
    ASSIGN_OR_RETURN(Value piece, Piece(ctx, in, static_cast<size_t>(*axis), start, size));
    if (!keeps) piece.dims.erase(piece.dims.begin() + *axis);
    items.push_back(std::move(piece));
    start += size;
  }
  ctx.Set(0, Value::Sequence(in.dtype, std::move(items)));
  return absl::OkStatus();
}

absl::Status RunConcatFromSequence(RunContext& ctx) {
  ASSIGN_OR_RETURN(const std::vector<Value>* items, Items(ctx, 0));
  if (items->empty()) return ctx.Error("an empty sequence makes no tensor");
  const bool is_new = ctx.node().IntAttribute("new_axis", 0) != 0;
  Shape dims = items->front().dims;
  const auto axis = NormalAxis(ctx.node().IntAttribute("axis", 0),
                               static_cast<int64_t>(dims.size()) + (is_new ? 1 : 0));
  if (!axis) return ctx.Error("axis lies outside of the elements' rank");
  if (is_new) dims.insert(dims.begin() + *axis, 1);
  Shape joined = dims;
  joined[*axis] = 0;
  for (const Value& item : *items) {
    Shape part = item.dims;
    if (is_new && static_cast<int64_t>(part.size()) >= *axis) part.insert(part.begin() + *axis, 1);
    if (item.dtype != items->front().dtype || part.size() != dims.size()) {
      return ctx.Error("the elements must be of one type and rank");
    }
    joined[*axis] = SaturatingAdd(joined[*axis], part[*axis]);
    part[*axis] = dims[*axis];
    if (part != dims) return ctx.Error("the elements' shapes do not fit together");
  }
  ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::Make(ctx, 0, items->front().dtype, joined));
  const int64_t rows = ExtentProduct(joined, 0, static_cast<size_t>(*axis));
  const int64_t block = ExtentProduct(joined, static_cast<size_t>(*axis) + 1, joined.size());
  int64_t at = 0;
  std::vector<Elements> parts;
  for (const Value& item : *items) {
    ASSIGN_OR_RETURN(Elements part, ReadElements(ctx, item));
    const int64_t bytes = rows * block == 0 ? 0 : part.count / rows * part.width;
    for (int64_t row = 0; row < rows && bytes > 0; ++row) {
      std::memcpy(out.data() + row * joined[*axis] * block * part.width + at,
                  part.data + row * bytes, static_cast<size_t>(bytes));
    }
    at += bytes;
    if (part.held != nullptr) parts.push_back(std::move(part));
  }
  return out.Finish(ctx);
}

absl::Status RunOptional(RunContext& ctx) {
  std::vector<Value> items;
  if (ctx.Has(0)) items.push_back(ctx.In(0));
  ctx.Set(0, Value::Optional(ctx.In(0).dtype, std::move(items)));
  return absl::OkStatus();
}

// Of a tensor or sequence, which counts as an optional that holds it, itself.
absl::Status RunOptionalGetElement(RunContext& ctx) {
  const Value& in = ctx.In(0);
  if (in.kind == Value::Kind::kNone ||
      (in.kind == Value::Kind::kOptional && (in.items == nullptr || in.items->empty()))) {
    return ctx.Error("the optional holds nothing");
  }
  ctx.Set(0, in.kind == Value::Kind::kOptional ? Value(in.items->front()) : in);
  return absl::OkStatus();
}

absl::Status RunOptionalHasElement(RunContext& ctx) {
  const Value& in = ctx.In(0);
  const bool has = in.kind == Value::Kind::kOptional ? in.items != nullptr && !in.items->empty()
                                                     : in.kind != Value::Kind::kNone;
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0, DType::kBool, {}));
  out->Mutable<uint8_t>()[0] = has ? 1 : 0;
  return absl::OkStatus();
}

constexpr OpForward kForwards[] = {
    {"", "ConcatFromSequence", RunConcatFromSequence},
    {"", "Optional", RunOptional},
    {"", "OptionalGetElement", RunOptionalGetElement},
    {"", "OptionalHasElement", RunOptionalHasElement},
    {"", "SequenceAt", RunSequenceAt},
    {"", "SequenceConstruct", RunSequenceConstruct},
    {"", "SequenceEmpty", RunSequenceEmpty},
    {"", "SequenceErase", RunSequenceErase},
    {"", "SequenceInsert", RunSequenceInsert},
    {"", "SequenceLength", RunSequenceLength},
    {"", "SplitToSequence", RunSplitToSequence},
};

}  // namespace

std::span<const OpForward> SequenceForwards() { return kForwards; }

}  // namespace lathe::engine
