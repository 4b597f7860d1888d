#include "worker/engine/kernels/small_float.h"

#include <algorithm>
#include <cmath>

namespace lathe::engine {
namespace {

struct Format {
  int mantissa_bits;
  int bias;
  int sign_bit;
  uint8_t largest;   // code of the largest number
  uint8_t past;      // code of what is larger, when it does not saturate
  uint8_t nan;       // code of NaN
  bool signed_zero;  // whether -0 has a code of its own
  bool signed_past;  // whether `past` takes the sign
};

const Format* FormatOf(DType dtype) {
  static constexpr Format kE4M3FN = {3, 7, 7, 0x7E, 0x7F, 0x7F, true, true};
  static constexpr Format kE4M3FNUZ = {3, 8, 7, 0x7F, 0x80, 0x80, false, false};
  static constexpr Format kE5M2 = {2, 15, 7, 0x7B, 0x7C, 0x7F, true, true};
  static constexpr Format kE5M2FNUZ = {2, 16, 7, 0x7F, 0x80, 0x80, false, false};
  static constexpr Format kE2M1 = {1, 1, 3, 0x07, 0x07, 0x07, true, true};
  switch (dtype) {
    case DType::kFloat8E4M3FN:
      return &kE4M3FN;
    case DType::kFloat8E4M3FNUZ:
      return &kE4M3FNUZ;
    case DType::kFloat8E5M2:
      return &kE5M2;
    case DType::kFloat8E5M2FNUZ:
      return &kE5M2FNUZ;
    case DType::kFloat4E2M1:
      return &kE2M1;
    default:
      return nullptr;
  }
}

}  // namespace

bool IsSmallFloat(DType dtype) { return FormatOf(dtype) != nullptr; }

uint8_t FloatToSmall(float value, DType dtype, bool saturate) {
  const Format* format = FormatOf(dtype);
  if (format == nullptr) return 0;
  if (std::isnan(value)) return format->nan;
  const auto sign = static_cast<uint8_t>(std::signbit(value) ? 1U << format->sign_bit : 0U);
  const float magnitude = std::abs(value);
  const auto past = [&] {
    if (saturate) return static_cast<uint8_t>(format->largest | sign);
    return static_cast<uint8_t>(format->past | (format->signed_past ? sign : 0));
  };
  if (std::isinf(magnitude)) return past();
  if (magnitude == 0) return format->signed_zero ? sign : 0;
  // The unit in the last place at this magnitude: 2^(exponent - mantissa_bits), no finer than that
  // of the subnormal numbers. Dividing by it is exact, and so the rounding happens once.
  const int exponent = std::max(std::ilogb(magnitude), 1 - format->bias);
  const float units = std::nearbyint(std::ldexp(magnitude, format->mantissa_bits - exponent));
  // Adding lets a carry reach the exponent. Of a normal number `units` holds the hidden one, which
  // is the 1 that the exponent lacks; of a subnormal one the exponent's code is 0.
  const int code =
      ((exponent + format->bias - 1) << format->mantissa_bits) + static_cast<int>(units);
  if (code > format->largest) return past();
  if (code == 0 && !format->signed_zero) return 0;
  return static_cast<uint8_t>(code | sign);
}

}  // namespace lathe::engine
