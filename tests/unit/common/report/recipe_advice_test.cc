#include "common/report/recipe_advice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/recipe/text.h"
#include "common/recipe/validate.h"

namespace lathe {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

json Layer(const std::string& name, const std::string& op, double parameters, double macs,
           double sqnr4, std::vector<std::string> methods = {"quantize_weights", "low_rank"}) {
  return {{"name", name},
          {"op", op},
          {"parameters", parameters},
          {"macs", macs},
          {"methods", std::move(methods)},
          {"rounding_sqnr_db", {{"4", sqnr4}, {"8", sqnr4 + 24}}}};
}

json Transformer() {
  return {{"weight_bytes", 44e6},
          {"macs", 1e9},
          {"layers",
           {Layer("embed", "Gather", 4e6, 0, 19, {"quantize_weights"}),
            Layer("q", "MatMul", 2e6, 4e8, 18.8), Layer("k", "MatMul", 2e6, 4e8, 19.1),
            Layer("odd[0]", "MatMul", 1e6, 1e8, 11.0)}}};
}

json ConvNet() {
  return {{"weight_bytes", 12e6},
          {"macs", 3e8},
          {"layers",
           {Layer("c1", "Conv", 1e6, 2e8, 20, {"quantize_weights"}),
            Layer("c2", "Conv", 2e6, 1e8, 20, {"quantize_weights"})}}};
}

// The advice must be a recipe that the server takes.
void ExpectRuns(const RecipeAdvice& advice) {
  const absl::StatusOr<Recipe> recipe = ParseRecipe(advice.yaml);
  ASSERT_TRUE(recipe.ok()) << recipe.status() << "\n" << advice.yaml;
  EXPECT_TRUE(ValidateRecipe(*recipe).empty()) << advice.yaml;
}

TEST(RecipeAdviceTest, EveryTargetAndLimitGivesARecipeThatRunsWithAReasonForEachStep) {
  for (const json& summary : {Transformer(), ConvNet()}) {
    for (const std::string& target : AdviceTargets()) {
      for (const std::string& limit : AdviceLimits()) {
        const auto advice = AdviseRecipe(summary, target, limit);
        ASSERT_TRUE(advice.ok()) << advice.status();
        EXPECT_EQ(advice->limit, limit);
        EXPECT_FALSE(advice->reasons.empty());
        ExpectRuns(*advice);
      }
    }
  }
}

TEST(RecipeAdviceTest, MatricesGetFourBitsAndSensitiveLayersKeepEight) {
  const auto advice = AdviseRecipe(Transformer(), "mobile", "");
  ASSERT_TRUE(advice.ok());
  EXPECT_EQ(advice->limit, "storage");
  EXPECT_THAT(advice->yaml, HasSubstr("bits: 4, granularity: group, group_size: 32, skip: "
                                      "[\"odd?0?\"]"));
  EXPECT_THAT(advice->yaml, HasSubstr("bits: 8, keep_small: 0, targets: [\"odd?0?\"]"));
  EXPECT_THAT(advice->yaml, HasSubstr("11.0 against 19.0 dB"));
}

TEST(RecipeAdviceTest, ConvolutionsKeepEightBits) {
  const auto advice = AdviseRecipe(ConvNet(), "", "storage");
  ASSERT_TRUE(advice.ok());
  EXPECT_THAT(advice->yaml, HasSubstr("bits: 8"));
  EXPECT_THAT(advice->yaml, Not(HasSubstr("bits: 4")));
}

TEST(RecipeAdviceTest, ComputeAsksForLowRankOnHeavyLayersOnly) {
  const auto advice = AdviseRecipe(Transformer(), "cloud", "");
  ASSERT_TRUE(advice.ok());
  EXPECT_THAT(advice->yaml,
              HasSubstr("low_rank: {energy: 0.98, targets: [\"q\",\"k\",\"odd?0?\"]"));
  const auto none = AdviseRecipe(ConvNet(), "cloud", "");
  ASSERT_TRUE(none.ok());
  EXPECT_THAT(none->yaml, Not(HasSubstr("- low_rank")));
  EXPECT_THAT(none->yaml, HasSubstr("can be factorized"));
}

TEST(RecipeAdviceTest, UnknownNamesAndModelsWithoutLayersAreRefused) {
  EXPECT_EQ(AdviseRecipe(ConvNet(), "fridge", "").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(AdviseRecipe(ConvNet(), "", "time").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(AdviseRecipe(json::object(), "", "").status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(AdviseRecipe(json("no summary"), "", "").status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(RecipeAdviceTest, HostileNamesStayWithinTheRecipe) {
  json summary = Transformer();
  summary["layers"][1]["name"] = "a\"]}\nsteps: [*";
  const auto advice = AdviseRecipe(summary, "", "compute");
  ASSERT_TRUE(advice.ok());
  ExpectRuns(*advice);
  const auto recipe = ParseRecipe(advice->yaml);
  EXPECT_EQ(recipe->steps.size(), 2u);
}

}  // namespace
}  // namespace lathe
