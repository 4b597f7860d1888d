// Reading JSON whose shape nobody has checked.
#ifndef LATHE_COMMON_REPORT_JSON_ACCESS_H_
#define LATHE_COMMON_REPORT_JSON_ACCESS_H_

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace lathe::page {

// The value under `path` ({"after", "file_bytes"}); a null value when some part of it is missing or
// is no object. Borrows from `value`, which must outlive the result.
const nlohmann::json& At(const nlohmann::json& value, std::initializer_list<const char*> path);
inline const nlohmann::json& At(const nlohmann::json& value, const char* key) {
  return At(value, {key});
}

// The list under `key`, an empty one when there is none: safe to iterate.
const nlohmann::json& List(const nlohmann::json& value, const char* key);

// A number within +-1e150, so that arithmetic on two of them stays finite; nothing for any other
// value.
std::optional<double> Number(const nlohmann::json& value);
std::optional<double> Number(const nlohmann::json& value, std::initializer_list<const char*> path);
inline std::optional<double> Number(const nlohmann::json& value, const char* key) {
  return Number(value, {key});
}

// A string; "" for any other value.
std::string Text(const nlohmann::json& value);
inline std::string Text(const nlohmann::json& value, const char* key) {
  return Text(At(value, key));
}

// The non-empty strings of a list, in order.
std::vector<std::string> Texts(const nlohmann::json& list);

// The numbers of a list; empty when it is no list or Number has nothing for one of its items.
std::vector<double> Numbers(const nlohmann::json& list);

}  // namespace lathe::page

#endif  // LATHE_COMMON_REPORT_JSON_ACCESS_H_
