#include "worker/engine/ops/forward/cast_text.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/elementwise.h"
#include "worker/engine/ops/forward/value_read.h"

namespace lathe::engine {
namespace {

std::string RealToText(double value, bool single) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-INF" : "INF";
  // The shortest text that reads back as the same number.
  std::array<char, 40> text;
  char* const limit = text.data() + text.size();
  const std::to_chars_result end =
      single ? std::to_chars(text.data(), limit, static_cast<float>(value))
             : std::to_chars(text.data(), limit, value);
  return std::string(text.data(), end.ptr);
}

// Whole numbers keep all their digits; others lose what stands behind the point.
template <class T>
bool ParseInteger(const std::string& text, T* out) {
  if constexpr (std::is_signed_v<T>) {
    int64_t whole = 0;
    if (absl::SimpleAtoi(text, &whole)) {
      *out = static_cast<T>(whole);
      return true;
    }
  } else {
    uint64_t whole = 0;
    if (absl::SimpleAtoi(text, &whole)) {
      *out = static_cast<T>(whole);
      return true;
    }
  }
  double real = 0;
  if (!absl::SimpleAtod(text, &real)) return false;
  *out = static_cast<T>(Saturated<int64_t>(real));
  return true;
}

template <class T>
bool Parse(const std::string& text, DType to, T* out) {
  if constexpr (std::is_same_v<T, float>) {
    return absl::SimpleAtof(text, out);
  } else if constexpr (std::is_same_v<T, double>) {
    return absl::SimpleAtod(text, out);
  } else {
    if (to != DType::kBool) return ParseInteger(text, out);
    double real = 0;
    if (!absl::SimpleAtod(text, &real)) return false;
    *out = real != 0;
    return true;
  }
}

}  // namespace

std::vector<std::string> NumbersToText(const Value& numbers) {
  std::vector<std::string> out(static_cast<size_t>(numbers.size()));
  for (size_t i = 0; i < out.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    if (numbers.dtype == DType::kFloat) {
      out[i] = RealToText(ReadNumber(numbers, at), true);
    } else if (numbers.dtype == DType::kDouble) {
      out[i] = RealToText(ReadNumber(numbers, at), false);
    } else if (numbers.dtype == DType::kUint64) {
      out[i] = absl::StrCat(numbers.As<uint64_t>()[i]);
    } else {
      out[i] = absl::StrCat(ReadInteger(numbers, at));
    }
  }
  return out;
}

absl::Status TextToNumbers(const RunContext& ctx, const std::vector<std::string>& text, DType to,
                           Value& out) {
  return VisitNumber(ctx, out.dtype, [&](auto zero) -> absl::Status {
    const auto numbers = out.Mutable<decltype(zero)>();
    for (size_t i = 0; i < numbers.size(); ++i) {
      if (Parse(text[i], to, &numbers[i])) continue;
      return ctx.Error(absl::StrCat("element ", i, ", \"", absl::CHexEscape(text[i].substr(0, 40)),
                                    "\", is not a number"));
    }
    return absl::OkStatus();
  });
}

}  // namespace lathe::engine
