#include "proto/recipe_codec.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <limits>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace lathe {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

absl::Status SetField(const ParamValue& value, const FieldDescriptor* field, Message* message) {
  const Reflection* reflection = message->GetReflection();
  const auto mismatch = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat("parameter ", field->name(), " has the wrong type"));
  };
  if (field->is_repeated()) {
    const auto* list = std::get_if<std::vector<std::string>>(&value);
    if (list == nullptr) return mismatch();
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
    std::vector<std::string> list;
    for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
      list.push_back(reflection->GetRepeatedString(message, field, i));
    }
    if (list.empty()) return std::nullopt;
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

}  // namespace

Recipe RecipeFromProto(const v1::Recipe& proto) {
  Recipe recipe;
  recipe.seed = proto.seed();
  for (const v1::Step& step : proto.steps()) {
    Step& out = recipe.steps.emplace_back();
    const auto* oneof = v1::Step::descriptor()->FindOneofByName("method");
    const FieldDescriptor* method = step.GetReflection()->GetOneofFieldDescriptor(step, oneof);
    if (method == nullptr) continue;
    out.method = method->name();
    const Message& params = step.GetReflection()->GetMessage(step, method);
    for (int i = 0; i < params.GetDescriptor()->field_count(); ++i) {
      const FieldDescriptor* field = params.GetDescriptor()->field(i);
      if (auto value = GetField(params, field))
        out.params.emplace(field->name(), *std::move(value));
    }
  }
  return recipe;
}

absl::StatusOr<v1::Recipe> RecipeToProto(const Recipe& recipe) {
  v1::Recipe proto;
  if (recipe.seed != 0) proto.set_seed(recipe.seed);
  for (const Step& step : recipe.steps) {
    v1::Step* out = proto.add_steps();
    const FieldDescriptor* method = v1::Step::descriptor()->FindFieldByName(step.method);
    if (method == nullptr)
      return absl::InvalidArgumentError(absl::StrCat("no method \"", step.method, "\""));
    Message* params = out->GetReflection()->MutableMessage(out, method);
    for (const auto& [name, value] : step.params) {
      const FieldDescriptor* field = params->GetDescriptor()->FindFieldByName(name);
      if (field == nullptr) {
        return absl::InvalidArgumentError(
            absl::StrCat(step.method, " has no parameter \"", name, "\""));
      }
      RETURN_IF_ERROR(SetField(value, field, params));
    }
  }
  return proto;
}

}  // namespace lathe
