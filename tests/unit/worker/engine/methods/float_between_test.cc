#include "worker/engine/methods/float_between.h"

#include <gtest/gtest.h>

#include "tests/support/graph_builder.h"

namespace lathe::engine {
namespace {

using testing::AddInput;
using testing::AddNode;
using testing::AddOutput;
using testing::AddWeight;
using testing::NewModel;

// x -> Conv -> `op` -> Conv -> y, with a product of two activations and a Tanh off the way.
Model Between(const std::string& op) {
  Model model = NewModel(21);
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddInput(graph, "k");
  AddWeight(graph, "w", {4, 4, 1, 1});
  AddWeight(graph, "w2", {4, 4, 1, 1});
  AddNode(graph, "Conv", {"x", "w"}, {"a"});
  AddNode(graph, op, {"a"}, {"b"});
  AddNode(graph, "Conv", {"b", "w2"}, {"y"});
  AddNode(graph, "MatMul", {"y", "k"}, {"z"});
  AddNode(graph, "Tanh", {"k"}, {"t"});
  AddOutput(graph, "z");
  AddOutput(graph, "t");
  return model;
}

std::string Told(const std::string& op, UnitForm form) {
  Model model = Between(op);
  const std::vector<Weight> weights = FindWeights(model);
  const std::vector<IntegerUnit> units = FindIntegerUnits(model, weights);
  return FloatBetween(model, units, std::vector<UnitForm>(units.size(), form));
}

TEST(FloatBetweenTest, OperatorsWithoutAKernelAndProductsOfActivationsAreCounted) {
  EXPECT_EQ(Told("HardSwish", UnitForm::kStatic),
            "1 HardSwish (ONNX Runtime has no 8-bit kernel for them), 1 products of two "
            "activations (8 bits gain little there)");
}

TEST(FloatBetweenTest, WhatIsInIntegersItselfIsNot) {
  EXPECT_EQ(Told("Sigmoid", UnitForm::kStatic),
            "1 products of two activations (8 bits gain little there)");
}

TEST(FloatBetweenTest, AFloatModelHasNothingToTell) {
  EXPECT_EQ(Told("HardSwish", UnitForm::kFloat), "");
}

}  // namespace
}  // namespace lathe::engine
