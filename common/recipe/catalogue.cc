#include "common/recipe/catalogue.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/recipe/method_specs.h"

namespace lathe {
namespace {

MethodSpec PruneWeights() {
  return {
      .name = "prune_weights",
      .description = "Sets small weights to zero.",
      .params =
          {{.name = "sparsity",
            .type = ParamType::kDouble,
            .description = "Fraction of the weights to set to zero, smallest magnitude first.",
            .minimum = 0,
            .maximum = 1,
            .maximum_open = true},
           {.name = "threshold",
            .type = ParamType::kDouble,
            .description = "Weights smaller in magnitude become zero.",
            .minimum = 0},
           {.name = "scope",
            .type = ParamType::kString,
            .description =
                "What sparsity counts over: each layer, or all targeted layers together.",
            .choices = {"layer", "global"},
            .default_value = std::string("layer")},
           {.name = "storage",
            .type = ParamType::kString,
            .description =
                "How the result is stored: dense, or as ONNX sparse initializers where smaller.",
            .choices = {"dense", "sparse"},
            .default_value = std::string("dense")},
           {.name = "schedule",
            .type = ParamType::kString,
            .description = "once: now; cubic: little by little while the fine_tune or distill that "
                           "follows trains.",
            .choices = {"once", "cubic"},
            .default_value = std::string("once")},
           Targets(),
           Skip()},
      .exclusive = {{.names = {"sparsity", "threshold"}, .required = true}},
      .only_with = {}};
}

MethodSpec LowRank() {
  return {.name = "low_rank",
          .description = "Replaces a weight matrix by two thin factors where they cost less.",
          .params =
              {{.name = "rank",
                .type = ParamType::kInt,
                .description = "Rank of the factors.",
                .minimum = 1,
                .maximum = 1'000'000},
               {.name = "energy",
                .type = ParamType::kDouble,
                .description =
                    "Least fraction of the squared singular values to keep; 0.99 when neither rank "
                    "nor parameter_ratio is given.",
                .minimum = 0,
                .maximum = 1,
                .minimum_open = true},
               {.name = "parameter_ratio",
                .type = ParamType::kDouble,
                .description = "Parameters of the two factors as a fraction of the layer's.",
                .minimum = 0,
                .maximum = 1,
                .minimum_open = true,
                .maximum_open = true},
               {.name = "algorithm",
                .type = ParamType::kString,
                .description = "How the singular vectors are found.",
                .choices = {"auto", "exact", "randomized"},
                .default_value = std::string("auto")},
               Targets(),
               Skip()},
          .exclusive = {{.names = {"rank", "energy", "parameter_ratio"}, .required = false}},
          .only_with = {}};
}

MethodSpec Fp16() {
  return {.name = "fp16",
          .description =
              "Stores weights as float16; the model's interface and arithmetic stay float32.",
          .params = {Targets(), Skip()},
          .exclusive = {},
          .only_with = {}};
}

[[noreturn]] void Die(const Step& step, absl::string_view param, const char* what) {
  std::fprintf(stderr, "recipe step %s: parameter %s: %s\n", step.method.c_str(),
               std::string(param).c_str(), what);
  std::abort();
}

const ParamValue& Get(const Step& step, absl::string_view param) {
  if (auto it = step.params.find(std::string(param)); it != step.params.end()) return it->second;
  const MethodSpec* method = FindMethod(step.method);
  if (method == nullptr) method = FindSection(step.method);
  const ParamSpec* spec = method == nullptr ? nullptr : method->Find(param);
  if (spec == nullptr) Die(step, param, "not in the catalogue");
  if (!spec->default_value) Die(step, param, "has no default and was not given; ask IsGiven first");
  return *spec->default_value;
}

template <typename T>
const T& GetAs(const Step& step, absl::string_view param) {
  const T* value = std::get_if<T>(&Get(step, param));
  if (value == nullptr) Die(step, param, "has another type; validate the recipe first");
  return *value;
}

}  // namespace

absl::string_view ParamTypeName(ParamType type) {
  switch (type) {
    case ParamType::kBool:
      return "bool";
    case ParamType::kInt:
      return "int";
    case ParamType::kDouble:
      return "double";
    case ParamType::kString:
      return "string";
    case ParamType::kStringList:
      return "string_list";
    case ParamType::kNumberList:
      return "number_list";
  }
  return "";
}

std::string ParamSpec::RangeText() const {
  if (!choices.empty()) {
    return absl::StrCat(absl::StrJoin(choices, " | "),
                        or_number ? absl::StrCat(" | [", minimum, ", ", maximum, "]") : "");
  }
  if (!int_choices.empty()) return absl::StrJoin(int_choices, " | ");
  if (type == ParamType::kBool) return "true | false";
  if (std::isinf(minimum) && std::isinf(maximum)) return "any";
  return absl::StrCat(minimum_open || std::isinf(minimum) ? "(" : "[", minimum, ", ", maximum,
                      maximum_open || std::isinf(maximum) ? ")" : "]");
}

const ParamSpec* MethodSpec::Find(absl::string_view param) const {
  for (const ParamSpec& spec : params) {
    if (spec.name == param) return &spec;
  }
  return nullptr;
}

std::span<const MethodSpec> Catalogue() {
  static const std::vector<MethodSpec>* methods = new std::vector<MethodSpec>{
      PruneWeights(), LowRank(),  QuantizeWeights(), QuantizeActivations(),
      Fp16(),         FineTune(), Distill()};
  return *methods;
}

const MethodSpec* FindMethod(absl::string_view name) {
  for (const MethodSpec& method : Catalogue()) {
    if (method.name == name) return &method;
  }
  return nullptr;
}

bool GetBool(const Step& step, absl::string_view param) { return GetAs<bool>(step, param); }
int64_t GetInt(const Step& step, absl::string_view param) { return GetAs<int64_t>(step, param); }
std::string GetString(const Step& step, absl::string_view param) {
  return GetAs<std::string>(step, param);
}
std::vector<std::string> GetStrings(const Step& step, absl::string_view param) {
  return GetAs<std::vector<std::string>>(step, param);
}
std::vector<double> GetNumbers(const Step& step, absl::string_view param) {
  return GetAs<std::vector<double>>(step, param);
}
double GetDouble(const Step& step, absl::string_view param) {
  const ParamValue& value = Get(step, param);
  if (const int64_t* i = std::get_if<int64_t>(&value)) return static_cast<double>(*i);
  return GetAs<double>(step, param);
}
bool IsGiven(const Step& step, absl::string_view param) {
  return step.params.count(std::string(param)) != 0;
}

}  // namespace lathe
