#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/limits.h"
#include "common/recipe/catalogue.h"
#include "common/recipe/text.h"
#include "common/recipe/validate.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;

Recipe Parse(const std::string& text) {
  absl::StatusOr<Recipe> recipe = ParseRecipe(text);
  EXPECT_TRUE(recipe.ok()) << recipe.status();
  return recipe.ok() ? *recipe : Recipe{};
}

constexpr char kFull[] = R"(
steps:
  - prune_weights:    {sparsity: 0.5, scope: layer}
  - low_rank:         {energy: 0.99}
  - quantize_weights: {bits: 4, granularity: group, group_size: 32, symmetric: true, clip: mse}
  - fp16: {}
seed: 1
)";

TEST(Recipe, TheDocumentedOneParsesAndIsValid) {
  const Recipe recipe = Parse(kFull);
  ASSERT_EQ(recipe.steps.size(), 4u);
  EXPECT_EQ(recipe.seed, 1u);
  EXPECT_TRUE(ValidateRecipe(recipe).empty());
  EXPECT_EQ(GetDouble(recipe.steps[0], "sparsity"), 0.5);
  EXPECT_EQ(GetInt(recipe.steps[2], "bits"), 4);
  EXPECT_TRUE(GetBool(recipe.steps[2], "symmetric"));
  EXPECT_EQ(GetString(recipe.steps[2], "clip"), "mse");
  EXPECT_EQ(GetDouble(recipe.steps[2], "keep_small"), 0.02);
}

TEST(Recipe, JsonAndYamlAndFlagsMeanTheSame) {
  const Recipe yaml = Parse("steps:\n  - quantize_weights:\n      bits: 4\n      skip: [a*, b]\n");
  const Recipe json =
      Parse(R"({"steps": [{"quantize_weights": {"skip": ["a*", "b"], "bits": 4}}]})");
  Recipe flag;
  flag.steps.push_back(*ParseStepFlag("quantize_weights:bits=4,skip=a*|b"));
  EXPECT_EQ(CanonicalJson(yaml), CanonicalJson(json));
  EXPECT_EQ(CanonicalJson(yaml), CanonicalJson(flag));
  EXPECT_EQ(CanonicalJson(Parse(ToYaml(yaml))), CanonicalJson(yaml));
}

TEST(Recipe, CanonicalJsonFillsDefaultsAndForgetsSpelling) {
  EXPECT_EQ(
      CanonicalJson(Parse("steps: [{prune_weights: {threshold: 1}}]")),
      CanonicalJson(Parse("steps: [{prune_weights: {scope: layer, threshold: 1.0}}]\nseed: 0")));
  EXPECT_EQ(CanonicalJson(Parse("steps: [fp16]")), CanonicalJson(Parse("steps: [{fp16: {}}]")));
  EXPECT_EQ(CanonicalJson(Parse("steps: [fp16]")),
            R"({"seed":0,"steps":[{"fp16":{"skip":[],"targets":[]}}]})");
  EXPECT_NE(CanonicalJson(Parse("steps: [fp16]\nseed: 2")), CanonicalJson(Parse("steps: [fp16]")));
  EXPECT_TRUE(ValidateRecipe(*ParseRecipe(CanonicalJson(Parse(kFull)))).empty());
}

TEST(Recipe, EveryDefaultIsValid) {
  for (const MethodSpec& method : Catalogue()) {
    Step step{.method = method.name, .params = {}};
    for (const ParamSpec& spec : method.params) {
      if (spec.default_value) step.params[spec.name] = *spec.default_value;
    }
    if (method.name == "prune_weights") step.params["sparsity"] = 0.5;
    // What another parameter must allow is left out where that one's default does not.
    for (const MethodSpec::OnlyWith& rule : method.only_with) {
      const ParamSpec* other = method.Find(rule.other);
      if (other->default_value != ParamValue(rule.value)) step.params.erase(rule.name);
    }
    Recipe recipe;
    recipe.steps.push_back(step);
    EXPECT_TRUE(ValidateRecipe(recipe).empty()) << method.name;
  }
}

TEST(Recipe, ANumberBesideChoicesHasOneForm) {
  const auto canonical = [](const std::string& smooth) {
    const Recipe recipe = Parse("steps: [{quantize_activations: {smooth: " + smooth + "}}]");
    EXPECT_TRUE(ValidateRecipe(recipe).empty()) << smooth;
    EXPECT_EQ(GetString(recipe.steps[0], "smooth"), smooth);
    return CanonicalJson(recipe);
  };
  EXPECT_EQ(canonical("0.5"), canonical("0.50"));
  EXPECT_EQ(canonical("1"), canonical("1.0"));
  EXPECT_NE(canonical("1"), canonical("off"));
}

TEST(Recipe, TheCanonicalFormOfAChoiceIsAValidRecipe) {
  for (const char* text : {"steps: [{quantize_weights: {average_bits: 4.5}}]",
                           "steps: [{quantize_activations: {max_accuracy_drop: 0.01}}]",
                           "steps: [{quantize_activations: {min_sqnr_db: 30}}]",
                           "steps: [{quantize_activations: {max_float_layers: 2}}]"}) {
    const Recipe recipe = Parse(CanonicalJson(Parse(text)));
    EXPECT_TRUE(ValidateRecipe(recipe).empty()) << text << ": " << CanonicalJson(recipe);
  }
}

TEST(Recipe, TrainInsideAStepIsAFineTuneStepBehindIt) {
  const Recipe inside = Parse(
      "steps:\n"
      "  - quantize_weights: {bits: 2, train: {method: ste, epochs: 5}}\n"
      "  - quantize_activations: {train: }\n"
      "  - fp16\n");
  const Recipe behind = Parse(
      "steps:\n"
      "  - quantize_weights: {bits: 2}\n"
      "  - fine_tune: {quantized: ste, epochs: 5}\n"
      "  - quantize_activations\n"
      "  - fine_tune\n"
      "  - fp16\n");
  EXPECT_TRUE(ValidateRecipe(inside).empty());
  EXPECT_EQ(CanonicalJson(inside), CanonicalJson(behind));
  EXPECT_EQ(CanonicalJson(Parse(ToYaml(inside))), CanonicalJson(behind));
}

TEST(Recipe, GradualPruningIsForTheStepThatTrainsBehindIt) {
  for (const char* next : {"fine_tune", "distill"}) {
    EXPECT_TRUE(ValidateRecipe(
                    Parse(absl::StrCat(
                        "steps: [{prune_weights: {sparsity: 0.9, schedule: cubic}}, ", next, "]")))
                    .empty());
  }
  EXPECT_TRUE(
      ValidateRecipe(Parse("steps: [{prune_weights: {sparsity: 0.9, schedule: once}}]")).empty());
}

TEST(Recipe, StepsThatLackExamplesAreNamed) {
  struct Case {
    const char* text;
    std::vector<std::string> roles;
    std::vector<std::string> fields;
  };
  const char* train = "steps: [fp16, fine_tune]";
  const char* inside = "steps: [{quantize_weights: {clip: output, train: {}}}, distill]";
  const std::vector<Case> cases = {
      {train, {}, {"steps[1].fine_tune"}},
      {train, {"test", "calibration"}, {"steps[1].fine_tune"}},
      {train, {"train"}, {}},
      {train, {"test", ""}, {}},
      {train, {"all"}, {}},
      {inside,
       {"test"},
       {"steps[0].quantize_weights.clip", "steps[0].quantize_weights.train", "steps[1].distill"}},
      {inside, {"calibration"}, {"steps[0].quantize_weights.train", "steps[1].distill"}},
      {inside, {"train"}, {}},
      {"steps: [fp16]", {}, {}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.text);
    std::vector<std::string> fields;
    for (const Violation& violation : ValidateExamples(Parse(c.text), c.roles)) {
      fields.push_back(violation.field);
      EXPECT_THAT(violation.description, HasSubstr("add --data "));
    }
    EXPECT_EQ(fields, c.fields);
  }
}

struct Refusal {
  const char* text;
  const char* field;
  const char* message;
};

class RecipeRefusal : public ::testing::TestWithParam<Refusal> {};

TEST_P(RecipeRefusal, NamesFieldBoundAndNearest) {
  const Recipe recipe = Parse(GetParam().text);
  const std::vector<Violation> violations = ValidateRecipe(recipe);
  ASSERT_EQ(violations.size(), 1u) << GetParam().text;
  EXPECT_EQ(violations[0].field, GetParam().field);
  EXPECT_THAT(violations[0].description, HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    All, RecipeRefusal,
    ::testing::Values(
        Refusal{"steps: []", "steps", "at least one step"},
        Refusal{"steps: [{quantise_weights: {}}]", "steps[0]",
                "did you mean \"quantize_weights\"?"},
        Refusal{"steps: [fp16, {quantize_weights: {bit: 4}}]", "steps[1].quantize_weights.bit",
                "did you mean \"bits\"?"},
        Refusal{"steps: [{quantize_weights: {bits: 9}}]", "steps[0].quantize_weights.bits",
                "[2, 8]"},
        Refusal{"steps: [{quantize_weights: {bits: 1}}]", "steps[0].quantize_weights.bits",
                "got 1"},
        Refusal{"steps: [{quantize_weights: {bits: 4.5}}]", "steps[0].quantize_weights.bits",
                "expects int"},
        Refusal{"steps: [{quantize_weights: {bits: four}}]", "steps[0].quantize_weights.bits",
                "expects int"},
        Refusal{"steps: [{quantize_weights: {granularity: groups}}]",
                "steps[0].quantize_weights.granularity", "did you mean \"group\"?"},
        Refusal{"steps: [{quantize_weights: {granularity: group, group_size: 48}}]",
                "steps[0].quantize_weights.group_size", "16 | 32 | 64 | 128 | 256"},
        Refusal{"steps: [{quantize_weights: {group_size: 32}}]",
                "steps[0].quantize_weights.group_size", "needs granularity: group"},
        Refusal{"steps: [{quantize_weights: {symmetric: maybe}}]",
                "steps[0].quantize_weights.symmetric", "expects bool"},
        Refusal{"steps: [{quantize_activations: {smooth: 1.5}}]",
                "steps[0].quantize_activations.smooth", "auto | off | [0, 1]"},
        Refusal{"steps: [{quantize_activations: {smooth: .nan}}]",
                "steps[0].quantize_activations.smooth", "has no choice"},
        Refusal{"steps: [{quantize_activations: {smooth: nan}}]",
                "steps[0].quantize_activations.smooth", "auto | off | [0, 1]"},
        Refusal{"steps: [{quantize_activations: {smooth: of}}]",
                "steps[0].quantize_activations.smooth", "did you mean \"off\"?"},
        Refusal{"steps: [{quantize_activations: {max_accuracy_drop: 0.01, min_sqnr_db: 20}}]",
                "steps[0].quantize_activations.max_accuracy_drop", "exclude each other"},
        Refusal{"steps: [{quantize_activations: {max_accuracy_drop: 1.5}}]",
                "steps[0].quantize_activations.max_accuracy_drop", "[0, 1]"},
        Refusal{"steps: [{quantize_activations: {max_float_layers: 2, max_float_share: 0.1}}]",
                "steps[0].quantize_activations.max_float_share", "exclude each other"},
        Refusal{"steps: [{quantize_activations: {max_float_layers: -1}}]",
                "steps[0].quantize_activations.max_float_layers", "[0, 1e+06]"},
        Refusal{"steps: [{quantize_activations: {max_float_layers: 2, keep_float: none}}]",
                "steps[0].quantize_activations.max_float_layers", "needs keep_float: auto"},
        Refusal{"steps: [{quantize_activations: {max_accuracy_drop: 0.1, keep_float: [a, b]}}]",
                "steps[0].quantize_activations.max_accuracy_drop", "needs keep_float: auto"},
        Refusal{"steps: [{prune_weights: {}}]", "steps[0].prune_weights",
                "needs one of sparsity, threshold"},
        Refusal{"steps: [{prune_weights: {sparsity: 0.5, threshold: 0.1}}]",
                "steps[0].prune_weights.threshold", "exclude each other"},
        Refusal{"steps: [{prune_weights: {sparsity: 1.0}}]", "steps[0].prune_weights.sparsity",
                "[0, 1)"},
        Refusal{"steps: [{prune_weights: {sparsity: .nan}}]", "steps[0].prune_weights.sparsity",
                "expects double"},
        Refusal{"steps: [{prune_weights: {sparsity: nan}}]", "steps[0].prune_weights.sparsity",
                "finite"},
        Refusal{"steps: [{prune_weights: {threshold: -1}}]", "steps[0].prune_weights.threshold",
                "[0, inf)"},
        Refusal{"steps: [{low_rank: {rank: 0}}]", "steps[0].low_rank.rank", "[1, 1e+06]"},
        Refusal{"steps: [{low_rank: {energy: 0}}]", "steps[0].low_rank.energy", "(0, 1]"},
        Refusal{"steps: [{low_rank: {rank: 3, energy: 0.5}}]", "steps[0].low_rank.energy",
                "exclude"},
        Refusal{"steps: [{fp16: {targets: ['']}}]", "steps[0].fp16.targets", "pattern 0 is empty"},
        Refusal{"steps: [fp16, {quantize_weights: {train: {epochs: 0}}}, fp16]",
                "steps[1].quantize_weights.train.epochs", "got 0"},
        Refusal{"steps: [{quantize_weights: {train: {}}}, {fp16: {bits: 3}}]", "steps[1].fp16.bits",
                "no parameter"},
        Refusal{"steps: [{quantize_activations: {train: {method: lsx}}}]",
                "steps[0].quantize_activations.train.quantized", "did you mean \"lsq\"?"},
        Refusal{"steps: [{quantize_weights: {train: {epoch: 1}}}]",
                "steps[0].quantize_weights.train.epoch", "did you mean \"epochs\"?"},
        Refusal{"steps: [{prune_weights: {threshold: 0.1, schedule: cubic}}, fine_tune]",
                "steps[0].prune_weights.schedule", "give sparsity instead"},
        Refusal{"steps: [{prune_weights: {sparsity: 0.5, schedule: cubic}}]",
                "steps[0].prune_weights.schedule", "there is none"},
        Refusal{"steps: [{prune_weights: {sparsity: 0.5, schedule: cubic}}, fp16, fine_tune]",
                "steps[0].prune_weights.schedule", "that is \"fp16\""}));

struct BadText {
  std::string text;
  const char* message;
};

TEST(Recipe, BadTextIsRefusedWithItsPlace) {
  const std::vector<BadText> cases = {
      {"", "empty"},
      {"steps: [", "not valid YAML"},
      {"- 1\n- 2", "map with the key `steps`"},
      {"step: []", "did you mean \"steps\"?"},
      {"steps: [fp16]\nseeed: 3", "line 2, column 1"},
      {"steps: [fp16]\nseed: -3", "seed must be"},
      {"steps: 5", "steps must be a list"},
      {"steps: [{fp16: {}, low_rank: {}}]", "one method"},
      {"steps: [{fp16: {targets: {a: b}}}]", "must be a number, a string"},
      {"steps: [{fp16: {targets: [[a]]}}]", "plain strings"},
      {"steps: [{quantize_weights: {bits: 4, bits: 5}}]", "given twice"},
      {"steps: [&a fp16, *a]", "aliases"},
      {"steps: [{fp16: {train: {}}}]", "takes no `train`"},
      {"steps: [{quantize_weights: {train: 3}}]", "must be a map"},
      {"steps: [{quantize_weights: {train: {}, train: {}}}]", "given twice"},
      {"steps: [{quantize_weights: {train: {method: lsq, quantized: ste}}}]", "are one"},
      {"steps: [fp16]\n---\nsteps: [fp16]", "more than one"},
      {std::string(100000, '['), "nested deeper"},
      {"&#&Ts:s,t4i=btarg st", "more than one"},  // yaml-cpp finds documents in it without end
      {"steps: [{fp16: {skip: ['\xe1\xe1']}}]", "UTF-8"},
      {std::string(limits::kMaxRecipeBytes + 1, ' '), "at most"},
  };
  for (const BadText& bad : cases) {
    const absl::StatusOr<Recipe> recipe = ParseRecipe(bad.text);
    ASSERT_FALSE(recipe.ok()) << bad.text.substr(0, 100);
    EXPECT_EQ(recipe.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(recipe.status().message()), HasSubstr(bad.message))
        << bad.text.substr(0, 100);
  }
}

TEST(Recipe, TooManyStepsAreRefused) {
  std::string text = "steps:\n";
  for (int i = 0; i <= limits::kMaxSteps; ++i) text += "  - fp16\n";
  EXPECT_FALSE(ParseRecipe(text).ok());
}

TEST(Recipe, StepFlagsThatAreNotPairsAreRefused) {
  EXPECT_FALSE(ParseStepFlag("").ok());
  EXPECT_FALSE(ParseStepFlag("fp16:targets").ok());
  EXPECT_FALSE(ParseStepFlag("quantize_weights:bits=4,bits=5").ok());
}

}  // namespace
}  // namespace lathe
