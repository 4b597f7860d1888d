#include "common/recipe/text.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/limits.h"
#include "common/recipe/catalogue.h"
#include "common/recipe/validate.h"
#include "common/status_macros.h"

namespace lathe {
namespace {

std::string At(const YAML::Mark& mark) {
  if (mark.is_null()) return "";
  return absl::StrCat("line ", mark.line + 1, ", column ", mark.column + 1, ": ");
}

absl::Status Wrong(const YAML::Node& node, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(At(node.Mark()), what));
}

// Depth and aliases are checked on the event stream, before a tree is built: the builder recurses.
class GuardHandler : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw YAML::ParserException(mark, "aliases (*name) are not allowed in a recipe");
  }
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    Enter(mark);
  }
  void OnSequenceEnd() override { --depth_; }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    Enter(mark);
  }
  void OnMapEnd() override { --depth_; }

 private:
  void Enter(const YAML::Mark& mark) {
    if (++depth_ > limits::kMaxYamlDepth) {
      throw YAML::ParserException(mark, absl::StrCat("nested deeper than ", limits::kMaxYamlDepth));
    }
  }
  int depth_ = 0;
};

// The parser itself recurses on flow brackets before it hands out events, so their depth is bounded
// on the text. Brackets in strings count too; no honest recipe has that many.
bool TooManyOpenBrackets(absl::string_view text) {
  int depth = 0;
  for (const char c : text) {
    if (c == '[' || c == '{') {
      if (++depth > limits::kMaxYamlDepth * 16) return true;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return false;
}

bool ParseInt(const std::string& text, int64_t* out) {
  const char* first = text.data();
  if (!text.empty() && text[0] == '+') ++first;
  const auto result = std::from_chars(first, text.data() + text.size(), *out);
  return result.ec == std::errc() && result.ptr == text.data() + text.size() && !text.empty();
}

bool ParseNumber(const std::string& text, double* out) {
  return !text.empty() && absl::SimpleAtod(text, out);
}

std::optional<std::vector<double>> ParseNumbers(const std::vector<std::string>& texts) {
  std::vector<double> numbers;
  for (const std::string& text : texts) {
    if (!ParseNumber(text, &numbers.emplace_back())) return std::nullopt;
  }
  return numbers;
}

// A scalar as the type its text suggests, or the type the catalogue names where the text fits it.
ParamValue ScalarValue(const std::string& text, bool quoted, const ParamSpec* spec) {
  if (spec != nullptr && spec->type == ParamType::kString) return text;
  if (spec != nullptr && spec->type == ParamType::kStringList)
    return std::vector<std::string>{text};
  if (spec != nullptr && spec->type == ParamType::kNumberList && !quoted) {
    if (auto numbers = ParseNumbers({text})) return *std::move(numbers);
  }
  if (quoted) return text;
  if (text == "true" || text == "True") return true;
  if (text == "false" || text == "False") return false;
  int64_t i = 0;
  if (ParseInt(text, &i)) {
    if (spec != nullptr && spec->type == ParamType::kDouble) return static_cast<double>(i);
    return i;
  }
  double d = 0;
  if (ParseNumber(text, &d)) {
    const bool whole = std::floor(d) == d && std::abs(d) < 9e15;
    if (spec != nullptr && spec->type == ParamType::kInt && whole) return static_cast<int64_t>(d);
    return d;
  }
  return text;
}

absl::StatusOr<ParamValue> NodeValue(const YAML::Node& node, const std::string& name,
                                     const ParamSpec* spec) {
  if (node.IsScalar()) return ScalarValue(node.Scalar(), node.Tag() == "!", spec);
  if (node.IsSequence()) {
    std::vector<std::string> list;
    for (const YAML::Node& item : node) {
      if (!item.IsScalar()) {
        return Wrong(item, absl::StrCat("the list of ", name, " must hold plain strings"));
      }
      list.push_back(item.Scalar());
    }
    if (spec != nullptr && spec->type == ParamType::kNumberList) {
      if (auto numbers = ParseNumbers(list)) return ParamValue(*std::move(numbers));
    }
    return ParamValue(list);
  }
  if (node.IsNull()) {
    return Wrong(node, absl::StrCat(name, " has no value; give one or leave the key out"));
  }
  return Wrong(node, absl::StrCat(name,
                                  " must be a number, a string, true, false or a list of strings "
                                  "or numbers"));
}

// Reads a map of parameters at the path `where`. `train`, when given, gets what stands under that
// name.
absl::Status ReadParams(const YAML::Node& params, const std::string& where,
                        const MethodSpec* method, Step* step,
                        std::optional<YAML::Node>* train = nullptr) {
  if (params.IsNull()) return absl::OkStatus();
  if (!params.IsMap()) return Wrong(params, where + " must be a map of parameters");
  for (const auto& param : params) {
    if (!param.first.IsScalar())
      return Wrong(params, absl::StrCat(where, ": a parameter's name must be a string"));
    const std::string name = param.first.Scalar();
    const bool inner = train != nullptr && name == "train";
    if (step->params.count(name) != 0 || (inner && train->has_value())) {
      return Wrong(param.first, absl::StrCat(where, ".", name, " is given twice"));
    }
    if (inner) {
      train->emplace(param.second);
      continue;
    }
    ASSIGN_OR_RETURN(ParamValue value, NodeValue(param.second, name,
                                                 method == nullptr ? nullptr : method->Find(name)));
    step->params.emplace(name, std::move(value));
  }
  return absl::OkStatus();
}

// `train` of the step at the path `where`, as the step of its own that it is.
absl::StatusOr<Step> TrainFromNode(const YAML::Node& node, const std::string& where,
                                   absl::string_view method) {
  if (!TakesTrain(method)) {
    return Wrong(node, absl::StrCat(where, ": ", method,
                                    " takes no `train`; write a step fine_tune after it"));
  }
  Step step{.method = "fine_tune", .params = {}, .inside_previous = true};
  RETURN_IF_ERROR(ReadParams(node, where, FindMethod(step.method), &step));
  // What a reader of papers calls it here, where it is clear what the method is of.
  if (auto named = step.params.extract("method"); !named.empty()) {
    named.key() = "quantized";
    if (!step.params.insert(std::move(named)).inserted) {
      return Wrong(node, absl::StrCat(where, ": method and quantized are one; give one of them"));
    }
  }
  return step;
}

absl::Status AddStep(const YAML::Node& node, size_t index, std::vector<Step>* steps) {
  Step step;
  const std::string where = absl::StrCat("steps[", index, "]");
  if (node.IsScalar()) {
    step.method = node.Scalar();
    steps->push_back(std::move(step));
    return absl::OkStatus();
  }
  if (!node.IsMap() || node.size() != 1) {
    return Wrong(node, absl::StrCat(where,
                                    " must be one method with its parameters, such as "
                                    "{quantize_weights: {bits: 8}}"));
  }
  const auto entry = *node.begin();
  if (!entry.first.IsScalar())
    return Wrong(node, absl::StrCat(where, ": the method's name must be a string"));
  step.method = entry.first.Scalar();
  const std::string path = absl::StrCat(where, ".", step.method);
  std::optional<YAML::Node> train;
  RETURN_IF_ERROR(ReadParams(entry.second, path, FindMethod(step.method), &step, &train));
  steps->push_back(std::move(step));
  if (!train) return absl::OkStatus();
  ASSIGN_OR_RETURN(Step inner, TrainFromNode(*train, path + ".train", steps->back().method));
  steps->push_back(std::move(inner));
  return absl::OkStatus();
}

absl::StatusOr<Recipe> RecipeFromNode(const YAML::Node& root) {
  if (!root.IsMap()) {
    return absl::InvalidArgumentError(
        "a recipe is a map with the key `steps` (and perhaps `seed`), such as\n"
        "steps:\n  - quantize_weights: {bits: 8}");
  }
  Recipe recipe;
  std::set<std::string> seen;
  for (const auto& entry : root) {
    if (!entry.first.IsScalar()) return Wrong(root, "keys of a recipe must be strings");
    const std::string key = entry.first.Scalar();
    if (!seen.insert(key).second)
      return Wrong(entry.first, absl::StrCat("key ", key, " is given twice"));
    if (key == "seed") {
      const std::string text = entry.second.IsScalar() ? entry.second.Scalar() : "";
      if (!absl::SimpleAtoi(text, &recipe.seed)) {
        return Wrong(entry.second, "seed must be a whole number in [0, 2^64)");
      }
    } else if (key == "steps") {
      if (!entry.second.IsSequence()) return Wrong(entry.second, "steps must be a list");
      if (entry.second.size() > static_cast<size_t>(limits::kMaxSteps)) {
        return Wrong(entry.second,
                     absl::StrCat("steps: holds ", entry.second.size(), " steps; at most ",
                                  limits::kMaxSteps, " are allowed"));
      }
      for (size_t i = 0; i < entry.second.size(); ++i) {
        RETURN_IF_ERROR(AddStep(entry.second[i], i, &recipe.steps));
      }
    } else if (const MethodSpec* section = FindSection(key)) {
      Step step{.method = key, .params = {}};
      RETURN_IF_ERROR(ReadParams(entry.second, key, section, &step));
      recipe.sections.emplace(key, std::move(step));
    } else {
      std::vector<std::string> keys = {"steps", "seed"};
      for (const MethodSpec& known : Sections()) keys.push_back(known.name);
      const std::string nearest = NearestName(key, keys);
      return Wrong(
          entry.first,
          absl::StrCat("unknown key \"", key.substr(0, 64), "\"; ",
                       nearest.empty() ? absl::StrCat("valid are: ", absl::StrJoin(keys, ", "))
                                       : absl::StrCat("did you mean \"", nearest, "\"?")));
    }
  }
  return recipe;
}

nlohmann::json ToJsonValue(const ParamValue& value) {
  return std::visit([](const auto& v) { return nlohmann::json(v); }, value);
}

// The value in the one form its parameter's type has: a double given as 1 and one given as 1.0 are
// the same.
nlohmann::json CanonicalValue(const ParamValue& value, const ParamSpec* spec) {
  if (spec != nullptr && spec->type == ParamType::kDouble) {
    if (const int64_t* i = std::get_if<int64_t>(&value)) return static_cast<double>(*i);
  }
  if (spec != nullptr && spec->or_number) {
    const std::string* text = std::get_if<std::string>(&value);
    double number = 0;
    if (text != nullptr && ParseNumber(*text, &number)) return nlohmann::json(number).dump();
  }
  return ToJsonValue(value);
}

// Reads "key=value,..." of the flag `where` into `step`. Lists are separated by '|'.
absl::Status ReadFlag(const std::string& where, absl::string_view text, const MethodSpec* method,
                      Step* step) {
  for (const absl::string_view item : absl::StrSplit(text, ',')) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(item, absl::MaxSplits('=', 1));
    const std::string name(pair.first);
    if (name.empty() || item.find('=') == absl::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": \"", item, "\" is not key=value"));
    }
    if (step->params.count(name) != 0) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": ", name, " is given twice"));
    }
    const ParamSpec* spec = method == nullptr ? nullptr : method->Find(name);
    const std::vector<std::string> list = absl::StrSplit(pair.second, '|');
    if (spec != nullptr && spec->type == ParamType::kStringList) {
      step->params.emplace(name, list);
    } else if (auto numbers = ParseNumbers(list);
               spec != nullptr && spec->type == ParamType::kNumberList && numbers) {
      step->params.emplace(name, *std::move(numbers));
    } else {
      step->params.emplace(name, ScalarValue(std::string(pair.second), false, spec));
    }
  }
  return absl::OkStatus();
}

void EmitParams(const Step& step, YAML::Emitter* emitter) {
  YAML::Emitter& out = *emitter;
  out << YAML::Flow << YAML::BeginMap;
  for (const auto& [name, value] : step.params) {
    out << YAML::Key << name << YAML::Value;
    if (const bool* b = std::get_if<bool>(&value)) {
      out << *b;
    } else if (const int64_t* i = std::get_if<int64_t>(&value)) {
      out << *i;
    } else if (const double* d = std::get_if<double>(&value)) {
      out << nlohmann::json(*d).dump();
    } else if (const std::string* s = std::get_if<std::string>(&value)) {
      out << *s;
    } else if (const auto* numbers = std::get_if<std::vector<double>>(&value)) {
      out << YAML::Flow << YAML::BeginSeq;
      for (const double number : *numbers) out << nlohmann::json(number).dump();
      out << YAML::EndSeq;
    } else {
      out << YAML::Flow << std::get<std::vector<std::string>>(value);
    }
  }
  out << YAML::EndMap;
}

}  // namespace

absl::StatusOr<Recipe> ParseRecipe(absl::string_view text) {
  if (text.size() > static_cast<size_t>(limits::kMaxRecipeBytes)) {
    return absl::InvalidArgumentError(absl::StrCat("the recipe has ", text.size(),
                                                   " bytes; at most ", limits::kMaxRecipeBytes,
                                                   " are allowed"));
  }
  if (TooManyOpenBrackets(text)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the recipe is nested deeper than ", limits::kMaxYamlDepth));
  }
  try {
    const std::string copy(text);
    nlohmann::json(copy).dump();  // throws on what is not UTF-8, which has no canonical form
    std::istringstream in(copy);
    YAML::Parser parser(in);
    GuardHandler guard;
    if (!parser.HandleNextDocument(guard)) {
      return absl::InvalidArgumentError("the recipe is empty; it needs the key `steps`");
    }
    // Never ask for a third: on some broken texts the parser finds documents without end.
    if (parser.HandleNextDocument(guard)) {
      return absl::InvalidArgumentError("the recipe holds more than one YAML document; give one");
    }
    const YAML::Node document = YAML::Load(copy);
    if (document.IsNull()) {
      return absl::InvalidArgumentError("the recipe is empty; it needs the key `steps`");
    }
    return RecipeFromNode(document);
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(At(e.mark), "not valid YAML or JSON: ", e.msg));
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat("not valid YAML or JSON: ", e.what()));
  }
}

absl::StatusOr<Step> ParseStepFlag(absl::string_view text) {
  Step step;
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  step.method = std::string(parts.first);
  if (step.method.empty()) {
    return absl::InvalidArgumentError(
        "--step needs NAME or NAME:key=value,..., such as "
        "quantize_weights:bits=4,granularity=group");
  }
  if (parts.second.empty()) return step;
  RETURN_IF_ERROR(
      ReadFlag(absl::StrCat("--step ", step.method), parts.second, FindMethod(step.method), &step));
  return step;
}

absl::Status AddSectionFlag(absl::string_view name, absl::string_view flag, absl::string_view text,
                            Recipe* recipe) {
  Step& section = recipe->sections[std::string(name)];
  section.method = std::string(name);
  return ReadFlag(std::string(flag), text, FindSection(name), &section);
}

std::string CanonicalJson(const Recipe& recipe) {
  nlohmann::json steps = nlohmann::json::array();  // nlohmann::json objects are sorted by key
  for (const Step& step : recipe.steps) {
    const MethodSpec* method = FindMethod(step.method);
    nlohmann::json params = nlohmann::json::object();
    if (method != nullptr) {
      for (const ParamSpec& spec : method->params) {
        // A default that only applies with another parameter (group_size) is left out where it has
        // no meaning.
        bool applies = true;
        for (const MethodSpec::OnlyWith& rule : method->only_with) {
          if (rule.name != spec.name) continue;
          const auto it = step.params.find(rule.other);
          const ParamSpec* other = method->Find(rule.other);
          const ParamValue* value = it != step.params.end() ? &it->second
                                    : other != nullptr && other->default_value
                                        ? &*other->default_value
                                        : nullptr;
          const std::string* text = value == nullptr ? nullptr : std::get_if<std::string>(value);
          applies = text != nullptr && *text == rule.value;
        }
        // Nor where what it excludes was given.
        for (const MethodSpec::Exclusive& group : method->exclusive) {
          if (std::count(group.names.begin(), group.names.end(), spec.name) == 0) continue;
          applies = applies && std::none_of(group.names.begin(), group.names.end(),
                                            [&step](const std::string& name) {
                                              return step.params.count(name) != 0;
                                            });
        }
        if (spec.default_value && applies)
          params[spec.name] = CanonicalValue(*spec.default_value, &spec);
      }
    }
    for (const auto& [name, value] : step.params) {
      params[name] = CanonicalValue(value, method == nullptr ? nullptr : method->Find(name));
    }
    steps.push_back(nlohmann::json{{step.method, params}});
  }
  nlohmann::json root = {{"seed", recipe.seed}, {"steps", steps}};
  // Of sections only what differs from the defaults: a recipe without them keeps the form (and the
  // results kept under it) that it had before there were any.
  for (const auto& [name, section] : recipe.sections) {
    const MethodSpec* known = FindSection(name);
    nlohmann::json params = nlohmann::json::object();
    for (const auto& [param, value] : section.params) {
      const ParamSpec* spec = known == nullptr ? nullptr : known->Find(param);
      const nlohmann::json canonical = CanonicalValue(value, spec);
      if (spec != nullptr && spec->default_value &&
          canonical == CanonicalValue(*spec->default_value, spec)) {
        continue;
      }
      params[param] = canonical;
    }
    if (!params.empty()) root[name] = params;
  }
  return root.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string ToYaml(const Recipe& recipe) {
  YAML::Emitter out;
  out << YAML::BeginMap << YAML::Key << "steps" << YAML::Value << YAML::BeginSeq;
  for (const Step& step : recipe.steps) {
    out << YAML::BeginMap << YAML::Key << step.method << YAML::Value;
    EmitParams(step, &out);
    out << YAML::EndMap;
  }
  out << YAML::EndSeq;
  if (recipe.seed != 0) out << YAML::Key << "seed" << YAML::Value << recipe.seed;
  for (const auto& [name, section] : recipe.sections) {
    if (section.params.empty()) continue;
    out << YAML::Key << name << YAML::Value;
    EmitParams(section, &out);
  }
  out << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace lathe
