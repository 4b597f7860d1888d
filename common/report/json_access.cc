#include "common/report/json_access.h"

#include <cmath>

namespace lathe::page {

using nlohmann::json;

// Sums and products of two such numbers are finite. NaN compares as not at most this.
constexpr double kLargest = 1e150;

const json& At(const json& value, std::initializer_list<const char*> path) {
  static const json* const kNull = new json(nullptr);
  const json* at = &value;
  for (const char* key : path) {
    if (!at->is_object()) return *kNull;
    const auto found = at->find(key);
    if (found == at->end()) return *kNull;
    at = &*found;
  }
  return *at;
}

const json& List(const json& value, const char* key) {
  static const json* const kEmpty = new json(json::array());
  const json& list = At(value, key);
  return list.is_array() ? list : *kEmpty;
}

std::optional<double> Number(const json& value) {
  if (!value.is_number()) return std::nullopt;
  const double number = value.get<double>();
  return std::abs(number) <= kLargest ? std::optional<double>(number) : std::nullopt;
}

std::optional<double> Number(const json& value, std::initializer_list<const char*> path) {
  return Number(At(value, path));
}

std::string Text(const json& value) { return value.is_string() ? value.get<std::string>() : ""; }

std::vector<std::string> Texts(const json& list) {
  std::vector<std::string> out;
  if (!list.is_array()) return out;
  for (const json& item : list) {
    if (std::string text = Text(item); !text.empty()) out.push_back(std::move(text));
  }
  return out;
}

std::vector<double> Numbers(const json& list) {
  std::vector<double> out;
  if (!list.is_array()) return out;
  for (const json& item : list) {
    const std::optional<double> number = Number(item);
    if (!number) return {};
    out.push_back(*number);
  }
  return out;
}

}  // namespace lathe::page
