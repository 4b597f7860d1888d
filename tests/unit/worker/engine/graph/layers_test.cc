// What FindWeights makes of the graphs that occur in the wild: one test a case.
#include "worker/engine/graph/layers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/graph_builder.h"

namespace lathe::engine {
namespace {

using namespace lathe::engine::testing;  // NOLINT: the builder's words
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::vector<std::string> NamesOf(const std::vector<Weight>& weights) {
  std::vector<std::string> names;
  for (const Weight& weight : weights) names.push_back(weight.name);
  return names;
}

// The only weight, which must not be blocked.
Weight TheWeight(Model& model) {
  std::vector<Weight> weights = FindWeights(model);
  EXPECT_THAT(weights, SizeIs(1));
  if (weights.empty()) return {};
  EXPECT_EQ(weights[0].blocked_reason, "");
  return weights[0];
}

// The reason of the only entry.
std::string TheReason(Model& model) {
  const std::vector<Weight> weights = FindWeights(model);
  EXPECT_THAT(weights, SizeIs(1));
  return weights.empty() ? "no entry" : weights[0].blocked_reason;
}

// ---- Operators and axes
// -----------------------------------------------------------------------------------------------------

struct AxesCase {
  const char* op;
  int input;
  Shape dims;
  WeightRole role;
  int output_axis;
  int reduction_axis;
};

class WeightAxes : public ::testing::TestWithParam<AxesCase> {};

TEST_P(WeightAxes, FollowTheOperator) {
  const AxesCase& c = GetParam();
  Model model = NewModel();
  AddInput(*model.graph, "x");
  AddWeight(*model.graph, "w", c.dims);
  std::vector<std::string> inputs = {"x"};
  inputs.insert(inputs.begin() + c.input, "w");
  AddNode(*model.graph, c.op, inputs, {"y"}, "layer");
  const Weight weight = TheWeight(model);
  ASSERT_THAT(weight.uses, SizeIs(1));
  const WeightUse& use = weight.uses[0];
  EXPECT_EQ(weight.name, "layer");
  EXPECT_EQ(use.role, c.role);
  EXPECT_EQ(use.input, c.input);
  EXPECT_EQ(use.dims, c.dims);
  EXPECT_EQ(use.output_axis, c.output_axis);
  EXPECT_EQ(use.reduction_axis, c.reduction_axis);
  EXPECT_EQ(use.source_output_axis, c.output_axis);
  EXPECT_EQ(use.source_reduction_axis, c.reduction_axis);
  EXPECT_THAT(use.permutation, IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(
    Ops, WeightAxes,
    ::testing::Values(AxesCase{"Conv", 1, {8, 3, 5}, WeightRole::kConv, 0, 1},
                      AxesCase{"Conv", 1, {8, 3, 5, 5}, WeightRole::kConv, 0, 1},
                      AxesCase{"Conv", 1, {8, 3, 2, 2, 2}, WeightRole::kConv, 0, 1},
                      AxesCase{"ConvTranspose", 1, {8, 3, 5, 5}, WeightRole::kConvTranspose, 1, 0},
                      AxesCase{"Gemm", 1, {4, 6}, WeightRole::kGemmB, 1, 0},
                      AxesCase{"MatMul", 1, {4, 6}, WeightRole::kMatMulRight, 1, 0},
                      AxesCase{"MatMul", 1, {2, 4, 6}, WeightRole::kMatMulRight, 2, 1},
                      AxesCase{"MatMul", 1, {4}, WeightRole::kMatMulRight, -1, 0},
                      AxesCase{"MatMul", 0, {4, 6}, WeightRole::kMatMulLeft, 0, 1},
                      AxesCase{"MatMul", 0, {2, 4, 6}, WeightRole::kMatMulLeft, 1, 2},
                      AxesCase{"MatMul", 0, {6}, WeightRole::kMatMulLeft, -1, 0},
                      AxesCase{"Gather", 0, {9, 4}, WeightRole::kEmbedding, 0, 1},
                      AxesCase{"Gather", 0, {9, 4, 2}, WeightRole::kEmbedding, 0, 2}));

TEST(WeightAxes, FollowTransB) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {6, 4});
  AddNode(*model.graph, "Gemm", {"x", "w"}, {"y"}).SetInt("transB", 1);
  const Weight weight = TheWeight(model);
  EXPECT_EQ(weight.uses[0].output_axis, 0);
  EXPECT_EQ(weight.uses[0].reduction_axis, 1);
}

TEST(Convolutions, CarryTheirGroups) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {8, 1, 3, 3});
  AddNode(*model.graph, "Conv", {"x", "w"}, {"y"}, "depthwise").SetInt("group", 8);
  EXPECT_EQ(TheWeight(model).uses[0].groups, 8);
}

TEST(RecurrentOps, HaveTwoWeightsWithSuffixes) {
  for (const char* op : {"LSTM", "GRU", "RNN"}) {
    Model model = NewModel();
    AddWeight(*model.graph, "w", {2, 12, 5});
    AddWeight(*model.graph, "r", {2, 12, 3});
    AddWeight(*model.graph, "b", {2, 24});
    AddNode(*model.graph, op, {"x", "w", "r", "b"}, {"y"}, "rnn");
    const std::vector<Weight> weights = FindWeights(model);
    ASSERT_THAT(NamesOf(weights), ElementsAre("rnn.W", "rnn.R")) << op;
    EXPECT_EQ(RoleName(*weights[1].uses[0].node, weights[1].uses[0].role), std::string(op) + ".R");
    EXPECT_EQ(weights[0].uses[0].output_axis, 1);
    EXPECT_EQ(weights[0].uses[0].reduction_axis, 2);
  }
}

TEST(OtherConstants, AreNotWeights) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddWeight(graph, "bias", {8});
  AddWeight(graph, "scale", {8});
  AddWeight(graph, "mask", {4, 4});
  AddInitializer(graph, Tensor::FromInt64s("ids", {2, 2}, std::vector<int64_t>{0, 1, 2, 3}));
  AddNode(graph, "Add", {"x", "bias"}, {"a"});
  AddNode(graph, "BatchNormalization", {"a", "scale", "bias", "bias", "scale"}, {"b"});
  AddNode(graph, "Mul", {"b", "mask"}, {"c"});
  AddNode(graph, "Gather", {"ids", "i"}, {"d"});   // picks from integers
  AddNode(graph, "Gather", {"bias", "i"}, {"e"});  // one axis only
  AddNode(graph, "Gather", {"mask", "i"}, {"f"}).SetInt("axis", 1);
  AddNode(graph, "MatMul", {"b", "c"}, {"g"});
  EXPECT_THAT(FindWeights(model), IsEmpty());
}

// ---- Where the constant lies
// ------------------------------------------------------------------------------------------------

TEST(Sources, MayBeConstantNodes) {
  Model model = NewModel();
  Node& constant = AddConstantNode(*model.graph, Floats("w", {4, 6}));
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"});
  const Weight weight = TheWeight(model);
  EXPECT_EQ(weight.source.kind, WeightSource::Kind::kConstantNode);
  EXPECT_EQ(weight.source.constant, &constant);
  EXPECT_EQ(weight.source_name, "w");
  EXPECT_EQ(SourceTensor(weight).size(), 24);
}

TEST(Sources, MayBeListedAsInputs) {
  for (const int64_t ir_version : {3, 8}) {  // a constant, and an overridable default
    Model model = NewModel(9, ir_version);
    AddInput(*model.graph, "x");
    AddInput(*model.graph, "w");
    AddWeight(*model.graph, "w", {4, 6});
    AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"});
    EXPECT_EQ(TheWeight(model).source.kind, WeightSource::Kind::kInitializer);
  }
}

TEST(Sources, AreFoundBehindIdentityCastAndTranspose) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInitializer(graph, Zeros("w", DType::kFloat16, {2, 4, 6}));
  AddNode(graph, "Identity", {"w"}, {"a"});
  AddNode(graph, "Cast", {"a"}, {"b"}).SetInt("to", static_cast<int64_t>(DType::kFloat));
  AddNode(graph, "Transpose", {"b"}, {"c"}).SetInts("perm", {1, 2, 0});
  AddNode(graph, "Transpose", {"c"}, {"d"}).SetInts("perm", {0, 2, 1});
  AddNode(graph, "MatMul", {"x", "d"}, {"y"});
  const Weight weight = TheWeight(model);
  EXPECT_EQ(weight.dtype, DType::kFloat16);
  EXPECT_THAT(weight.dims, ElementsAre(2, 4, 6));
  const WeightUse& use = weight.uses[0];
  // c = [4, 6, 2], d = [4, 2, 6].
  EXPECT_THAT(use.permutation, ElementsAre(1, 0, 2));
  EXPECT_THAT(use.dims, ElementsAre(4, 2, 6));
  EXPECT_EQ(use.source_output_axis, 2);
  EXPECT_EQ(use.source_reduction_axis, 0);
}

TEST(Sources, AreReversedByATransposeWithoutPerm) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {4, 6, 2});
  AddNode(*model.graph, "Transpose", {"w"}, {"t"});
  AddNode(*model.graph, "MatMul", {"x", "t"}, {"y"});
  const Weight weight = TheWeight(model);
  EXPECT_THAT(weight.uses[0].permutation, ElementsAre(2, 1, 0));
  EXPECT_THAT(weight.uses[0].dims, ElementsAre(2, 6, 4));
}

TEST(Sources, HaveNoPermutationWhenTransposesCancel) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {4, 6});
  AddNode(*model.graph, "Transpose", {"w"}, {"a"});
  AddNode(*model.graph, "Transpose", {"a"}, {"b"});
  AddNode(*model.graph, "MatMul", {"x", "b"}, {"y"});
  EXPECT_THAT(TheWeight(model).uses[0].permutation, IsEmpty());
}

TEST(SharedSources, AreOneWeightWithManyUses) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddWeight(graph, "w", {4, 6});
  AddNode(graph, "MatMul", {"x", "w"}, {"a"}, "first");
  AddNode(graph, "MatMul", {"z", "w"}, {"b"}, "second");
  const Weight weight = TheWeight(model);
  EXPECT_EQ(weight.name, "first");
  EXPECT_THAT(weight.uses, SizeIs(2));
}

TEST(SharedSources, MayBeTransposedByOneOfTheConsumers) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddWeight(graph, "w", {6, 4});
  AddNode(graph, "Transpose", {"w"}, {"t"}).SetInts("perm", {1, 0});
  AddNode(graph, "MatMul", {"x", "t"}, {"a"}, "matmul");
  AddNode(graph, "Gemm", {"x", "w"}, {"b"}, "gemm").SetInt("transB", 1);
  const Weight weight = TheWeight(model);
  ASSERT_THAT(weight.uses, SizeIs(2));
  EXPECT_EQ(weight.uses[0].source_output_axis, 0);
  EXPECT_EQ(weight.uses[1].source_output_axis, 0);
  EXPECT_EQ(weight.uses[0].output_axis, 1);
  EXPECT_EQ(weight.uses[1].output_axis, 0);
}

TEST(SharedSources, TiedEmbeddingCarriesBothRoles) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddWeight(graph, "table", {9, 4});
  AddNode(graph, "Gather", {"table", "ids"}, {"e"}, "embed");
  AddNode(graph, "Transpose", {"table"}, {"t"});
  AddNode(graph, "MatMul", {"e", "t"}, {"logits"}, "head");
  const Weight weight = TheWeight(model);
  ASSERT_THAT(weight.uses, SizeIs(2));
  EXPECT_EQ(weight.uses[0].role, WeightRole::kEmbedding);
  EXPECT_EQ(weight.uses[1].role, WeightRole::kMatMulRight);
  EXPECT_EQ(weight.uses[1].source_output_axis, 0);  // the vocabulary
}

// ---- Scopes
// -----------------------------------------------------------------------------------------------------------------

TEST(Subgraphs, MayOwnOrCaptureTheirWeights) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddWeight(graph, "outer", {4, 6});
  Node& branch = AddNode(graph, "If", {"c"}, {"y"}, "if");
  Graph& then_branch = AddSubgraph(graph, branch, "then_branch");
  AddNode(then_branch, "MatMul", {"x", "outer"}, {"t"}, "captured");
  Graph& else_branch = AddSubgraph(graph, branch, "else_branch");
  AddWeight(else_branch, "own", {4, 6});
  AddNode(else_branch, "MatMul", {"x", "own"}, {"e"}, "owned");
  const std::vector<Weight> weights = FindWeights(model);
  ASSERT_THAT(NamesOf(weights), ElementsAre("captured", "owned"));
  EXPECT_EQ(weights[0].source.graph, &graph);
  EXPECT_EQ(weights[0].uses[0].graph, &then_branch);
  EXPECT_EQ(weights[1].source.graph, &else_branch);
}

TEST(Subgraphs, ResolveNamesFromTheInsideOut) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddWeight(graph, "w", {4, 6});
  Node& branch = AddNode(graph, "If", {"c"}, {"y"}, "if");
  Graph& then_branch = AddSubgraph(graph, branch, "then_branch");
  AddWeight(then_branch, "w", {5, 7});
  AddNode(then_branch, "MatMul", {"x", "w"}, {"t"}, "inner");
  AddNode(graph, "MatMul", {"x", "w"}, {"z"}, "outer");
  const std::vector<Weight> weights = FindWeights(model);
  ASSERT_THAT(NamesOf(weights), ElementsAre("inner", "outer"));
  EXPECT_THAT(weights[0].dims, ElementsAre(5, 7));
  EXPECT_THAT(weights[1].dims, ElementsAre(4, 6));
}

TEST(Subgraphs, WhatALoopBindsIsNoConstantEvenWithAnInitializerOfThatName) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddWeight(graph, "state", {4, 4});
  Node& loop = AddNode(graph, "Loop", {"n", "", "state"}, {"y"}, "loop");
  Graph& body = AddSubgraph(graph, loop, "body");
  for (const char* name : {"i", "cond", "state"}) AddInput(body, name);
  AddWeight(body, "state", {4, 4});
  AddNode(body, "MatMul", {"q", "state"}, {"next"}, "product");
  EXPECT_THAT(FindWeights(model), IsEmpty());
}

TEST(Subgraphs, MayReuseEachOthersNames) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  Node& branch = AddNode(graph, "If", {"c"}, {"y"}, "if");
  for (const char* side : {"then_branch", "else_branch"}) {
    Graph& sub = AddSubgraph(graph, branch, side);
    AddConstantNode(sub, Floats("w", {4, 6}));
    AddNode(sub, "MatMul", {"x", "w"}, {"r"}, "product");
  }
  EXPECT_THAT(NamesOf(FindWeights(model)), ElementsAre("product", "product#2"));
}

TEST(Functions, MayHoldTheirOwnWeights) {
  Model model = NewModel();
  AddNode(*model.graph, "Block", {"x"}, {"y"}, "call", "local");
  Function& function = AddFunction(model, "Block", {"X"}, {"Y"});
  AddConstantNode(*function.body, Floats("w", {4, 6}));
  AddNode(*function.body, "MatMul", {"X", "w"}, {"Y"}, "product");
  const Weight weight = TheWeight(model);
  EXPECT_EQ(weight.source.graph, function.body.get());
}

TEST(Functions, BlockWeightsThatAreTheirParameters) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {4, 6});
  AddNode(*model.graph, "Block", {"x", "w"}, {"y"}, "call", "local");
  Function& function = AddFunction(model, "Block", {"X", "W"}, {"Y"});
  function.opset_imports[""] = 11;
  AddNode(*function.body, "MatMul", {"X", "W"}, {"Y"}, "product");
  const std::string reason = TheReason(model);
  EXPECT_THAT(reason, HasSubstr("parameter 'W' of function local::Block"));
  EXPECT_THAT(reason, HasSubstr("imports ai.onnx 11 where the model has 17"));
}

TEST(Functions, DoNotListProductsOfTheirActivations) {
  Model model = NewModel();
  AddInput(*model.graph, "q");
  AddInput(*model.graph, "k");
  AddNode(*model.graph, "Attend", {"q", "k"}, {"y"}, "call", "local");
  Function& function = AddFunction(model, "Attend", {"Q", "K"}, {"Y"});
  AddNode(*function.body, "MatMul", {"Q", "K"}, {"Y"}, "product");
  EXPECT_THAT(FindWeights(model), IsEmpty());
}

// ---- Reasons to leave a weight alone
// ----------------------------------------------------------------------------------------

TEST(BlockedWeights, NameTheirOtherReader) {
  struct Case {
    const char* op;
    const char* domain;
    const char* text;
  };
  for (const Case& c :
       {Case{"Add", "", "also read by Add 'other' as input 0"},
        Case{"Shape", "", "also read by Shape 'other'"},
        Case{"Secret", "acme", "also read by acme.Secret 'other'"},
        Case{"Attention", "com.microsoft", "also read by com.microsoft.Attention"}}) {
    Model model = NewModel();
    Graph& graph = *model.graph;
    AddWeight(graph, "w", {4, 6});
    AddNode(graph, "MatMul", {"x", "w"}, {"y"}, "product");
    AddNode(graph, "Identity", {"w"}, {"i"});
    AddNode(graph, c.op, {"i"}, {"z"}, "other", c.domain);
    EXPECT_THAT(TheReason(model), HasSubstr(c.text));
  }
}

TEST(BlockedWeights, MayBeReadAsABiasOfTheSameOperator) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {4, 4});
  AddNode(*model.graph, "Gemm", {"x", "w", "w"}, {"y"}, "gemm");
  EXPECT_THAT(TheReason(model), HasSubstr("also read by Gemm 'gemm' as input 2"));
}

TEST(BlockedWeights, MayBeGraphOutputs) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {4, 6});
  AddNode(*model.graph, "Transpose", {"w"}, {"t"});
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"});
  AddOutput(*model.graph, "t");
  EXPECT_EQ(TheReason(model), "'t' is an output of the model");
}

TEST(BlockedWeights, MayBeCastToIntegersToo) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {4, 6});
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"});
  AddNode(*model.graph, "Cast", {"w"}, {"i"}, "round")
      .SetInt("to", static_cast<int64_t>(DType::kInt32));
  EXPECT_THAT(TheReason(model), HasSubstr("also read by Cast 'round'"));
}

TEST(BlockedWeights, WhenBothOperandsAreConstant) {
  Model model = NewModel();
  AddWeight(*model.graph, "a", {4, 6});
  AddWeight(*model.graph, "b", {6, 2});
  AddNode(*model.graph, "MatMul", {"a", "b"}, {"y"});
  EXPECT_EQ(TheReason(model), "both operands are constant");
}

TEST(BlockedWeights, WhenOnlyAOfAGemmIsConstant) {
  Model model = NewModel();
  AddWeight(*model.graph, "a", {4, 6});
  AddNode(*model.graph, "Gemm", {"a", "x"}, {"y"});
  EXPECT_THAT(TheReason(model), HasSubstr("only operand A"));
}

TEST(BlockedWeights, WhenTheTypeIsNotFloat) {
  Model model = NewModel();
  AddInitializer(*model.graph, Zeros("w", DType::kInt64, {4, 6}));
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"});
  EXPECT_THAT(TheReason(model), HasSubstr("int64"));
}

TEST(BlockedWeights, WhenRankOrGroupsDoNotFit) {
  struct Case {
    const char* op;
    Shape dims;
    int64_t group;
    const char* text;
  };
  for (const Case& c :
       {Case{"Conv", {4, 6}, 1, "rank 3 or more"}, Case{"Gemm", {2, 4, 6}, 1, "rank 2"},
        Case{"Conv", {4, 6, 3}, 3, "group = 3 does not divide"},
        Case{"Conv", {4, 6, 3}, 0, "group = 0 does not divide"},
        Case{"Conv", {0, 6, 3}, 1, "no elements"}}) {
    Model model = NewModel();
    AddWeight(*model.graph, "w", c.dims);
    AddNode(*model.graph, c.op, {"x", "w"}, {"y"}).SetInt("group", c.group);
    EXPECT_THAT(TheReason(model), HasSubstr(c.text));
  }
}

TEST(BlockedWeights, WhenATransposeDoesNotFit) {
  for (const std::vector<int64_t>& perm :
       {std::vector<int64_t>{0, 0}, {0, 2}, {0}, {-1, 0}, {1, 0, 2}}) {
    Model model = NewModel();
    AddWeight(*model.graph, "w", {4, 6});
    AddNode(*model.graph, "Transpose", {"w"}, {"t"}).SetInts("perm", perm);
    AddNode(*model.graph, "MatMul", {"x", "t"}, {"y"});
    EXPECT_THAT(TheReason(model), HasSubstr("does not fit"));
  }
}

TEST(BlockedWeights, WhenTheyAreComputed) {
  Model model = NewModel();
  AddWeight(*model.graph, "a", {4, 6});
  AddWeight(*model.graph, "scale", {6});
  AddNode(*model.graph, "Mul", {"a", "scale"}, {"w"}, "scaled");
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"});
  EXPECT_EQ(TheReason(model), "it is computed from constants by Mul 'scaled'");
}

TEST(BlockedWeights, WhenSparse) {
  Model model = NewModel();
  model.graph->sparse_initializers["w"] = Bytes();
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"});
  EXPECT_EQ(TheReason(model), "stored as a sparse initializer");
}

TEST(ContribOps, ArePassedThroughAndListed) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {4, 12});
  AddWeight(*model.graph, "b", {12});
  AddNode(*model.graph, "Attention", {"x", "w", "b"}, {"y"}, "attention", "com.microsoft");
  EXPECT_EQ(TheReason(model), "com.microsoft.Attention is passed through");
}

TEST(ContribOps, OfOtherDomainsAreNotListed) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {4, 12});
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"}, "own", "acme");
  EXPECT_THAT(FindWeights(model), IsEmpty());
}

// ---- Already quantized
// ------------------------------------------------------------------------------------------------------

TEST(QuantizedLayers, FedByDequantizeLinearAreListed) {
  for (const bool transposed : {false, true}) {
    Model model = NewModel();
    Graph& graph = *model.graph;
    AddInitializer(graph, Zeros("q", DType::kInt8, {4, 6}));
    AddWeight(graph, "s", {6});
    AddNode(graph, "DequantizeLinear", {"q", "s"}, {"d"});
    AddNode(graph, "Transpose", {"d"}, {"t"});
    AddNode(graph, "MatMul", {"x", transposed ? "t" : "d"}, {"y"}, "product");
    EXPECT_EQ(TheReason(model), "already quantized (int8)");
    EXPECT_EQ(FindWeights(model)[0].dtype, DType::kInt8);
  }
}

TEST(QuantizedLayers, InCastSubMulReshapeFormAreListed) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInitializer(graph, Zeros("q", DType::kUint4, {64, 2}));
  AddInitializer(graph, Zeros("z", DType::kUint4, {64, 1}));
  AddWeight(graph, "s", {64, 1});
  const int64_t to = static_cast<int64_t>(DType::kFloat);
  AddNode(graph, "Cast", {"q"}, {"qf"}).SetInt("to", to);
  AddNode(graph, "Cast", {"z"}, {"zf"}).SetInt("to", to);
  AddNode(graph, "Sub", {"qf", "zf"}, {"c"});
  AddNode(graph, "Mul", {"c", "s"}, {"m"});
  AddInitializer(graph, Tensor::FromInt64s("shape", {4}, std::vector<int64_t>{8, 4, 2, 2}));
  AddNode(graph, "Reshape", {"m", "shape"}, {"w"});
  AddNode(graph, "Conv", {"x", "w"}, {"y"}, "conv");
  EXPECT_EQ(TheReason(model), "already quantized (uint4)");
}

TEST(QuantizedLayers, OfFakeQuantizationAreListed) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddWeight(graph, "w", {4, 6});
  AddWeight(graph, "s", {});
  AddNode(graph, "QuantizeLinear", {"w", "s"}, {"q"});
  AddNode(graph, "DequantizeLinear", {"q", "s"}, {"d"});
  AddNode(graph, "MatMul", {"x", "d"}, {"y"});
  EXPECT_THAT(TheReason(model), HasSubstr("already quantized"));
}

TEST(QuantizedLayers, WithIntegerOperatorsAreListed) {
  struct Case {
    const char* op;
    const char* domain;
    int input;
  };
  for (const Case& c :
       {Case{"QLinearConv", "", 3}, Case{"QLinearMatMul", "", 3}, Case{"ConvInteger", "", 1},
        Case{"MatMulInteger", "", 1}, Case{"DynamicQuantizeMatMul", "com.microsoft", 1},
        Case{"QGemm", "com.microsoft", 3}, Case{"QAttention", "com.microsoft", 1},
        Case{"GatherBlockQuantized", "com.microsoft", 0}, Case{"UnheardOf", "com.microsoft", 2}}) {
    Model model = NewModel();
    AddInitializer(*model.graph, Zeros("q", DType::kInt8, {4, 6, 2, 2}));
    std::vector<std::string> inputs(c.input, "x");
    inputs.push_back("q");
    AddNode(*model.graph, c.op, inputs, {"y"}, "node", c.domain);
    EXPECT_EQ(TheReason(model), "already quantized (int8)") << c.op;
  }
}

TEST(QuantizedLayers, OfMatMulNBitsSayTheirBits) {
  Model model = NewModel();
  AddInitializer(*model.graph, Zeros("q", DType::kUint8, {6, 2, 8}));
  AddNode(*model.graph, "MatMulNBits", {"x", "q"}, {"y"}, "node", "com.microsoft")
      .SetInt("bits", 4);
  EXPECT_EQ(TheReason(model), "already quantized (4 bits)");
}

TEST(QuantizedLayers, OfRecurrentOpsAreListedTwice) {
  Model model = NewModel();
  AddInitializer(*model.graph, Zeros("w", DType::kInt8, {1, 5, 12}));
  AddInitializer(*model.graph, Zeros("r", DType::kInt8, {1, 3, 12}));
  AddNode(*model.graph, "DynamicQuantizeLSTM", {"x", "w", "r"}, {"y"}, "lstm", "com.microsoft");
  EXPECT_THAT(NamesOf(FindWeights(model)), ElementsAre("lstm.W", "lstm.R"));
}

TEST(QuantizedLayers, TablesAreListedWhenTheirRowsAreDequantized) {
  for (const char* next : {"DequantizeLinear", "Cast", "Neg"}) {
    Model model = NewModel();
    AddInitializer(*model.graph, Zeros("q", DType::kUint8, {9, 4}));
    AddNode(*model.graph, "Gather", {"q", "ids"}, {"rows"}, "embed");
    AddNode(*model.graph, next, {"rows", "s"}, {"y"}).SetInt("to", 1);
    if (std::string(next) == "Neg") {
      EXPECT_THAT(FindWeights(model), IsEmpty());
    } else {
      EXPECT_EQ(TheReason(model), "already quantized (uint8)") << next;
    }
  }
}

// ---- Names
// ------------------------------------------------------------------------------------------------------------------

TEST(WeightNames, AreUniqueAndStable) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  for (const char* name : {"a", "b", "c", "d", "e"}) AddWeight(graph, name, {4, 4});
  AddNode(graph, "MatMul", {"x", "a"}, {"1"});
  AddNode(graph, "MatMul", {"1", "b"}, {"2"}, "same");
  AddNode(graph, "MatMul", {"2", "c"}, {"3"}, "same");
  AddNode(graph, "MatMul", {"3", "d"}, {"4"}, "same#2");
  AddNode(graph, "MatMul", {"4", "e"}, {"5"}, "MatMul_0");
  const std::vector<std::string> names = NamesOf(FindWeights(model));
  EXPECT_THAT(names, ElementsAre("MatMul_0", "same", "same#2", "same#2#2", "MatMul_0#2"));
  EXPECT_EQ(NamesOf(FindWeights(model)), names);
}

TEST(HostileGraphs, WithCyclesAreSurvived) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddNode(graph, "Identity", {"b"}, {"a"});
  AddNode(graph, "Identity", {"a"}, {"b"});
  AddNode(graph, "Add", {"d", "d"}, {"c"});
  AddNode(graph, "Add", {"c", "c"}, {"d"});
  AddNode(graph, "MatMul", {"x", "a"}, {"y"});
  AddNode(graph, "MatMul", {"x", "c"}, {"z"});
  EXPECT_THAT(FindWeights(model), IsEmpty());
}

// ---- Values and selection
// ---------------------------------------------------------------------------------------------------

TEST(WeightValues, AreReadAndWrittenInTheSourcesType) {
  for (const DType dtype : {DType::kFloat, DType::kDouble, DType::kFloat16, DType::kBfloat16}) {
    Model model = NewModel();
    AddInitializer(*model.graph, Zeros("w", dtype, {2, 2}));
    AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"});
    const Weight weight = TheWeight(model);
    ASSERT_TRUE(WriteWeight(weight, {1, -0.5, 2, 0.25}).ok());
    EXPECT_EQ(SourceTensor(weight).dtype, dtype);
    EXPECT_THAT(ReadWeight(weight).value(), ElementsAre(1, -0.5, 2, 0.25));
  }
}

TEST(WeightValues, ThatAreNotFiniteAreRefusedByName) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    Model model = NewModel();
    AddInitializer(*model.graph, Tensor::FromFloats("w", {2, 2}, std::vector<float>{0, 1, bad, 3}));
    AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"}, "product");
    const auto values = ReadWeight(TheWeight(model));
    EXPECT_EQ(values.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(values.status().message()), HasSubstr("'product'"));
    EXPECT_THAT(std::string(values.status().message()), HasSubstr("element 2"));
  }
}

TEST(WeightValues, OfAnotherCountAreRefused) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {2, 2});
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"}, "product");
  EXPECT_EQ(WriteWeight(TheWeight(model), {1, 2, 3}).code(), absl::StatusCode::kInvalidArgument);
}

TEST(WeightValues, OfEntriesWithoutASourceAreRefused) {
  EXPECT_EQ(ReadWeight(Weight()).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(WriteWeight(Weight(), {}).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(Globs, MatchAsShellsDo) {
  struct Case {
    const char* pattern;
    const char* text;
    bool matches;
  };
  for (const Case& c : {Case{"*", "", true}, Case{"", "", true}, Case{"", "a", false},
                        Case{"conv*", "conv1.weight", true}, Case{"*.weight", "conv1.weight", true},
                        Case{"a*b*c", "aXbYbZc", true}, Case{"a*b*c", "aXbYbZ", false},
                        Case{"conv?", "conv1", true}, Case{"conv?", "conv12", false},
                        Case{"conv[12]", "conv2", true}, Case{"conv[!12]", "conv2", false},
                        Case{"conv[0-9]", "conv7", true}, Case{"conv[a-c]", "convd", false},
                        Case{"a[", "a[", true}, Case{"a[]]", "a]", true},
                        Case{"/enc*/MatMul_[0-9]*", "/encoder/layer.0/MatMul_12", true}}) {
    EXPECT_EQ(GlobMatch(c.pattern, c.text), c.matches) << c.pattern << " on " << c.text;
  }
}

TEST(Globs, AreNotExponential) {
  EXPECT_FALSE(GlobMatch(std::string(400, '*') + "a*a*a*a*a*a*a*b", std::string(20000, 'a')));
}

TEST(Selection, LooksAtLayerUseAndSourceNamesAndSkipWins) {
  Model model = NewModel();
  AddWeight(*model.graph, "embed.weight", {4, 4});
  AddNode(*model.graph, "MatMul", {"x", "embed.weight"}, {"a"}, "first");
  AddNode(*model.graph, "MatMul", {"a", "embed.weight"}, {"b"}, "second");
  const Weight weight = TheWeight(model);
  EXPECT_TRUE(Selected(weight, {}, {}));
  EXPECT_TRUE(Selected(weight, {"sec*"}, {}));
  EXPECT_TRUE(Selected(weight, {"*.weight"}, {}));
  EXPECT_FALSE(Selected(weight, {"third"}, {}));
  EXPECT_FALSE(Selected(weight, {"first"}, {"embed*"}));
}

}  // namespace
}  // namespace lathe::engine
