// The catalogue: every method's and section's name, parameters, bounds, defaults and help. The one
// source for validation, capabilities, the command line's help and docs/recipes.md. It links no
// kernels, so the server can hold it.
#ifndef LATHE_COMMON_RECIPE_CATALOGUE_H_
#define LATHE_COMMON_RECIPE_CATALOGUE_H_

#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/recipe/recipe.h"

namespace lathe {

enum class ParamType { kBool, kInt, kDouble, kString, kStringList, kNumberList };

// "bool", "int", "double", "string", "string_list", "number_list".
absl::string_view ParamTypeName(ParamType type);

struct ParamSpec {
  std::string name;
  ParamType type;
  std::string description;  // one sentence
  std::string unit = {};    // "" when it has none
  // Numbers, alone or in a list: bounds, and whether they themselves are allowed.
  double minimum = -std::numeric_limits<double>::infinity();
  double maximum = std::numeric_limits<double>::infinity();
  bool minimum_open = false;
  bool maximum_open = false;
  // Lists of numbers: whether they are whole, and how many there may be.
  bool whole = false;
  int minimum_count = 0;
  int maximum_count = 0;
  std::vector<std::string> choices = {};  // strings: the allowed ones; empty: any
  // Strings with choices: a number within the bounds is allowed beside them, as text.
  bool or_number = false;
  std::vector<int64_t> int_choices = {};  // ints: the allowed ones; empty: all within the bounds
  std::optional<ParamValue> default_value = {};

  // "[0, 1)", "tensor | channel | group", "any".
  std::string RangeText() const;
};

struct MethodSpec {
  std::string name;
  std::string description;
  std::vector<ParamSpec> params;
  // Groups of parameters of which at most one may be given, or exactly one when `required`.
  struct Exclusive {
    std::vector<std::string> names;
    bool required = false;
  };
  std::vector<Exclusive> exclusive;
  // `name` may be given only when `other` (or its default) equals `value`, or is a list of it
  // alone.
  struct OnlyWith {
    std::string name;
    std::string other;
    std::string value;
  };
  std::vector<OnlyWith> only_with;

  // nullptr when there is no such parameter.
  const ParamSpec* Find(absl::string_view param) const;
};

// All methods, in the order of docs/recipes.md.
std::span<const MethodSpec> Catalogue();
// nullptr when there is none.
const MethodSpec* FindMethod(absl::string_view name);

// What a recipe may say beside its steps, in the order of docs/recipes.md. Described like methods,
// but each is given at most once, under its name.
std::span<const MethodSpec> Sections();
// nullptr when there is none.
const MethodSpec* FindSection(absl::string_view name);
// A section for the typed getters below: as given, or empty so that they give the defaults.
Step SectionOf(const Recipe& recipe, absl::string_view name);

// Whether a step runs the model on examples (of the role `calibration`).
enum class DataUse { kNone, kOptional, kRequired };
DataUse CalibrationUse(const Step& step);
// The parameter whose value makes them required; "" where they are not.
std::string CalibratedParam(const Step& step);
// Whether a step trains on examples (of the role `train`).
bool TrainsOnData(const Step& step);
// Whether the method takes `train`: the parameters of a fine_tune step right after it, written
// inside it.
bool TakesTrain(absl::string_view method);

// Typed access to a validated step or section: the given value, or the catalogue's default. They
// die on an unknown method or parameter or a wrong type, which are bugs of the caller, not of the
// user.
bool GetBool(const Step& step, absl::string_view param);
int64_t GetInt(const Step& step, absl::string_view param);
double GetDouble(const Step& step, absl::string_view param);
std::string GetString(const Step& step, absl::string_view param);
std::vector<std::string> GetStrings(const Step& step, absl::string_view param);
std::vector<double> GetNumbers(const Step& step, absl::string_view param);
// True when the recipe names it.
bool IsGiven(const Step& step, absl::string_view param);

}  // namespace lathe

#endif  // LATHE_COMMON_RECIPE_CATALOGUE_H_
