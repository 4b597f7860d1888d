// Graphs before and after; the graphs that ONNX Runtime itself saves are compared in
// tests/conformance/test_lint_hazards.py.
#include "worker/engine/lint/fusion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/worker/engine/lint/quantized_models.h"

namespace lathe::engine {
namespace {

using namespace lathe::engine::testing;  // NOLINT: the builders
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Model After(const std::string& op, std::vector<std::string> inputs, const std::string& output,
            const std::string& name) {
  Model model = NewModel(21, 10);
  AddInput(*model.graph, "x_q", DType::kUint8);
  AddNode(*model.graph, op, std::move(inputs), {output}, name);
  return model;
}

TEST(CompareFusionTest, WhatBecameItsKernelIsFoundByResultByNameOrByWeight) {
  const Model meant = LinearModel();
  EXPECT_THAT(CompareFusion(meant, After("QLinearConv", {"x_q"}, "o_q", "")), IsEmpty());
  EXPECT_THAT(CompareFusion(meant, After("QLinearConv", {"x_q"}, "other", "layer_token_3")),
              IsEmpty());
  EXPECT_THAT(CompareFusion(meant, After("QLinearConv", {"x_q", "s", "z", "w_q"}, "other", "")),
              IsEmpty());
}

TEST(CompareFusionTest, AResultBehindATransposeIsThatOfWhatStandsBeforeIt) {
  Model after = After("QLinearConv", {"x_q"}, "nhwc", "");
  AddNode(*after.graph, "Transpose", {"nhwc"}, {"o_q"});
  EXPECT_THAT(CompareFusion(LinearModel(), after), IsEmpty());
}

TEST(CompareFusionTest, WhatStayedInFloatIsNamedWithWhatItIsNow) {
  Model after = After("FusedConv", {"x_d", "w_d"}, "h", "");
  AddNode(*after.graph, "QuantizeLinear", {"h", "s", "z"}, {"o_q"});
  const std::vector<Finding> found = CompareFusion(LinearModel(), after);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].rule, "not_fused");
  EXPECT_EQ(found[0].severity, Severity::kSlow);
  EXPECT_EQ(found[0].node, "Conv 'layer'");
  EXPECT_THAT(found[0].message, HasSubstr("was meant to become QLinearConv; in the optimized graph "
                                          "it is unnamed FusedConv"));
}

TEST(CompareFusionTest, WhatIsGoneIsANote) {
  const std::vector<Finding> found = CompareFusion(LinearModel(), NewModel());
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].rule, "not_found");
  EXPECT_EQ(found[0].severity, Severity::kNote);
}

TEST(CompareFusionTest, ModelsWithoutGroupsHaveNothingToFuse) {
  EXPECT_THAT(CompareFusion(FloatConvModel(16), NewModel()), IsEmpty());
  EXPECT_THAT(CompareFusion(NewModel(), LinearModel()), IsEmpty());
}

TEST(CompareFusionTest, EachKindOfGroupHasItsKernels) {
  Linear last = Product();
  last.output_quantized = false;
  EXPECT_THAT(CompareFusion(LinearModel(last), After("MatMulIntegerToFloat", {}, "sum", "")),
              IsEmpty());
  EXPECT_THAT(CompareFusion(LinearModel(last), After("MatMulNBits", {}, "sum", "")), SizeIs(1));
  last.data_quantized = false;
  last.bias = "";
  EXPECT_THAT(CompareFusion(LinearModel(last), After("MatMulNBits", {}, "h", "")), IsEmpty());
  EXPECT_THAT(CompareFusion(AddModel(DType::kUint8), After("QLinearAdd", {}, "o_q", "")),
              IsEmpty());
  EXPECT_THAT(CompareFusion(AddModel(DType::kUint8), After("Add", {}, "h", "layer")), SizeIs(1));
  EXPECT_THAT(
      CompareFusion(DynamicModel("MatMulInteger"), After("DynamicQuantizeMatMul", {}, "y", "")),
      IsEmpty());
}

}  // namespace
}  // namespace lathe::engine
