// A recipe as plain data, whatever form it came in (proto, JSON, YAML).
#ifndef LATHE_COMMON_RECIPE_RECIPE_H_
#define LATHE_COMMON_RECIPE_RECIPE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace lathe {

// A parameter's value: bool, int, double, string, list of strings, or list of numbers.
using ParamValue =
    std::variant<bool, int64_t, double, std::string, std::vector<std::string>, std::vector<double>>;

// One step (or section): a method's name and the parameters given for it. Parameters not given are
// absent (their defaults are in the catalogue); use the typed getters of common/recipe/catalogue.h
// to read a validated step.
struct Step {
  std::string method;
  std::map<std::string, ParamValue> params;
  // Written as `train` inside the step before it; it runs like any other. For messages, and for
  // being written down again.
  bool inside_previous = false;
};

struct Recipe {
  std::vector<Step> steps;
  uint64_t seed = 0;
  // What is said beside the steps, by the section's name: preprocess, split, evaluate, constraints.
  // Each is a Step whose method is that name. Only what was given; read with SectionOf and the
  // typed getters.
  std::map<std::string, Step> sections = {};
};

}  // namespace lathe

#endif  // LATHE_COMMON_RECIPE_RECIPE_H_
