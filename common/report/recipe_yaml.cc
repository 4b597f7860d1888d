#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/report/json_access.h"
#include "common/report/sections.h"

namespace lathe::page {
namespace {

using nlohmann::json;

// A scalar or a flow collection as JSON, which YAML contains.
std::string Flow(const json& value) {
  if (value.is_array()) {
    std::string out = "[";
    for (const json& item : value) absl::StrAppend(&out, out.size() == 1 ? "" : ", ", Flow(item));
    return absl::StrCat(out, "]");
  }
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// Names of methods and parameters stand without quotes; a stranger key gets them.
std::string Key(const std::string& key) {
  const bool plain = !key.empty() && absl::ascii_isalpha(static_cast<unsigned char>(key[0])) &&
                     std::all_of(key.begin(), key.end(), [](unsigned char c) {
                       return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '_';
                     });
  return plain ? key : Flow(json(key));
}

}  // namespace

std::string RecipeYaml(const json& recipe) {
  const json& steps = List(recipe, "steps");
  if (steps.empty()) return "";
  std::string out = "steps:\n";
  for (const json& step : steps) {
    if (!step.is_object() || step.size() != 1) {
      absl::StrAppend(&out, "  - ", Flow(step), "\n");
      continue;
    }
    const std::string& method = step.begin().key();
    const json& params = step.begin().value();
    if (!params.is_object() || params.empty()) {
      absl::StrAppend(&out, "  - ", Key(method), ": {}\n");
      continue;
    }
    absl::StrAppend(&out, "  - ", Key(method), ":\n");
    for (const auto& [name, value] : params.items()) {
      absl::StrAppend(&out, "      ", Key(name), ": ", Flow(value), "\n");
    }
  }
  for (const auto& [key, value] : recipe.items()) {
    if (key != "steps") absl::StrAppend(&out, Key(key), ": ", Flow(value), "\n");
  }
  return out;
}

}  // namespace lathe::page
