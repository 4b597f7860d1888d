#include "worker/engine/passes/fold_batch_norm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/unit/worker/engine/passes/pass_test_util.h"

namespace lathe::engine {
namespace {

using testing::AddInitializer;
using testing::AddInput;
using testing::AddNode;
using testing::AddOutput;
using testing::AddWeight;
using ::testing::ElementsAre;
using testing::NewModel;
using testing::OpTypes;

void AddNorm(Graph& graph, int64_t channels, const std::string& x) {
  for (const char* name : {"scale", "bias", "mean"}) AddWeight(graph, name, {channels});
  std::vector<float> var = testing::Values(channels);
  for (float& value : var) value += 1;  // a variance is positive
  AddInitializer(graph, Tensor::FromFloats("var", {channels}, var));
  AddNode(graph, "BatchNormalization", {x, "scale", "bias", "mean", "var"}, {"y"}, "norm");
  AddOutput(graph, "y");
}

// layer -> norm
Model LayerThenNorm(const std::string& op, const Shape& weights, int64_t channels, bool bias,
                    const std::function<void(Node&)>& change = nullptr) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddWeight(graph, "w", weights);
  std::vector<std::string> inputs = {"x", "w"};
  if (bias) {
    AddWeight(graph, "b", {channels});
    inputs.push_back("b");
  }
  Node& layer = AddNode(graph, op, inputs, {"t"}, "layer");
  if (change) change(layer);
  AddNorm(graph, channels, "t");
  return model;
}

TEST(FoldBatchNormTest, TheWeightsTakeItIn) {
  struct Case {
    const char* what;
    Model model;
    Shape x;
  };
  const auto groups = [](Node& node) { node.SetInt("group", 2); };
  Case cases[] = {
      {"Conv", LayerThenNorm("Conv", {6, 4, 3, 3}, 6, true), {2, 4, 7, 5}},
      {"Conv in groups, without bias",
       LayerThenNorm("Conv", {6, 2, 3}, 6, false, groups),
       {2, 4, 9}},
      {"ConvTranspose", LayerThenNorm("ConvTranspose", {4, 6, 3, 3}, 6, true), {2, 4, 5, 5}},
      {"ConvTranspose in groups",
       LayerThenNorm("ConvTranspose", {4, 3, 3, 3}, 6, false, groups),
       {2, 4, 5, 5}},
      {"Gemm", LayerThenNorm("Gemm", {4, 6}, 6, true), {5, 4}},
      {"Gemm of transposed weights",
       LayerThenNorm("Gemm", {6, 4}, 6, true, [](Node& node) { node.SetInt("transB", 1); }),
       {5, 4}},
  };
  for (Case& c : cases) {
    SCOPED_TRACE(c.what);
    const std::vector<float> before = testing::RunPlainly(c.model, {{"x", c.x}});
    ForEachView(c.model, FoldBatchNorm);
    ASSERT_EQ(c.model.graph->nodes.size(), 1u);
    EXPECT_EQ(c.model.graph->nodes[0]->outputs[0], "y");
    EXPECT_EQ(c.model.graph->initializers.size(), 2u);
    testing::ExpectSame(before, testing::RunPlainly(c.model, {{"x", c.x}}));
  }
}

TEST(FoldBatchNormTest, APreconditionThatFailsLeavesBoth) {
  struct Case {
    const char* what;
    std::function<void(Model&)> change;
  };
  const Case cases[] = {
      {"another reader",
       [](Model& m) {
         AddNode(*m.graph, "Relu", {"t"}, {"z"});
         AddOutput(*m.graph, "z");
       }},
      {"an output of the graph", [](Model& m) { AddOutput(*m.graph, "t"); }},
      {"training", [](Model& m) { m.graph->nodes[1]->SetInt("training_mode", 1); }},
      {"weights that are no constant",
       [](Model& m) {
         m.graph->initializers.erase("w");
         AddInput(*m.graph, "w");
       }},
      {"a variance that is no constant",
       [](Model& m) {
         m.graph->initializers.erase("var");
         AddInput(*m.graph, "var");
       }},
      {"a bias that is no constant",
       [](Model& m) {
         m.graph->initializers.erase("b");
         AddInput(*m.graph, "b");
       }},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    Model model = LayerThenNorm("Conv", {6, 4, 3, 3}, 6, true);
    c.change(model);
    const size_t nodes = model.graph->nodes.size();
    ForEachView(model, FoldBatchNorm);
    EXPECT_EQ(model.graph->nodes.size(), nodes);
  }
}

TEST(FoldBatchNormTest, AGemmWithFactorsStays) {
  Model model = LayerThenNorm("Gemm", {4, 6}, 6, true, [](Node& n) { n.SetFloat("beta", 0.5f); });
  ForEachView(model, FoldBatchNorm);
  EXPECT_THAT(OpTypes(*model.graph), ElementsAre("Gemm", "BatchNormalization"));
}

}  // namespace
}  // namespace lathe::engine
