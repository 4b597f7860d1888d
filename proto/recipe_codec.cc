#include "proto/recipe_codec.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/recipe/catalogue.h"
#include "common/status_macros.h"

namespace lathe {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

absl::Status AddNumbers(const std::vector<double>& numbers, const FieldDescriptor* field,
                        Message* message) {
  const Reflection* reflection = message->GetReflection();
  for (const double number : numbers) {
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
      reflection->AddDouble(message, field, number);
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT32 &&
               number >= std::numeric_limits<int32_t>::min() &&
               number <= std::numeric_limits<int32_t>::max() && std::floor(number) == number) {
      reflection->AddInt32(message, field, static_cast<int32_t>(number));
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("parameter ", field->name(), " has the wrong type"));
    }
  }
  return absl::OkStatus();
}

absl::Status SetField(const ParamValue& value, const FieldDescriptor* field, Message* message) {
  const Reflection* reflection = message->GetReflection();
  const auto mismatch = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat("parameter ", field->name(), " has the wrong type"));
  };
  if (field->is_repeated()) {
    if (const auto* numbers = std::get_if<std::vector<double>>(&value)) {
      return AddNumbers(*numbers, field, message);
    }
    const auto* list = std::get_if<std::vector<std::string>>(&value);
    if (list == nullptr || field->cpp_type() != FieldDescriptor::CPPTYPE_STRING) return mismatch();
    for (const std::string& item : *list) reflection->AddString(message, field, item);
    return absl::OkStatus();
  }
  const int64_t* whole = std::get_if<int64_t>(&value);
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      if (const bool* b = std::get_if<bool>(&value)) {
        reflection->SetBool(message, field, *b);
        return absl::OkStatus();
      }
      return mismatch();
    case FieldDescriptor::CPPTYPE_INT32:
      if (whole == nullptr || *whole < std::numeric_limits<int32_t>::min() ||
          *whole > std::numeric_limits<int32_t>::max()) {
        return mismatch();
      }
      reflection->SetInt32(message, field, static_cast<int32_t>(*whole));
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_INT64:
      if (whole == nullptr) return mismatch();
      reflection->SetInt64(message, field, *whole);
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_DOUBLE:
      if (const double* d = std::get_if<double>(&value)) {
        reflection->SetDouble(message, field, *d);
      } else if (whole != nullptr) {
        reflection->SetDouble(message, field, static_cast<double>(*whole));
      } else {
        return mismatch();
      }
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_STRING:
      if (const std::string* s = std::get_if<std::string>(&value)) {
        reflection->SetString(message, field, *s);
        return absl::OkStatus();
      }
      return mismatch();
    default:
      return mismatch();
  }
}

// nullopt when the field is not given.
std::optional<ParamValue> GetField(const Message& message, const FieldDescriptor* field) {
  const Reflection* reflection = message.GetReflection();
  if (field->is_repeated()) {
    const int size = reflection->FieldSize(message, field);
    if (size == 0) return std::nullopt;
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_STRING) {
      std::vector<double> numbers;
      for (int i = 0; i < size; ++i) {
        numbers.push_back(field->cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE
                              ? reflection->GetRepeatedDouble(message, field, i)
                              : reflection->GetRepeatedInt32(message, field, i));
      }
      return numbers;
    }
    std::vector<std::string> list;
    for (int i = 0; i < size; ++i) {
      list.push_back(reflection->GetRepeatedString(message, field, i));
    }
    return list;
  }
  if (!reflection->HasField(message, field)) return std::nullopt;
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->GetBool(message, field);
    case FieldDescriptor::CPPTYPE_INT32:
      return int64_t{reflection->GetInt32(message, field)};
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection->GetInt64(message, field);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection->GetDouble(message, field);
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection->GetString(message, field);
    default:
      return std::nullopt;
  }
}

std::map<std::string, ParamValue> GetParams(const Message& message) {
  std::map<std::string, ParamValue> params;
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message.GetDescriptor()->field(i);
    if (auto value = GetField(message, field)) params.emplace(field->name(), *std::move(value));
  }
  return params;
}

absl::Status SetParams(const Step& step, Message* params) {
  for (const auto& [name, value] : step.params) {
    const FieldDescriptor* field = params->GetDescriptor()->FindFieldByName(name);
    if (field == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(step.method, " has no parameter \"", name, "\""));
    }
    RETURN_IF_ERROR(SetField(value, field, params));
  }
  return absl::OkStatus();
}

// `train` of a step's parameters; nullptr: they have none.
const FieldDescriptor* TrainField(const Message& params) {
  const FieldDescriptor* field = params.GetDescriptor()->FindFieldByName("train");
  return field != nullptr && field->message_type() != nullptr ? field : nullptr;
}

}  // namespace

Recipe RecipeFromProto(const v1::Recipe& proto) {
  Recipe recipe;
  recipe.seed = proto.seed();
  for (const v1::Step& step : proto.steps()) {
    Step& out = recipe.steps.emplace_back();
    const auto* oneof = v1::Step::descriptor()->FindOneofByName("method");
    const FieldDescriptor* method = step.GetReflection()->GetOneofFieldDescriptor(step, oneof);
    if (method == nullptr) continue;
    const Message& params = step.GetReflection()->GetMessage(step, method);
    out.method = method->name();
    out.params = GetParams(params);
    const FieldDescriptor* train = TrainField(params);
    if (train == nullptr || !params.GetReflection()->HasField(params, train)) continue;
    recipe.steps.push_back({.method = "fine_tune",
                            .params = GetParams(params.GetReflection()->GetMessage(params, train)),
                            .inside_previous = true});
  }
  for (const MethodSpec& section : Sections()) {
    const FieldDescriptor* field = v1::Recipe::descriptor()->FindFieldByName(section.name);
    if (field == nullptr || !proto.GetReflection()->HasField(proto, field)) continue;
    recipe.sections.emplace(
        section.name,
        Step{section.name, GetParams(proto.GetReflection()->GetMessage(proto, field))});
  }
  return recipe;
}

absl::StatusOr<v1::Recipe> RecipeToProto(const Recipe& recipe) {
  v1::Recipe proto;
  if (recipe.seed != 0) proto.set_seed(recipe.seed);
  Message* previous = nullptr;  // the parameters of the step before
  for (const Step& step : recipe.steps) {
    const FieldDescriptor* train = previous == nullptr ? nullptr : TrainField(*previous);
    if (step.inside_previous && train != nullptr) {
      RETURN_IF_ERROR(SetParams(step, previous->GetReflection()->MutableMessage(previous, train)));
      previous = nullptr;
      continue;
    }
    v1::Step* out = proto.add_steps();
    const FieldDescriptor* method = v1::Step::descriptor()->FindFieldByName(step.method);
    if (method == nullptr)
      return absl::InvalidArgumentError(absl::StrCat("no method \"", step.method, "\""));
    previous = out->GetReflection()->MutableMessage(out, method);
    RETURN_IF_ERROR(SetParams(step, previous));
  }
  for (const auto& [name, section] : recipe.sections) {
    const FieldDescriptor* field =
        FindSection(name) == nullptr ? nullptr : v1::Recipe::descriptor()->FindFieldByName(name);
    if (field == nullptr) return absl::InvalidArgumentError(absl::StrCat("no section ", name));
    RETURN_IF_ERROR(SetParams(section, proto.GetReflection()->MutableMessage(&proto, field)));
  }
  return proto;
}

}  // namespace lathe
