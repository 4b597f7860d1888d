// SmoothInputs and EqualizeChannels: what is moved from one side to the other changes no output.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/worker/engine/passes/pass_test_util.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/graph/verifier.h"
#include "worker/engine/passes/equalize_channels.h"
#include "worker/engine/passes/smooth_inputs.h"

namespace lathe::engine {
namespace {

using testing::AddInitializer;
using testing::AddInput;
using testing::AddNode;
using testing::AddOutput;
using testing::AddWeight;
using ::testing::Contains;
using testing::ExpectSame;
using testing::NewModel;
using ::testing::Not;
using testing::OpTypes;
using testing::RunPlainly;

float LargestOf(const Tensor& tensor, int64_t begin, int64_t count) {
  const std::vector<float> values = *tensor.ToFloats();
  float largest = 0;
  for (int64_t i = begin; i < begin + count; ++i) {
    largest = std::max(largest, std::abs(values[static_cast<size_t>(i)]));
  }
  return largest;
}

absl::StatusOr<Smoothed> Smooth(Model& model, const std::string& input, int64_t channels) {
  const std::vector<Weight> weights = FindWeights(model);
  std::vector<float> largest(static_cast<size_t>(channels), 1.0f);
  largest[1] = 100;  // an outlier
  largest[2] = 0;    // never seen
  return SmoothInputs(model, weights, FindIntegerUnits(model, weights), {{input, largest}}, 0.5);
}

TEST(SmoothInputsTest, ProductsOfOneInputShareAMul) {
  Model model = NewModel(13);
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddWeight(graph, "a", {4, 6});
  AddWeight(graph, "b", {5, 4});
  AddNode(graph, "MatMul", {"x", "a"}, {"y"});
  AddNode(graph, "Gemm", {"x", "b"}, {"z"}).SetInt("transB", 1);
  AddOutput(graph, "y");
  AddOutput(graph, "z");
  const std::vector<float> wanted = RunPlainly(model, {{"x", {3, 4}}});
  const auto smoothed = Smooth(model, "x", 4);
  ASSERT_TRUE(smoothed.ok()) << smoothed.status();
  EXPECT_EQ(smoothed->inputs, 1);
  EXPECT_EQ(smoothed->folded, 0);
  ASSERT_TRUE(VerifyModel(model).ok());
  EXPECT_EQ(std::count_if(graph.nodes.begin(), graph.nodes.end(),
                          [](const auto& node) { return node->Is("Mul"); }),
            1);
  ExpectSame(wanted, RunPlainly(model, {{"x", {3, 4}}}));
  // The outlier's weights grew against the others.
  EXPECT_GT(LargestOf(graph.initializers.at("a"), 6, 6),
            2 * LargestOf(graph.initializers.at("a"), 0, 6));
}

// scale and shift behind a Tanh, as a normalization ends; read by the product alone, or by another
// reader too.
Model AfterNorm(bool another) {
  Model model = NewModel(13);
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddNode(graph, "Tanh", {"x"}, {"t"});
  AddWeight(graph, "scale", {4});
  AddWeight(graph, "shift", {4});
  AddNode(graph, "Mul", {"t", "scale"}, {"m"});
  AddNode(graph, "Add", {"shift", "m"}, {"n"});
  AddWeight(graph, "w", {4, 6});
  AddNode(graph, "MatMul", {"n", "w"}, {"y"});
  AddOutput(graph, "y");
  if (another) {
    AddNode(graph, "Neg", {"n"}, {"z"});
    AddOutput(graph, "z");
  }
  return model;
}

TEST(SmoothInputsTest, ANormalizationTakesTheFactorsInWhereNothingElseReadsIt) {
  for (const bool another : {false, true}) {
    Model model = AfterNorm(another);
    const std::vector<float> wanted = RunPlainly(model, {{"x", {3, 4}}});
    const auto smoothed = Smooth(model, "n", 4);
    ASSERT_TRUE(smoothed.ok()) << smoothed.status();
    EXPECT_EQ(smoothed->inputs, 1);
    EXPECT_EQ(smoothed->folded, another ? 0 : 1);
    ASSERT_TRUE(VerifyModel(model).ok());
    ExpectSame(wanted, RunPlainly(model, {{"x", {3, 4}}}));
  }
}

TEST(SmoothInputsTest, AWeightThatAnotherInputMeetsIsLeftAlone) {
  Model model = NewModel(13);
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddNode(graph, "Neg", {"x"}, {"n"});
  AddWeight(graph, "w", {4, 6});
  AddNode(graph, "MatMul", {"x", "w"}, {"y"});
  AddNode(graph, "MatMul", {"n", "w"}, {"z"});
  AddOutput(graph, "y");
  AddOutput(graph, "z");
  const auto smoothed = Smooth(model, "x", 4);
  ASSERT_TRUE(smoothed.ok());
  EXPECT_EQ(smoothed->inputs, 0);
}

struct Chain {
  const char* what;
  Shape first;
  Shape second;
  const char* between;  // an operator, or ""
  int64_t groups;       // of the second
  int64_t pairs;        // that can be equalized
};

TEST(EqualizeChannelsTest, EvensOutWhatLiesBetweenTwoLayers) {
  const Chain chains[] = {
      {"convolutions", {6, 3, 3, 3}, {5, 6, 1, 1}, "", 1, 1},
      {"with a Relu between", {6, 3, 3, 3}, {5, 6, 3, 3}, "Relu", 1, 1},
      {"then a depthwise one", {6, 3, 1, 1}, {6, 1, 3, 3}, "Relu", 6, 1},
      {"a Tanh bends", {6, 3, 3, 3}, {5, 6, 1, 1}, "Tanh", 1, 0},
      {"groups of several", {6, 3, 3, 3}, {4, 3, 1, 1}, "", 2, 0},
  };
  for (const Chain& c : chains) {
    Model model = NewModel(13);
    Graph& graph = *model.graph;
    AddInput(graph, "x");
    AddWeight(graph, "w1", c.first);
    AddWeight(graph, "b1", {c.first[0]});
    AddWeight(graph, "w2", c.second);
    AddNode(graph, "Conv", {"x", "w1", "b1"}, {"t"}, "first");
    std::string between = "t";
    if (*c.between != '\0') {
      AddNode(graph, c.between, {"t"}, {"u"});
      between = "u";
    }
    AddNode(graph, "Conv", {between, "w2"}, {"y"}, "second").SetInt("group", c.groups);
    AddOutput(graph, "y");
    // Channel 2 of the first is far louder than the others.
    std::vector<float> w1 = *graph.initializers.at("w1").ToFloats();
    const size_t inner = w1.size() / static_cast<size_t>(c.first[0]);
    for (size_t i = 0; i < inner; ++i) w1[2 * inner + i] *= 50;
    AddInitializer(graph, Tensor::FromFloats("w1", c.first, w1));
    const Shape x = {1, 3, 8, 8};
    const std::vector<float> wanted = RunPlainly(model, {{"x", x}});
    const std::vector<Weight> weights = FindWeights(model);
    const auto pairs = EqualizeChannels(model, weights, FindIntegerUnits(model, weights));
    ASSERT_TRUE(pairs.ok()) << pairs.status();
    EXPECT_EQ(*pairs, c.pairs) << c.what;
    ExpectSame(wanted, RunPlainly(model, {{"x", x}}));
    const Tensor& after = graph.initializers.at("w1");
    const auto loud = static_cast<int64_t>(2 * inner);
    const float ratio = LargestOf(after, loud, static_cast<int64_t>(inner)) /
                        LargestOf(after, 0, static_cast<int64_t>(inner));
    if (c.pairs == 0) {
      EXPECT_GT(ratio, 20) << c.what;
    } else {
      EXPECT_LT(ratio, 20) << c.what;  // the root of 50, and what the other weights differ by
    }
  }
}

}  // namespace
}  // namespace lathe::engine
