#include "worker/engine/evaluate/weight_error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/support/graph_builder.h"
#include "tests/support/step_runner.h"
#include "worker/engine/evaluate/linear_operand.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/layers.h"

namespace lathe::engine {
namespace {

using testing::AddInitializer;
using testing::AddInput;
using testing::AddNode;
using testing::AddOutput;
using testing::AddWeight;
using ::testing::HasSubstr;
using testing::NewModel;

std::vector<LayerMeasure> Measure(Model& original, const Model& compressed, int threads = 2) {
  const auto parallel = MakeThreadPool(threads);
  auto measures = MeasureWeights(original, compressed, *parallel, nullptr);
  EXPECT_TRUE(measures.ok()) << measures.status();
  return measures.ok() ? *measures : std::vector<LayerMeasure>();
}

// One of each weighted operator.
Model Zoo() {
  Model model = NewModel(17);
  Graph& g = *model.graph;
  AddInput(g, "x");
  AddInput(g, "seq");
  AddInput(g, "img");
  AddInput(g, "ids", DType::kInt64);
  AddWeight(g, "w1", {64, 48});
  AddNode(g, "MatMul", {"x", "w1"}, {"y1"}, "right");
  AddWeight(g, "w2", {32, 48});
  AddWeight(g, "b2", {32});
  AddNode(g, "Gemm", {"y1", "w2", "b2"}, {"y2"}, "gemm").SetInt("transB", 1);
  AddWeight(g, "w3", {40, 64});
  AddNode(g, "MatMul", {"w3", "x"}, {"y3"}, "left");
  AddWeight(g, "w4", {32, 16, 3, 3});
  AddNode(g, "Conv", {"img", "w4"}, {"y4"}, "conv");
  AddWeight(g, "w5", {48, 32, 1, 1});
  AddNode(g, "Conv", {"y4", "w5"}, {"y5"}, "pointwise");
  AddWeight(g, "w6", {16, 8, 2, 2});
  AddNode(g, "ConvTranspose", {"img", "w6"}, {"y6"}, "up");
  AddWeight(g, "table", {50, 32});
  AddNode(g, "Gather", {"table", "ids"}, {"y7"}, "embedding");
  AddWeight(g, "wl", {1, 64, 24});
  AddWeight(g, "rl", {1, 64, 16});
  AddNode(g, "LSTM", {"seq", "wl", "rl"}, {"", "y8"}, "lstm").SetInt("hidden_size", 16);
  for (int i = 2; i <= 8; ++i) AddOutput(g, "y" + std::to_string(i));
  return model;
}

struct MethodCase {
  const char* name;
  const char* step;  // as on a command line
  double worst;      // bound on any layer's error
};

StepOutcome Apply(Model& model, const std::string& flag) {
  auto outcome = testing::RunStep(model, flag);
  EXPECT_TRUE(outcome.ok()) << outcome.status();
  return outcome.ok() ? *outcome : StepOutcome();
}

class EveryMethod : public ::testing::TestWithParam<MethodCase> {};

// What a method claims of a layer is what its constants say, whatever form they have.
TEST_P(EveryMethod, MeasuresWhatTheMethodClaims) {
  Model original = Zoo();
  Model model = CloneModel(original);
  const StepOutcome outcome = Apply(model, GetParam().step);
  int done = 0;
  const std::vector<LayerMeasure> measures = Measure(original, model);
  ASSERT_EQ(measures.size(), 9u);
  for (const LayerOutcome& layer : outcome.layers) {
    const auto measure =
        std::find_if(measures.begin(), measures.end(),
                     [&layer](const LayerMeasure& m) { return m.name == layer.name; });
    ASSERT_NE(measure, measures.end()) << layer.name;
    EXPECT_EQ(measure->not_measured, "") << layer.name;
    ASSERT_TRUE(measure->relative_error.has_value()) << layer.name;
    if (!layer.skipped_reason.empty()) {
      EXPECT_EQ(*measure->relative_error, 0) << layer.name;
      EXPECT_EQ(measure->parameters_after, measure->parameters_before) << layer.name;
      continue;
    }
    ++done;
    ASSERT_TRUE(layer.relative_error.has_value()) << layer.name;
    EXPECT_NEAR(*measure->relative_error, *layer.relative_error,
                1e-3 * *layer.relative_error + 1e-6)
        << layer.name;
    EXPECT_LE(*measure->relative_error, GetParam().worst) << layer.name;
  }
  EXPECT_GE(done, 4);
}

INSTANTIATE_TEST_SUITE_P(
    Methods, EveryMethod,
    ::testing::Values(
        MethodCase{"Int8Channel", "quantize_weights:keep_small=0", 0.02},
        MethodCase{"Int8Tensor", "quantize_weights:keep_small=0,granularity=tensor", 0.02},
        MethodCase{"Int4Group",
                   "quantize_weights:keep_small=0,bits=4,granularity=group,group_size=16", 0.2},
        MethodCase{"Asymmetric", "quantize_weights:keep_small=0,symmetric=false", 0.02},
        MethodCase{"Fp16", "fp16", 1e-3}, MethodCase{"Prune", "prune_weights:sparsity=0.5", 0.8},
        MethodCase{"Sparse", "prune_weights:sparsity=0.9,storage=sparse", 1.0},
        MethodCase{"LowRank", "low_rank:rank=8", 1.0}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(MeasureWeights, SumsUpSeveralSteps) {
  Model original = Zoo();
  Model model = CloneModel(original);
  Apply(model, "prune_weights:sparsity=0.5");
  Apply(model, "low_rank:rank=4");
  Model factors = CloneModel(model);
  Apply(model, "quantize_weights:keep_small=0");
  const std::vector<LayerMeasure> before = Measure(original, factors);
  const std::vector<LayerMeasure> after = Measure(original, model);
  for (size_t i = 0; i < after.size(); ++i) {
    ASSERT_TRUE(after[i].relative_error.has_value()) << after[i].name << after[i].not_measured;
    EXPECT_NEAR(*after[i].relative_error, *before[i].relative_error, 0.03) << after[i].name;
    EXPECT_GT(*after[i].relative_error, 0.1) << after[i].name;
  }
  // [64, 48] in rank 4.
  EXPECT_EQ(after[0].parameters_before, 64 * 48);
  EXPECT_EQ(after[0].parameters_after, 4 * (64 + 48));
}

TEST(MeasureWeights, IsTheSameForAnyNumberOfThreads) {
  Model original = NewModel();
  AddInput(*original.graph, "x");
  AddWeight(*original.graph, "w", {900, 1000});
  AddNode(*original.graph, "MatMul", {"x", "w"}, {"y"}, "fc");
  AddOutput(*original.graph, "y");
  Model model = CloneModel(original);
  Apply(model, "quantize_weights");
  const auto one = Measure(original, model, 1);
  const auto four = Measure(original, model, 4);
  EXPECT_EQ(*one[0].relative_error, *four[0].relative_error);
  EXPECT_EQ(one[0].nonzero_after, four[0].nonzero_after);
}

TEST(MeasureWeights, TellsACorruptedWeightFromAGoodOne) {
  Model original = Zoo();
  Model model = CloneModel(original);
  std::vector<float> values = *model.graph->initializers.at("w4").ToFloats();
  double norm = 0;
  for (const float v : values) norm += static_cast<double>(v) * v;
  values[7] += 3;
  model.graph->initializers.insert_or_assign("w4",
                                             Tensor::FromFloats("w4", {32, 16, 3, 3}, values));
  const auto measures = Measure(original, model);
  EXPECT_EQ(*measures[0].relative_error, 0);
  EXPECT_EQ(measures[3].name, "conv");
  EXPECT_NEAR(*measures[3].relative_error, 3 / std::sqrt(norm), 1e-6);
}

TEST(MeasureWeights, SaysWhyALayerCannotBeCompared) {
  Model original = NewModel();
  AddInput(*original.graph, "x");
  AddWeight(*original.graph, "w", {4, 4});
  AddNode(*original.graph, "MatMul", {"x", "w"}, {"y"}, "fc");
  AddOutput(*original.graph, "y");
  Model model = NewModel();
  AddInput(*model.graph, "x");
  AddNode(*model.graph, "Relu", {"x"}, {"y"}, "other");
  AddOutput(*model.graph, "y");
  const auto measures = Measure(original, model);
  EXPECT_FALSE(measures[0].relative_error.has_value());
  EXPECT_THAT(measures[0].not_measured, HasSubstr("not understood"));
}

TEST(MeasureWeights, CountsNonZerosOfIntegersPastTheirZeroPoint) {
  Model model = NewModel();
  Graph& g = *model.graph;
  AddInput(g, "x", DType::kUint8);
  AddInitializer(
      g, *Tensor::Make("w", DType::kUint8, {2, 3}, std::string("\x80\x81\x80\0\x80\x7f", 6)));
  AddInitializer(g, *Tensor::Make("z", DType::kUint8, {}, std::string("\x80", 1)));
  AddNode(g, "MatMulInteger", {"x", "w", "", "z"}, {"y"}, "fc");
  AddOutput(g, "y", DType::kInt32);
  const auto measures = Measure(model, model);
  ASSERT_EQ(measures.size(), 1u);
  EXPECT_THAT(measures[0].blocked_reason, HasSubstr("already quantized"));
  EXPECT_EQ(measures[0].parameters_before, 6);
  EXPECT_EQ(measures[0].nonzero_before, 3);
}

TEST(ReadLinearOperand, DecodesMatMulNBits) {
  Model model = NewModel(21);
  Graph& g = *model.graph;
  AddInput(g, "x");
  // N = 2, K = 20 in blocks of 16: the second block is padded. Nibbles, low first.
  std::string packed(2 * 2 * 8, '\x88');
  packed[0] = '\x9f';       // row 0: 15, 9
  packed[8] = '\x08';       // row 0, block 1: 8, 0
  packed[16 + 8] = '\x31';  // row 1, block 1: 1, 3
  AddInitializer(g, *Tensor::Make("b", DType::kUint8, {2, 2, 8}, packed));
  AddInitializer(g, Tensor::FromFloats("s", {4}, std::vector<float>{1, 10, 100, 1000}));
  Node& node = AddNode(g, "MatMulNBits", {"x", "b", "s"}, {"y"}, "fc", "com.microsoft");
  node.SetInt("N", 2);
  node.SetInt("K", 20);
  node.SetInt("bits", 4);
  node.SetInt("block_size", 16);
  AddOutput(g, "y");
  {
    const ScopeIndex index(model);
    const ConstantEvaluator evaluator(index);
    const auto operand = ReadLinearOperand(evaluator, index, &g, node);
    ASSERT_TRUE(operand.ok()) << operand.status();
    EXPECT_TRUE(operand->out_major);
    EXPECT_EQ(operand->in, 20);
    EXPECT_EQ(operand->out, 2);
    std::vector<float> want(40, 0);
    want[0] = 7;
    want[1] = 1;
    want[17] = -80;
    want[20 + 16] = -7000;
    want[20 + 17] = -5000;
    EXPECT_EQ(operand->values, want);
  }
  // Zero points: row 0 blocks 8 and 0, row 1 blocks 8 and 1; padded to a byte a row.
  AddInitializer(g, *Tensor::Make("z", DType::kUint8, {2}, std::string("\x08\x18", 2)));
  node.inputs.push_back("z");
  {
    const ScopeIndex index(model);
    const ConstantEvaluator evaluator(index);
    const auto operand = ReadLinearOperand(evaluator, index, &g, node);
    ASSERT_TRUE(operand.ok()) << operand.status();
    EXPECT_EQ(operand->values[16], 80);
    EXPECT_EQ(operand->values[20 + 17], 2000);
  }
  // An operand that is too small for what the attributes promise is refused.
  node.SetInt("K", 64);
  const ScopeIndex index(model);
  const ConstantEvaluator evaluator(index);
  EXPECT_EQ(ReadLinearOperand(evaluator, index, &g, node).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(CountOtherParameters, CountsBiasesButNoScalesOrWeights) {
  Model model = Zoo();
  Graph& g = *model.graph;
  AddInitializer(g, testing::Zeros("q", DType::kInt8, {16, 4}));
  AddWeight(g, "scale", {4});
  AddNode(g, "DequantizeLinear", {"q", "scale"}, {"dq"}).SetInt("axis", 1);
  AddNode(g, "MatMul", {"x", "dq"}, {"y9"}, "quantized");
  AddOutput(g, "y9");
  const OtherParameters others = CountOtherParameters(model);
  EXPECT_EQ(others.parameters, 32);  // b2
  EXPECT_EQ(others.nonzero, 32);
}

}  // namespace
}  // namespace lathe::engine
