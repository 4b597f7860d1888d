// Keeps recipe.proto and the catalogue in step, and the codec lossless.
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <set>

#include "common/recipe/catalogue.h"
#include "common/recipe/text.h"
#include "common/recipe/validate.h"
#include "proto/recipe_codec.h"

namespace lathe {
namespace {

using google::protobuf::FieldDescriptor;

ParamType TypeOf(const FieldDescriptor* field) {
  if (field->is_repeated()) {
    return field->cpp_type() == FieldDescriptor::CPPTYPE_STRING ? ParamType::kStringList
                                                                : ParamType::kNumberList;
  }
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return ParamType::kBool;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return ParamType::kDouble;
    case FieldDescriptor::CPPTYPE_STRING:
      return ParamType::kString;
    default:
      return ParamType::kInt;
  }
}

void ExpectSameParameters(const google::protobuf::Descriptor* message, const MethodSpec& method) {
  const FieldDescriptor* train = message->FindFieldByName("train");
  EXPECT_EQ(train != nullptr, TakesTrain(method.name)) << method.name;
  if (train != nullptr) {
    EXPECT_EQ(train->message_type(), v1::FineTune::descriptor());
  }
  const size_t others = train == nullptr ? 0 : 1;
  ASSERT_EQ(static_cast<size_t>(message->field_count()), method.params.size() + others)
      << method.name;
  for (int j = 0; j < message->field_count(); ++j) {
    const FieldDescriptor* field = message->field(j);
    if (field == train) continue;
    const ParamSpec* spec = method.Find(field->name());
    ASSERT_NE(spec, nullptr) << method.name << "." << field->name();
    EXPECT_EQ(spec->type, TypeOf(field)) << method.name << "." << field->name();
    // Without presence a default could not be told from a given zero.
    EXPECT_TRUE(field->is_repeated() || field->has_presence())
        << method.name << "." << field->name();
  }
}

TEST(RecipeCodec, SectionsAndProtoAgree) {
  int sections = 0;
  const auto* recipe = v1::Recipe::descriptor();
  for (int i = 0; i < recipe->field_count(); ++i) {
    const FieldDescriptor* field = recipe->field(i);
    if (field->is_repeated() || field->message_type() == nullptr) continue;
    ++sections;
    const MethodSpec* section = FindSection(field->name());
    ASSERT_NE(section, nullptr) << field->name();
    ExpectSameParameters(field->message_type(), *section);
  }
  EXPECT_EQ(static_cast<size_t>(sections), Sections().size());
}

TEST(RecipeCodec, SectionsKeepWhatWasGiven) {
  const Recipe recipe = *ParseRecipe(
      "steps: [fp16]\n"
      "preprocess: {scale: 0.5, mean: [0.1, 2], std: 3, layout: NHWC, resize: [32, 48]}\n"
      "evaluate: {task: none, top_k: 3, latency: false}\n"
      "constraints: {max_file_bytes: 9000000000, min_sqnr_db: -3}\n");
  ASSERT_TRUE(ValidateRecipe(recipe).empty());
  const absl::StatusOr<v1::Recipe> proto = RecipeToProto(recipe);
  ASSERT_TRUE(proto.ok()) << proto.status();
  EXPECT_EQ(proto->preprocess().resize(1), 48);
  EXPECT_EQ(proto->constraints().max_file_bytes(), 9000000000);
  EXPECT_FALSE(proto->has_split());
  EXPECT_EQ(CanonicalJson(RecipeFromProto(*proto)), CanonicalJson(recipe));
}

TEST(RecipeCodec, CatalogueAndProtoAgree) {
  const auto* oneof = v1::Step::descriptor()->FindOneofByName("method");
  ASSERT_EQ(static_cast<size_t>(oneof->field_count()), Catalogue().size());
  for (int i = 0; i < oneof->field_count(); ++i) {
    const MethodSpec* method = FindMethod(oneof->field(i)->name());
    ASSERT_NE(method, nullptr) << oneof->field(i)->name();
    ExpectSameParameters(oneof->field(i)->message_type(), *method);
  }
}

TEST(RecipeCodec, RoundTripKeepsWhatWasGiven) {
  const Recipe recipe = *ParseRecipe(
      "steps:\n"
      "  - prune_weights: {sparsity: 0, scope: global, targets: [a, 'b*']}\n"
      "  - low_rank: {rank: 7}\n"
      "  - quantize_weights: {bits: 4, symmetric: false}\n"
      "  - fp16\n"
      "seed: 18446744073709551615\n");
  const absl::StatusOr<v1::Recipe> proto = RecipeToProto(recipe);
  ASSERT_TRUE(proto.ok()) << proto.status();
  const Recipe back = RecipeFromProto(*proto);
  EXPECT_EQ(CanonicalJson(back), CanonicalJson(recipe));
  EXPECT_TRUE(IsGiven(back.steps[0], "sparsity"));  // a given zero is not a missing one
  EXPECT_FALSE(IsGiven(back.steps[2], "clip"));
}

TEST(RecipeCodec, TrainStaysInsideItsStep) {
  const Recipe recipe = *ParseRecipe(
      "steps:\n"
      "  - quantize_weights: {bits: 2, train: {method: ste, epochs: 5, skip: [head]}}\n"
      "  - quantize_activations: {train: {}}\n"
      "  - fine_tune: {epochs: 1}\n");
  const absl::StatusOr<v1::Recipe> proto = RecipeToProto(recipe);
  ASSERT_TRUE(proto.ok()) << proto.status();
  ASSERT_EQ(proto->steps_size(), 3);
  const v1::FineTune& train = proto->steps(0).quantize_weights().train();
  EXPECT_EQ(train.quantized(), "ste");
  EXPECT_EQ(train.epochs(), 5);
  EXPECT_TRUE(proto->steps(1).quantize_activations().has_train());
  EXPECT_EQ(proto->steps(2).fine_tune().epochs(), 1);
  const Recipe back = RecipeFromProto(*proto);
  EXPECT_EQ(CanonicalJson(back), CanonicalJson(recipe));
  v1::Recipe bad = *proto;
  bad.mutable_steps(1)->mutable_quantize_activations()->mutable_train()->set_epochs(0);
  const std::vector<Violation> violations = ValidateRecipe(RecipeFromProto(bad));
  ASSERT_EQ(violations.size(), 1u);
  EXPECT_EQ(violations[0].field, "steps[1].quantize_activations.train.epochs");
}

TEST(RecipeCodec, WhatTheProtoDoesNotHaveIsRefused) {
  Recipe recipe;
  recipe.steps.push_back({.method = "polish", .params = {}});
  EXPECT_FALSE(RecipeToProto(recipe).ok());
  recipe.steps = {{.method = "fp16", .params = {{"bits", int64_t{3}}}}};
  EXPECT_FALSE(RecipeToProto(recipe).ok());
  recipe.steps = {{.method = "quantize_weights", .params = {{"bits", std::string("many")}}}};
  EXPECT_FALSE(RecipeToProto(recipe).ok());
  recipe.steps = {{.method = "quantize_weights", .params = {{"bits", int64_t{1} << 40}}}};
  EXPECT_FALSE(RecipeToProto(recipe).ok());
}

TEST(RecipeCodec, AStepWithoutAMethodHasAnEmptyName) {
  v1::Recipe proto;
  proto.add_steps();
  EXPECT_EQ(RecipeFromProto(proto).steps.at(0).method, "");
}

}  // namespace
}  // namespace lathe
