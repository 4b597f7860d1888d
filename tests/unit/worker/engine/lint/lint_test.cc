#include "worker/engine/lint/lint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/worker/engine/lint/quantized_models.h"
#include "worker/engine/lint/rule.h"
#include "worker/engine/lint/warnings.h"

namespace lathe::engine {
namespace {

using namespace lathe::engine::testing;  // NOLINT: the builders
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::vector<std::string> Hurting(const std::vector<Finding>& findings) {
  std::vector<std::string> out;
  for (const Finding& finding : findings) {
    if (finding.severity != Severity::kNote) out.push_back(finding.rule);
  }
  return out;
}

TEST(LintTest, WellWrittenModelsHaveNothingThatHurts) {
  EXPECT_THAT(Hurting(LintModel(LinearModel(), {})), IsEmpty());
  EXPECT_THAT(Hurting(LintModel(LinearModel(Product()), {})), IsEmpty());
  EXPECT_THAT(Hurting(LintModel(LinearModel(Product("Gemm")), {})), IsEmpty());
  EXPECT_THAT(Hurting(LintModel(FloatConvModel(32), {})), IsEmpty());
  EXPECT_THAT(Hurting(LintModel(NewModel(), {})), IsEmpty());
}

TEST(LintTest, FindingsOfOtherProfilesAreLeftOut) {
  Linear form;
  form.weight_value = 100;
  const Model model = LinearModel(form);
  EXPECT_THAT(Hurting(LintModel(model, {.profiles = kAvx2})), ElementsAre("int16_saturation"));
  EXPECT_THAT(Hurting(LintModel(model, {.profiles = kVnni | kArm})), IsEmpty());
}

TEST(LintTest, AFindingNamesItsNodeItsValueAndTheFix) {
  Linear form;
  form.output_quantized = false;
  const std::vector<Finding> findings = LintModel(LinearModel(form), {.profiles = kPortable});
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_EQ(findings[0].node, "Conv 'layer'");
  EXPECT_EQ(findings[0].value, "h");
  const nlohmann::json json = FindingJson(findings[0]);
  EXPECT_EQ(json.at("rule"), "missing_quantize");
  EXPECT_EQ(json.at("severity"), "slow");
  EXPECT_EQ(json.at("profiles"), (std::vector<std::string>{"vnni", "avx2", "arm"}));
  EXPECT_THAT(json.at("fix").get<std::string>(), HasSubstr("QuantizeLinear"));
}

TEST(LintTest, ARuleThatFiresEverywhereNamesSomeAndCountsTheRest) {
  Model model = NewModel(21, 10);
  AddInput(*model.graph, "x");
  AddNode(*model.graph, "Identity", {"x"}, {"y"});
  AddOutput(*model.graph, "y");
  for (size_t i = 0; i < Findings::kMaxPlaces + 7; ++i) {
    AddInitializer(*model.graph, Scale("unused" + std::to_string(i), 1));
  }
  const std::vector<Finding> findings = LintModel(model, {});
  ASSERT_THAT(findings, SizeIs(Findings::kMaxPlaces + 1));
  EXPECT_EQ(findings.back().message, "and at 7 more places");
  EXPECT_EQ(findings.back().profiles, kEverywhere);
}

// Counts and extents that nothing has checked against each other.
TEST(LintTest, ModelsWhosePartsDoNotFitAreSurvived) {
  const std::vector<std::string> constants = {"w_q", "w_s", "w_z", "b_q", "b_s",
                                              "b_z", "x_s", "x_z", "o_s", "o_z"};
  const Tensor odd[] = {Tensor::FromFloats("", {0}, {}),
                        Tensor::FromFloats("", {3}, Values(3)),
                        Filled("", DType::kInt8, {}, 1),
                        Filled("", DType::kInt8, {0, 4}, 1),
                        Filled("", DType::kInt8, {2, 0, 3, 3}, 1),
                        Zeros("", DType::kInt4, {3}),
                        Zeros("", DType::kBool, {2, 2})};
  for (const std::string& name : constants) {
    for (Tensor tensor : odd) {
      for (const char* op : {"Conv", "MatMul", "Gemm", "ConvTranspose"}) {
        Model model = LinearModel(op == std::string("Conv") ? Linear() : Product(op));
        tensor.name = name;
        Replace(model, tensor);
        LintModel(model, {});
      }
    }
  }
  for (const char* op : {"Conv", "Gather", "Softmax", "MaxPool", "MatMulInteger", "QLinearConv",
                         "QuantizeLinear", "DequantizeLinear", "Add", "Where", "Clip"}) {
    Model model = NewModel();
    AddNode(*model.graph, op, {}, {});
    AddNode(*model.graph, op, {"nobody"}, {"y"});
    LintModel(model, {});
  }
}

TEST(LintTest, WarningsAreOfWhatTheOutputBroughtIn) {
  Linear slow;
  slow.output_quantized = false;
  const Model bad = LinearModel(slow);
  EXPECT_THAT(LintWarnings(bad, bad, {}), IsEmpty());
  EXPECT_THAT(LintWarnings(bad, LinearModel(), {}), IsEmpty());
  const std::vector<std::string> lines = LintWarnings(LinearModel(), bad, {});
  ASSERT_THAT(lines, SizeIs(1));
  EXPECT_THAT(lines[0],
              HasSubstr("lint: missing_quantize (slow on vnni, avx2, arm), Conv 'layer': "));
  // A note is no warning.
  EXPECT_THAT(LintWarnings(FloatConvModel(32), FloatConvModel(30), {}), IsEmpty());
}

}  // namespace
}  // namespace lathe::engine
