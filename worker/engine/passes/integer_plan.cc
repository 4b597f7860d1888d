#include "worker/engine/passes/integer_plan.h"

#include <algorithm>
#include <cmath>

namespace lathe::engine {

IntegerRange MakeIntegerRange(double low, double high, int bits, bool symmetric,
                              bool powers_of_two) {
  IntegerRange range;
  const double steps = static_cast<double>((int64_t{1} << bits) - 1);
  constexpr double kSmallest = 1e-30;
  constexpr double kLargest = 1e36;
  double scale = symmetric ? std::max(-low, high) / std::floor(steps / 2) : (high - low) / steps;
  if (!(scale > kSmallest)) scale = 1;  // all zeros: any scale does
  scale = std::min(scale, kLargest);
  if (powers_of_two) scale = std::exp2(std::ceil(std::log2(scale)));
  range.scale = static_cast<float>(scale);
  if (symmetric) {
    range.dtype = bits == 8 ? DType::kInt8 : DType::kInt16;
  } else {
    range.dtype = bits == 8 ? DType::kUint8 : DType::kUint16;
    range.zero_point =
        static_cast<int32_t>(std::clamp(std::nearbyint(-low / range.scale), 0.0, steps));
  }
  return range;
}

bool WritesIntegers(const std::vector<IntegerUnit>& units, const std::vector<UnitForm>& forms,
                    size_t unit) {
  if (units[unit].kind == UnitKind::kConv || !units[unit].Linear()) return true;
  for (size_t u = 0; u < units.size(); ++u) {
    if (forms[u] != UnitForm::kStatic) continue;
    for (const std::string& input : units[u].inputs) {
      if (input == units[unit].result()) return true;
    }
  }
  return false;
}

}  // namespace lathe::engine
