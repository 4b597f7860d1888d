#include "worker/engine/ops/forward/elements.h"

#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checked.h"
#include "common/status_macros.h"

namespace lathe::engine {
namespace {

// Bytes of an unpacked element; 0 for types without a size.
int64_t WidthOf(DType dtype) {
  if (dtype == DType::kString) return static_cast<int64_t>(sizeof(const std::string*));
  return (DTypeBits(dtype).value_or(0) + 7) / 8;
}

bool IsPacked(DType dtype) { return DTypeBits(dtype).value_or(8) < 8; }

}  // namespace

absl::StatusOr<Elements> ReadElements(RunContext& ctx, const Value& value) {
  if (!value.IsTensor()) {
    return ctx.Error(absl::StrCat("expected a tensor, got ", Describe(value)));
  }
  Elements out;
  out.dtype = value.dtype;
  out.dims = value.dims;
  out.count = value.size();
  out.width = WidthOf(value.dtype);
  if (out.width == 0) return ctx.Unsupported("elements of a type without a size");
  out.data = value.data;
  if (value.dtype == DType::kString) {
    ASSIGN_OR_RETURN(out.held, ctx.Scratch(out.count * out.width));
    auto* pointers = reinterpret_cast<const std::string**>(out.held->data());
    for (int64_t i = 0; i < out.count; ++i) pointers[i] = &(*value.strings)[i];
    out.data = out.held->data();
  } else if (IsPacked(value.dtype)) {
    ASSIGN_OR_RETURN(out.held, ctx.Scratch(out.count));
    const int bits = *DTypeBits(value.dtype);
    for (int64_t i = 0; i < out.count; ++i) {
      const auto byte = static_cast<uint8_t>(value.data[i * bits / 8]);
      out.held->data()[i] = static_cast<char>((byte >> (i * bits % 8)) & ((1 << bits) - 1));
    }
    out.data = out.held->data();
  }
  return out;
}

absl::StatusOr<Elements> ReadElements(RunContext& ctx, size_t i) {
  if (!ctx.Has(i)) return ctx.Error(absl::StrCat("input ", i, " is missing"));
  return ReadElements(ctx, ctx.In(i));
}

absl::StatusOr<ElementsOut> ElementsOut::Make(RunContext& ctx, size_t i, DType dtype, Shape dims) {
  ElementsOut out;
  out.output_ = i;
  out.dtype_ = dtype;
  out.width_ = WidthOf(dtype);
  if (out.width_ == 0) return ctx.Unsupported("elements of a type without a size");
  if (!IsPlausible(dims)) {
    return ctx.Error(absl::StrCat("output ", i, " would have an impossible shape"));
  }
  out.count_ = *CheckedProduct(dims);
  out.dims_ = std::move(dims);
  if (dtype == DType::kString || IsPacked(dtype)) {
    ASSIGN_OR_RETURN(out.held_, ctx.Scratch(out.count_ * out.width_));
    out.data_ = out.held_->data();
  } else {
    ASSIGN_OR_RETURN(Value * value, ctx.Out(i, dtype, out.dims_));
    out.data_ = value->buffer->data();
  }
  return out;
}

absl::StatusOr<ElementsOut> ElementsOut::Make(RunContext& ctx, size_t i) {
  ASSIGN_OR_RETURN(const ValueFact* fact, ctx.Inferred(i));
  return Make(ctx, i, fact->dtype, fact->dims);
}

absl::StatusOr<ElementsOut> ElementsOut::MakeCopy(RunContext& ctx, size_t i, const Elements& in,
                                                  size_t input) {
  ElementsOut out;
  if (in.held != nullptr) {
    ASSIGN_OR_RETURN(out, Make(ctx, i, in.dtype, in.dims));
  } else {
    ASSIGN_OR_RETURN(Value * value, ctx.OutInPlace(i, input, in.dtype, in.dims));
    out.output_ = i;
    out.dtype_ = in.dtype;
    out.dims_ = in.dims;
    out.count_ = in.count;
    out.width_ = in.width;
    out.data_ = value->buffer->data();
  }
  if (out.count_ > 0 && out.data_ != in.data) {
    std::memcpy(out.data_, in.data, static_cast<size_t>(in.count * in.width));
  }
  return out;
}

void ElementsOut::Clear() {
  if (count_ > 0) std::memset(data_, 0, static_cast<size_t>(count_ * width_));
}

absl::Status ElementsOut::Finish(RunContext& ctx) {
  if (held_ == nullptr) return absl::OkStatus();
  if (dtype_ == DType::kString) {
    const auto* pointers = reinterpret_cast<const std::string* const*>(data_);
    int64_t bytes = 0;
    for (int64_t i = 0; i < count_; ++i) {
      bytes += static_cast<int64_t>(sizeof(std::string));
      if (pointers[i] != nullptr) bytes += static_cast<int64_t>(pointers[i]->size());
    }
    // Strings do not live in the run's memory: what they take is held against its limit here.
    RETURN_IF_ERROR(ctx.Scratch(bytes).status());
    std::vector<std::string> strings(static_cast<size_t>(count_));
    for (int64_t i = 0; i < count_; ++i) {
      if (pointers[i] != nullptr) strings[i] = *pointers[i];
    }
    ctx.Set(output_, Value::FromStrings(dims_, std::move(strings)));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(Value * value, ctx.Out(output_, dtype_, dims_));
  char* packed = value->buffer->data();
  const int bits = *DTypeBits(dtype_);
  if (value->bytes() > 0) std::memset(packed, 0, static_cast<size_t>(value->bytes()));
  for (int64_t i = 0; i < count_; ++i) {
    const auto element = static_cast<uint8_t>(data_[i]) & ((1 << bits) - 1);
    packed[i * bits / 8] = static_cast<char>(packed[i * bits / 8] | (element << (i * bits % 8)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int64_t>> ReadIndices(RunContext& ctx, size_t i, int64_t extent) {
  ASSIGN_OR_RETURN(std::vector<int64_t> indices, ctx.Ints(i));
  for (int64_t& index : indices) {
    if (index < -extent || index >= extent) {
      return ctx.Error(absl::StrCat("index ", index, " of input ", i, " lies outside of [", -extent,
                                    ", ", extent, ")"));
    }
    if (index < 0) index += extent;
  }
  return indices;
}

int64_t ExtentProduct(const Shape& dims, size_t begin, size_t end) {
  int64_t product = 1;
  for (size_t i = begin; i < end; ++i) product *= dims[i];
  return product;
}

}  // namespace lathe::engine
