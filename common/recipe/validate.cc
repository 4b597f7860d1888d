#include "common/recipe/validate.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/limits.h"
#include "common/recipe/catalogue.h"

namespace lathe {
namespace {

int EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<int> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string ShowString(absl::string_view text) {
  constexpr size_t kShown = 60;
  if (text.size() <= kShown) return absl::StrCat("\"", text, "\"");
  return absl::StrCat("\"", text.substr(0, kShown), "...\"");
}

std::string ShowValue(const ParamValue& value) {
  if (const bool* b = std::get_if<bool>(&value)) return *b ? "true" : "false";
  if (const int64_t* i = std::get_if<int64_t>(&value)) return absl::StrCat(*i);
  if (const double* d = std::get_if<double>(&value)) return absl::StrCat(*d);
  if (const std::string* s = std::get_if<std::string>(&value)) return ShowString(*s);
  if (const auto* numbers = std::get_if<std::vector<double>>(&value)) {
    return absl::StrCat("a list of ", numbers->size(), " numbers");
  }
  return absl::StrCat("a list of ", std::get<std::vector<std::string>>(value).size(), " strings");
}

std::string DidYouMean(absl::string_view given, const std::vector<std::string>& names) {
  const std::string nearest = NearestName(given, names);
  if (nearest.empty()) return absl::StrCat("valid are: ", absl::StrJoin(names, ", "));
  return absl::StrCat("did you mean \"", nearest, "\"? Valid are: ", absl::StrJoin(names, ", "));
}

bool InBounds(const ParamSpec& spec, double d) {
  const bool below = spec.minimum_open ? !(d > spec.minimum) : !(d >= spec.minimum);
  const bool above = spec.maximum_open ? !(d < spec.maximum) : !(d <= spec.maximum);
  return std::isfinite(d) && !below && !above;
}

// "" when the list fits the parameter's bounds.
std::string CheckNumbers(const ParamSpec& spec, const std::vector<double>& list) {
  const auto count = static_cast<int64_t>(list.size());
  if (count < spec.minimum_count || count > spec.maximum_count) {
    return absl::StrCat(
        "must hold ", spec.minimum_count,
        spec.minimum_count == spec.maximum_count ? "" : absl::StrCat(" to ", spec.maximum_count),
        " numbers, got ", count);
  }
  for (size_t i = 0; i < list.size(); ++i) {
    if (!InBounds(spec, list[i]) || (spec.whole && std::floor(list[i]) != list[i])) {
      return absl::StrCat("must hold ", spec.whole ? "whole" : "finite", " numbers in ",
                          spec.RangeText(), ", got ", list[i], " at ", i);
    }
  }
  return "";
}

// "" when the value fits the parameter's type and bounds; otherwise what is wrong.
std::string CheckValue(const ParamSpec& spec, const ParamValue& value) {
  const auto wrong_type = [&] {
    return absl::StrCat("expects ", ParamTypeName(spec.type), " in ", spec.RangeText(), ", got ",
                        ShowValue(value));
  };
  switch (spec.type) {
    case ParamType::kBool:
      return std::holds_alternative<bool>(value) ? "" : wrong_type();
    case ParamType::kInt: {
      const int64_t* i = std::get_if<int64_t>(&value);
      if (i == nullptr) return wrong_type();
      const bool listed = spec.int_choices.empty() ||
                          std::count(spec.int_choices.begin(), spec.int_choices.end(), *i) > 0;
      const auto d = static_cast<double>(*i);
      if (!listed || d < spec.minimum || d > spec.maximum) {
        return absl::StrCat("must be in ", spec.RangeText(), ", got ", *i);
      }
      return "";
    }
    case ParamType::kDouble: {
      double d = 0;
      if (const double* given = std::get_if<double>(&value)) {
        d = *given;
      } else if (const int64_t* i = std::get_if<int64_t>(&value)) {
        d = static_cast<double>(*i);
      } else {
        return wrong_type();
      }
      if (!InBounds(spec, d)) {
        return absl::StrCat("must be a finite number in ", spec.RangeText(), ", got ", d);
      }
      return "";
    }
    case ParamType::kString: {
      const std::string* s = std::get_if<std::string>(&value);
      if (s == nullptr) return wrong_type();
      if (!spec.choices.empty() && std::count(spec.choices.begin(), spec.choices.end(), *s) == 0) {
        double d = 0;
        if (spec.or_number && absl::SimpleAtod(*s, &d)) {
          if (InBounds(spec, d)) return "";
          return absl::StrCat("must be in ", spec.RangeText(), ", got ", ShowString(*s));
        }
        return absl::StrCat("has no choice ", ShowString(*s), "; ", DidYouMean(*s, spec.choices));
      }
      return "";
    }
    case ParamType::kNumberList: {
      const auto* list = std::get_if<std::vector<double>>(&value);
      return list == nullptr ? wrong_type() : CheckNumbers(spec, *list);
    }
    case ParamType::kStringList: {
      const auto* list = std::get_if<std::vector<std::string>>(&value);
      if (list == nullptr) return wrong_type();
      if (list->size() > static_cast<size_t>(limits::kMaxPatterns)) {
        return absl::StrCat("holds ", list->size(), " patterns; at most ", limits::kMaxPatterns,
                            " are allowed");
      }
      for (size_t i = 0; i < list->size(); ++i) {
        if ((*list)[i].empty()) return absl::StrCat("pattern ", i, " is empty");
        if ((*list)[i].size() > static_cast<size_t>(limits::kMaxPatternBytes)) {
          return absl::StrCat("pattern ", i, " has ", (*list)[i].size(), " bytes; at most ",
                              limits::kMaxPatternBytes, " are allowed");
        }
      }
      return "";
    }
  }
  return "";
}

// The value a parameter has in this step: given, or its default; nullopt when neither.
std::optional<ParamValue> Effective(const Step& step, const MethodSpec& method,
                                    const std::string& name) {
  if (auto it = step.params.find(name); it != step.params.end()) return it->second;
  const ParamSpec* spec = method.Find(name);
  return spec == nullptr ? std::nullopt : spec->default_value;
}

// The parameters of a step or section at `prefix`.
void CheckParams(const Step& step, const MethodSpec* method, const std::string& prefix,
                 std::vector<Violation>* out) {
  std::vector<std::string> names;
  for (const ParamSpec& spec : method->params) names.push_back(spec.name);
  for (const auto& [name, value] : step.params) {
    const ParamSpec* spec = method->Find(name);
    if (spec == nullptr) {
      out->push_back({absl::StrCat(prefix, ".", name.substr(0, 64)),
                      absl::StrCat(step.method, " has no parameter ", ShowString(name), "; ",
                                   DidYouMean(name, names))});
      continue;
    }
    if (std::string wrong = CheckValue(*spec, value); !wrong.empty()) {
      out->push_back({absl::StrCat(prefix, ".", name), absl::StrCat(name, " ", wrong)});
    }
  }
  for (const MethodSpec::Exclusive& group : method->exclusive) {
    std::vector<std::string> given;
    for (const std::string& name : group.names) {
      if (step.params.count(name) != 0) given.push_back(name);
    }
    if (given.size() > 1) {
      out->push_back(
          {absl::StrCat(prefix, ".", given[1]),
           absl::StrCat(absl::StrJoin(given, " and "), " exclude each other; give one of ",
                        absl::StrJoin(group.names, ", "))});
    } else if (given.empty() && group.required) {
      out->push_back(
          {prefix, absl::StrCat(step.method, " needs one of ", absl::StrJoin(group.names, ", "))});
    }
  }
  for (const MethodSpec::OnlyWith& rule : method->only_with) {
    if (step.params.count(rule.name) == 0) continue;
    const std::optional<ParamValue> other = Effective(step, *method, rule.other);
    const std::string* text = other ? std::get_if<std::string>(&*other) : nullptr;
    const auto* list = other ? std::get_if<std::vector<std::string>>(&*other) : nullptr;
    if (list != nullptr && list->size() == 1) text = &list->front();
    if (text == nullptr || *text != rule.value) {
      out->push_back({absl::StrCat(prefix, ".", rule.name),
                      absl::StrCat(rule.name, " needs ", rule.other, ": ", rule.value, ", but ",
                                   rule.other, " is ", other ? ShowValue(*other) : "not given")});
    }
  }
}

// Where a recipe's step stands as it was written: the path of the step, and of its parameters.
struct StepPath {
  std::string step;    // "steps[1]"
  std::string params;  // "steps[1].fp16"; "steps[1].quantize_weights.train" of one inside it
};

std::vector<StepPath> StepPaths(const Recipe& recipe) {
  std::vector<StepPath> paths;
  size_t index = 0;
  for (const Step& step : recipe.steps) {
    if (step.inside_previous && !paths.empty()) {
      const std::string inside = paths.back().params + ".train";
      paths.push_back({inside, inside});
      continue;
    }
    const std::string path = absl::StrCat("steps[", index++, "]");
    paths.push_back({path, absl::StrCat(path, ".", step.method)});
  }
  return paths;
}

void CheckStep(const Step& step, const StepPath& path, std::vector<Violation>* out) {
  const MethodSpec* method = FindMethod(step.method);
  if (method == nullptr) {
    std::vector<std::string> names;
    for (const MethodSpec& known : Catalogue()) names.push_back(known.name);
    out->push_back({path.step, absl::StrCat("no method ", ShowString(step.method), "; ",
                                            DidYouMean(step.method, names))});
    return;
  }
  CheckParams(step, method, path.params, out);
}

// Pruning while another step trains: `next` is the step behind, or nullptr.
void CheckGradual(const Step& step, const Step* next, const StepPath& path,
                  std::vector<Violation>* out) {
  const auto given = step.params.find("schedule");
  const std::string* schedule =
      given == step.params.end() ? nullptr : std::get_if<std::string>(&given->second);
  if (step.method != "prune_weights" || schedule == nullptr || *schedule != "cubic") return;
  const std::string field = path.params + ".schedule";
  if (step.params.count("sparsity") == 0 && step.params.count("threshold") != 0) {
    out->push_back({field,
                    "schedule: cubic prunes up to a sparsity, and threshold names none; "
                    "give sparsity instead"});
  }
  if (next != nullptr && TrainsOnData(*next)) return;
  out->push_back(
      {field, absl::StrCat("schedule: cubic prunes while the step right after it trains, and ",
                           next == nullptr ? "there is none"
                                           : absl::StrCat("that is ", ShowString(next->method)),
                           "; put a fine_tune or distill step there, or leave schedule out")});
}

}  // namespace

std::string NearestName(absl::string_view given, const std::vector<std::string>& names) {
  if (given.empty() || given.size() > 128) return "";
  std::string best;
  int best_distance = 0;
  for (const std::string& name : names) {
    const int distance = EditDistance(given, name);
    if (best.empty() || distance < best_distance) {
      best = name;
      best_distance = distance;
    }
  }
  const int allowed = std::max<int>(2, static_cast<int>(given.size()) / 3);
  return best_distance <= allowed ? best : "";
}

std::vector<Violation> ValidateRecipe(const Recipe& recipe, RecipeUse use) {
  std::vector<Violation> out;
  if (recipe.steps.empty() && use == RecipeUse::kCompress) {
    out.push_back(
        {"steps", "a recipe needs at least one step, such as {quantize_weights: {bits: 8}}"});
  }
  if (!recipe.steps.empty() && use == RecipeUse::kEvaluate) {
    out.push_back(
        {"steps", absl::StrCat("an evaluation runs no steps, and this recipe has ",
                               recipe.steps.size(), "; leave them out, or make it a compression")});
  }
  if (recipe.steps.size() > static_cast<size_t>(limits::kMaxSteps)) {
    out.push_back({"steps", absl::StrCat("holds ", recipe.steps.size(), " steps; at most ",
                                         limits::kMaxSteps, " are allowed")});
    return out;
  }
  const std::vector<StepPath> paths = StepPaths(recipe);
  for (size_t i = 0; i < recipe.steps.size(); ++i) {
    CheckStep(recipe.steps[i], paths[i], &out);
    CheckGradual(recipe.steps[i], i + 1 < recipe.steps.size() ? &recipe.steps[i + 1] : nullptr,
                 paths[i], &out);
  }
  for (const auto& [name, section] : recipe.sections) {
    const MethodSpec* spec = FindSection(name);
    if (spec == nullptr) {
      std::vector<std::string> names;
      for (const MethodSpec& known : Sections()) names.push_back(known.name);
      out.push_back({name.substr(0, 64),
                     absl::StrCat("no section ", ShowString(name), "; ", DidYouMean(name, names))});
      continue;
    }
    CheckParams(section, spec, name, &out);
  }
  return out;
}

std::vector<Violation> ValidateExamples(const Recipe& recipe,
                                        const std::vector<std::string>& roles) {
  std::vector<Violation> out;
  const auto served = [&roles](absl::string_view needed) {
    return std::any_of(roles.begin(), roles.end(), [needed](const std::string& role) {
      return role.empty() || role == "all" || role == needed;
    });
  };
  const bool trains = served("train");
  const bool calibrates = trains || served("calibration");
  const std::vector<StepPath> paths = StepPaths(recipe);
  for (size_t i = 0; i < recipe.steps.size(); ++i) {
    const Step& step = recipe.steps[i];
    if (TrainsOnData(step) && !trains) {
      out.push_back(
          {paths[i].params,
           absl::StrCat(step.method, " needs examples to train on, and ",
                        roles.empty() ? "no dataset is given" : "none of the datasets is for that",
                        "; add --data train=F.npz (a dataset of the job with role \"train\" or "
                        "none)")});
    }
    const std::string param = CalibratedParam(step);
    if (param.empty() || calibrates) continue;
    const MethodSpec* method = FindMethod(step.method);
    const std::optional<ParamValue> value = Effective(step, *method, param);
    out.push_back(
        {absl::StrCat(paths[i].params, ".", param),
         absl::StrCat(step.method, " needs calibration data: ", param, ": ",
                      value ? ShowValue(*value) : "", " learns from examples, and ",
                      roles.empty() ? "no dataset is given" : "the datasets given are test data",
                      "; add --data calibration=F.npz (a dataset of the job with role "
                      "\"calibration\", \"train\" or none)")});
  }
  return out;
}

absl::Status ViolationsToStatus(const std::vector<Violation>& violations) {
  if (violations.empty()) return absl::OkStatus();
  std::vector<std::string> lines;
  for (const Violation& v : violations) {
    lines.push_back(v.field.empty() ? v.description : absl::StrCat(v.field, ": ", v.description));
  }
  return absl::InvalidArgumentError(absl::StrJoin(lines, "\n"));
}

}  // namespace lathe
