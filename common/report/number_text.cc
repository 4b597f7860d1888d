#include "common/report/number_text.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace lathe::page {
namespace {

constexpr double kExactIntegers = 9007199254740992.0;  // 2^53

// Three significant digits of a value in [0, 1000).
std::string ThreeDigits(double value) {
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return absl::StrFormat("%.*f", decimals, value);
}

// `value` in the largest of `units`, each 1000 times the one before, that leaves at least 1.
template <size_t n>
std::string Scaled(double value, const char* const (&units)[n]) {
  double size = std::abs(value);
  size_t unit = 0;
  while (size >= 999.5 && unit + 1 < n) {
    size /= 1000;
    ++unit;
  }
  if (size >= 999.5) return absl::StrFormat("%.3g %s", value, units[unit]);
  const std::string space = *units[unit] == '\0' ? "" : " ";
  return absl::StrCat(value < 0 ? "-" : "", ThreeDigits(size), space, units[unit]);
}

}  // namespace

std::string Bytes(double bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  if (std::abs(bytes) < 999.5) return absl::StrFormat("%.0f B", bytes);
  return Scaled(bytes, kUnits);
}

std::string SignedBytes(double bytes) { return absl::StrCat(bytes < 0 ? "" : "+", Bytes(bytes)); }

std::string Grouped(double value) {
  if (std::abs(value) > kExactIntegers) return absl::StrFormat("%.3g", value);
  std::string digits = absl::StrFormat("%.0f", value);
  if (digits == "-0") digits = "0";
  const int first = digits[0] == '-' ? 1 : 0;
  for (int at = static_cast<int>(digits.size()) - 3; at > first; at -= 3) {
    digits.insert(static_cast<size_t>(at), ",");
  }
  return digits;
}

std::string Short(double value) {
  static constexpr const char* kUnits[] = {"", "k", "M", "G", "T", "P"};
  if (std::abs(value) < 10000) return Grouped(value);
  return Scaled(value, kUnits);
}

std::string Percent(double share, int decimals) {
  return absl::StrFormat("%.*f %%", decimals, 100 * share);
}

std::string Significant(double value) {
  const double size = std::abs(value);
  if (size == 0) return "0";
  if (size < 1e-4 || size >= 1e6) return absl::StrFormat("%.2e", value);
  if (size >= 100) return absl::StrFormat("%.0f", value);
  const int decimals = 2 - static_cast<int>(std::floor(std::log10(size)));
  return absl::StrFormat("%.*f", decimals, value);
}

std::string Ratio(double ratio) {
  return absl::StrCat(
      ratio >= 9.5 ? absl::StrFormat("%.1f", ratio) : absl::StrFormat("%.2f", ratio), "x");
}

std::string Energy(double picojoules) {
  static constexpr const char* kUnits[] = {"pJ", "nJ", "uJ", "mJ", "J", "kJ"};
  return Scaled(picojoules, kUnits);
}

std::string Milliseconds(double ms) { return absl::StrCat(Significant(ms), " ms"); }

}  // namespace lathe::page
