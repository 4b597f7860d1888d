// What a recipe says beside its steps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/recipe/catalogue.h"
#include "common/recipe/text.h"
#include "common/recipe/validate.h"

namespace lathe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Recipe Parse(const std::string& text) {
  const absl::StatusOr<Recipe> recipe = ParseRecipe(text);
  EXPECT_TRUE(recipe.ok()) << recipe.status();
  return recipe.ok() ? *recipe : Recipe{};
}

TEST(RecipeSections, GettersGiveWhatWasGivenOrTheDefault) {
  const Recipe recipe =
      Parse("steps: [fp16]\npreprocess: {mean: 0.5, resize: [8, 9]}\nevaluate: {top_k: 3}\n");
  EXPECT_TRUE(ValidateRecipe(recipe).empty());
  const Step preprocess = SectionOf(recipe, "preprocess");
  EXPECT_THAT(GetNumbers(preprocess, "mean"), ElementsAre(0.5));
  EXPECT_THAT(GetNumbers(preprocess, "std"), ElementsAre());
  EXPECT_THAT(GetNumbers(preprocess, "resize"), ElementsAre(8, 9));
  EXPECT_EQ(GetDouble(preprocess, "scale"), 1);
  EXPECT_FALSE(IsGiven(preprocess, "layout"));
  EXPECT_EQ(GetNumbers(SectionOf(recipe, "evaluate"), "top_k"), (std::vector<double>{3}));
  EXPECT_EQ(GetString(SectionOf(recipe, "evaluate"), "task"), "auto");
  EXPECT_EQ(GetInt(SectionOf(recipe, "split"), "calibration"), 512);
  EXPECT_FALSE(IsGiven(SectionOf(recipe, "constraints"), "max_macs"));
}

// Results are kept under this form: recipes from before there were sections must find theirs.
TEST(RecipeSections, TheCanonicalFormHoldsOnlyWhatDiffersFromTheDefaults) {
  const std::string bare = CanonicalJson(Parse("steps: [fp16]"));
  EXPECT_EQ(bare, R"({"seed":0,"steps":[{"fp16":{"skip":[],"targets":[]}}]})");
  EXPECT_EQ(CanonicalJson(Parse("steps: [fp16]\nevaluate:\n")), bare);
  EXPECT_EQ(CanonicalJson(Parse("steps: [fp16]\nevaluate: {top_k: 5}\npreprocess: {scale: 1}")),
            bare);
  EXPECT_EQ(CanonicalJson(Parse("steps: [fp16]\nevaluate: {top_k: 4}\npreprocess: {std: [2]}")),
            R"({"evaluate":{"top_k":[4.0]},"preprocess":{"std":[2.0]},"seed":0,)"
            R"("steps":[{"fp16":{"skip":[],"targets":[]}}]})");
}

TEST(RecipeSections, EveryFormSaysTheSame) {
  const Recipe recipe = Parse(
      "steps: [fp16]\n"
      "constraints: {max_accuracy_drop: 0.01}\n"
      "evaluate: {task: sequence, output: logits, latency: false}\n"
      "preprocess: {mean: [1, 2.5], layout: NHWC, resize: [3, 4]}\n");
  EXPECT_EQ(CanonicalJson(Parse(CanonicalJson(recipe))), CanonicalJson(recipe));
  EXPECT_EQ(CanonicalJson(Parse(ToYaml(recipe))), CanonicalJson(recipe));
  Recipe flags = Parse("steps: [fp16]");
  for (const auto& [section, text] : std::vector<std::pair<const char*, const char*>>{
           {"constraints", "max_accuracy_drop=0.01"},
           {"evaluate", "task=sequence,output=logits"},
           {"evaluate", "latency=false"},
           {"preprocess", "mean=1|2.5,layout=NHWC,resize=3|4"}}) {
    EXPECT_TRUE(AddSectionFlag(section, "--flag", text, &flags).ok());
  }
  EXPECT_EQ(CanonicalJson(flags), CanonicalJson(recipe));
}

TEST(RecipeSections, FlagsThatAreNotKeyAndValueAreRefused) {
  Recipe recipe = Parse("steps: [fp16]\nevaluate: {top_k: 3}\n");
  EXPECT_THAT(std::string(AddSectionFlag("evaluate", "--evaluate", "top_k", &recipe).message()),
              HasSubstr("--evaluate: \"top_k\" is not key=value"));
  EXPECT_THAT(std::string(AddSectionFlag("evaluate", "--evaluate", "top_k=4", &recipe).message()),
              HasSubstr("given twice"));
}

TEST(RecipeSections, WhatIsWrongIsNamedByItsPath) {
  struct Case {
    const char* text;
    const char* field;
    const char* says;
  };
  for (const Case& c : std::vector<Case>{
           {"evaluate: {top_k: 0}", "evaluate.top_k", "[1, 1000]"},
           {"evaluate: {top_k: [3, 1.5]}", "evaluate.top_k", "1.5"},
           {"evaluate: {class_axis: 0}", "evaluate.class_axis", "got 0"},
           {"evaluate: {scores: odds}", "evaluate.scores", "has no choice \"odds\""},
           {"evaluate: {ignore_label: none}", "evaluate.ignore_label", "int"},
           {"evaluate: {decoder: beam}", "evaluate.decoder", "has no choice \"beam\""},
           {"evaluate: {end_token: 2}", "evaluate.end_token", "decoder"},
           {"evaluate: {decoder: tokens, blank: 0}", "evaluate.blank", "decoder"},
           {"evaluate: {label_shift: 2}", "evaluate.label_shift", "got 2"},
           {"evaluate: {detector: yolo}", "evaluate.detector", "has no choice \"yolo\""},
           {"evaluate: {box_format: cxcyhw}", "evaluate.box_format", "did you mean \"cxcywh\""},
           {"evaluate: {min_score: 1.1}", "evaluate.min_score", "[0, 1]"},
           {"evaluate: {max_overlap: -0.1}", "evaluate.max_overlap", "[0, 1]"},
           {"evaluate: {max_boxes: 0}", "evaluate.max_boxes", "[1, 10000]"},
           {"evaluate: {topk: 3}", "evaluate.topk", "did you mean \"top_k\""},
           {"evaluate: {task: clasification}", "evaluate.task", "did you mean \"classification\""},
           {"preprocess: {std: 0}", "preprocess.std", "(0, inf)"},
           {"preprocess: {std: [1, 0]}", "preprocess.std", "got 0 at 1"},
           {"preprocess: {mean: [a]}", "preprocess.mean", "number_list"},
           {"preprocess: {mean: [inf]}", "preprocess.mean", "finite"},
           {"preprocess: {scale: [1, 2]}", "preprocess.scale", "expects double"},
           {"preprocess: {resize: 32}", "preprocess.resize", "must hold 2 numbers, got 1"},
           {"preprocess: {resize: [32, 1.5]}", "preprocess.resize", "whole"},
           {"preprocess: {resize: [32, 99999]}", "preprocess.resize", "16384"},
           {"preprocess: {layout: nhwc}", "preprocess.layout", "NHWC"},
           {"split: {test: 1.5}", "split.test", "[0, 1]"},
           {"split: {calibration: 0}", "split.calibration", "[1, "},
           {"constraints: {max_accuracy_drop: 2}", "constraints.max_accuracy_drop", "[0, 1]"},
           {"constraints: {max_file_bytes: 1.5}", "constraints.max_file_bytes", "expects int"}}) {
    const std::vector<Violation> wrong =
        ValidateRecipe(Parse(std::string("steps: [fp16]\n") + c.text));
    ASSERT_EQ(wrong.size(), 1u) << c.text;
    EXPECT_EQ(wrong[0].field, c.field);
    EXPECT_THAT(wrong[0].description, HasSubstr(c.says)) << c.text;
  }
  EXPECT_THAT(std::string(ParseRecipe("steps: [fp16]\nevaluat: {}").status().message()),
              HasSubstr("did you mean \"evaluate\""));
  EXPECT_THAT(std::string(ParseRecipe("steps: [fp16]\nevaluate: 3").status().message()),
              HasSubstr("evaluate must be a map"));
  Recipe unknown = Parse("steps: [fp16]");
  unknown.sections["evaluatr"] = Step{"evaluatr", {}};
  EXPECT_THAT(ValidateRecipe(unknown)[0].description, HasSubstr("did you mean \"evaluate\""));
}

TEST(RecipeSections, OnlyAJobThatEvaluatesHasNoSteps) {
  Recipe recipe = Parse("evaluate: {task: classification}");
  EXPECT_EQ(ValidateRecipe(recipe).size(), 1u);
  EXPECT_TRUE(ValidateRecipe(recipe, RecipeUse::kEvaluate).empty());
  recipe.steps.push_back({"fp16", {}});
  const std::vector<Violation> violations = ValidateRecipe(recipe, RecipeUse::kEvaluate);
  ASSERT_EQ(violations.size(), 1u);
  EXPECT_EQ(violations[0].field, "steps");
}

}  // namespace
}  // namespace lathe
