// Overflow-checked arithmetic for sizes that come from outside.
#ifndef LATHE_COMMON_CHECKED_H_
#define LATHE_COMMON_CHECKED_H_

#include <cstdint>
#include <optional>
#include <span>

namespace lathe {

inline std::optional<int64_t> CheckedAdd(int64_t a, int64_t b) {
  int64_t out;
  if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
  return out;
}

inline std::optional<int64_t> CheckedMul(int64_t a, int64_t b) {
  int64_t out;
  if (__builtin_mul_overflow(a, b, &out)) return std::nullopt;
  return out;
}

// Product of non-negative dimensions; nullopt when one is negative or the product of the non-zero
// ones overflows (so that a zero cannot hide a hostile shape). Empty: 1.
inline std::optional<int64_t> CheckedProduct(std::span<const int64_t> dims) {
  int64_t out = 1;
  bool zero = false;
  for (const int64_t d : dims) {
    if (d < 0) return std::nullopt;
    if (d == 0) {
      zero = true;
    } else if (__builtin_mul_overflow(out, d, &out)) {
      return std::nullopt;
    }
  }
  return zero ? 0 : out;
}

}  // namespace lathe

#endif  // LATHE_COMMON_CHECKED_H_
