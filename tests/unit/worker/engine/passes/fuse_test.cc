// The fusing passes: fuse_activation, fuse_product, fuse_pattern.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/unit/worker/engine/passes/pass_test_util.h"
#include "worker/engine/passes/fuse_activation.h"
#include "worker/engine/passes/fuse_pattern.h"
#include "worker/engine/passes/fuse_product.h"

namespace lathe::engine {
namespace {

using testing::AddInitializer;
using testing::AddInput;
using testing::AddNode;
using testing::AddOutput;
using testing::AddWeight;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using testing::NewModel;
using testing::OpTypes;

using Shapes = std::map<std::string, Shape>;

struct Case {
  const char* what;
  std::function<void(Graph&)> build;  // from "x" (and "z", when `shapes` has it) to "y"
  Shapes shapes;
  std::vector<std::string> after;  // operators
};

Model Build(const Case& c) {
  Model model = NewModel();
  for (const auto& [name, dims] : c.shapes) AddInput(*model.graph, name);
  c.build(*model.graph);
  AddOutput(*model.graph, "y");
  return model;
}

void Check(const std::vector<Case>& cases, void (*pass)(GraphView&)) {
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    Model model = Build(c);
    const std::vector<float> before = testing::RunPlainly(model, c.shapes);
    ForEachView(model, pass);
    EXPECT_THAT(OpTypes(*model.graph), ElementsAreArray(c.after));
    testing::ExpectSame(before, testing::RunPlainly(model, c.shapes));
    // A second time there is nothing left to do.
    const std::vector<std::string> ops = OpTypes(*model.graph);
    ForEachView(model, pass);
    EXPECT_EQ(OpTypes(*model.graph), ops);
  }
}

void Scalar(Graph& graph, const std::string& name, float value) {
  AddInitializer(graph, Tensor::FromFloats(name, {}, std::vector<float>{value}));
}

void AddConv(Graph& graph, const std::string& output = "c") {
  AddWeight(graph, "w", {16, 8, 3, 3});
  AddWeight(graph, "b", {16});
  AddNode(graph, "Conv", {"x", "w", "b"}, {output});
}

// A layer followed by one node.
std::function<void(Graph&)> ConvThen(const std::string& op,
                                     const std::function<void(Node&)>& change = nullptr) {
  return [=](Graph& graph) {
    AddConv(graph);
    Node& node = AddNode(graph, op, {"c"}, {"y"});
    if (change) change(node);
  };
}

TEST(FuseActivationsTest, ActivationsAndSumsGoIntoTheConvolution) {
  const Shape image = {2, 8, 7, 6};
  const Shape result = {2, 16, 5, 4};
  const auto alpha = [](float value) {
    return [value](Node& node) { node.SetFloat("alpha", value); };
  };
  Check({{"Relu", ConvThen("Relu"), {{"x", image}}, {"Conv"}},
         {"LeakyRelu", ConvThen("LeakyRelu", alpha(0.3f)), {{"x", image}}, {"Conv"}},
         {"Elu", ConvThen("Elu", alpha(0.7f)), {{"x", image}}, {"Conv"}},
         {"Sigmoid", ConvThen("Sigmoid"), {{"x", image}}, {"Conv"}},
         {"Tanh", ConvThen("Tanh"), {{"x", image}}, {"Conv"}},
         {"HardSigmoid", ConvThen("HardSigmoid"), {{"x", image}}, {"Conv"}},
         {"HardSwish", ConvThen("HardSwish"), {{"x", image}}, {"Conv"}},
         {"Clip",
          [](Graph& g) {
            AddConv(g);
            Scalar(g, "low", -0.5f);
            Scalar(g, "high", 1.5f);
            AddNode(g, "Clip", {"c", "low", "high"}, {"y"});
          },
          {{"x", image}},
          {"Conv"}},
         {"x Sigmoid(x)",
          [](Graph& g) {
            AddConv(g);
            AddNode(g, "Sigmoid", {"c"}, {"s"});
            AddNode(g, "Mul", {"s", "c"}, {"y"});
          },
          {{"x", image}},
          {"Conv"}},
         {"a sum, then Relu",
          [](Graph& g) {
            AddConv(g);
            AddNode(g, "Add", {"z", "c"}, {"s"});
            AddNode(g, "Relu", {"s"}, {"y"});
          },
          {{"x", image}, {"z", result}},
          {"Conv"}},
         {"a sum with something that broadcasts",
          [](Graph& g) {
            AddConv(g);
            AddNode(g, "Add", {"c", "z"}, {"s"});
            AddNode(g, "Relu", {"s"}, {"y"});
          },
          {{"x", image}, {"z", {16, 1, 1}}},
          {"Conv"}},
         {"a sum that is larger than the result",
          [](Graph& g) {
            AddConv(g);
            AddNode(g, "Add", {"c", "z"}, {"y"});
          },
          {{"x", {1, 8, 3, 3}}, {"z", {3, 16, 2, 2}}},
          {"Conv"}},
         {"a constant of one number a channel",
          [](Graph& g) {
            AddConv(g);
            AddWeight(g, "k", {16, 1, 1});
            AddNode(g, "Add", {"c", "k"}, {"s"});
            AddNode(g, "Relu", {"s"}, {"y"});
          },
          {{"x", image}},
          {"Conv"}},
         {"Gemm and Relu",
          [](Graph& g) {
            AddWeight(g, "w", {4, 6});
            AddNode(g, "Gemm", {"x", "w"}, {"c"});
            AddNode(g, "Relu", {"c"}, {"y"});
          },
          {{"x", {3, 4}}},
          {"Gemm"}}},
        FuseActivations);
}

TEST(FuseActivationsTest, APreconditionThatFailsLeavesThem) {
  const Shape image = {1, 8, 5, 5};
  Check({{"the layer's output is read by others",
          [](Graph& g) {
            AddConv(g);
            AddNode(g, "Relu", {"c"}, {"r"});
            AddNode(g, "Tanh", {"c"}, {"t"});
            AddNode(g, "Add", {"r", "t"}, {"y"});
          },
          {{"x", image}},
          {"Conv", "Relu", "Tanh", "Add"}},
         {"the layer's output is the graph's",
          [](Graph& g) {
            AddConv(g);
            AddNode(g, "Relu", {"c"}, {"y"});
            AddOutput(g, "c");
          },
          {{"x", image}},
          {"Conv", "Relu"}},
         {"the sum of a value with itself",
          [](Graph& g) {
            AddConv(g);
            AddNode(g, "Add", {"c", "c"}, {"y"});
          },
          {{"x", image}},
          {"Conv", "Add"}},
         {"bounds that are no constants",
          [](Graph& g) {
            AddConv(g);
            AddNode(g, "Clip", {"c", "z"}, {"y"});
          },
          {{"x", image}, {"z", {}}},
          {"Conv", "Clip"}},
         {"a product of operands of unknown type",
          [](Graph& g) {
            AddNode(g, "MatMul", {"x", "z"}, {"c"});
            AddNode(g, "Relu", {"c"}, {"y"});
          },
          {{"x", {2, 3}}, {"z", {3, 2}}},
          {"MatMul", "Relu"}}},
        FuseActivations);
}

TEST(FuseProductsTest, WhatStandsAroundAProductGoesIntoIt) {
  Check({{"a bias",
          [](Graph& g) {
            AddWeight(g, "w", {4, 6});
            AddWeight(g, "b", {6});
            AddNode(g, "MatMul", {"x", "w"}, {"c"});
            AddNode(g, "Add", {"b", "c"}, {"y"});
          },
          {{"x", {2, 3, 4}}},
          {"MatMul"}},
         {"a transposed operand and a divisor",
          [](Graph& g) {
            AddNode(g, "Transpose", {"z"}, {"t"}).SetInts("perm", {0, 2, 1});
            AddNode(g, "MatMul", {"x", "t"}, {"c"});
            Scalar(g, "d", 3.0f);
            AddNode(g, "Div", {"c", "d"}, {"y"});
          },
          {{"x", {2, 3, 4}}, {"z", {2, 5, 4}}},
          {"MatMul"}},
         {"a Transpose that moves other axes too",
          [](Graph& g) {
            AddNode(g, "Transpose", {"z"}, {"t"}).SetInts("perm", {0, 2, 3, 1});
            AddNode(g, "MatMul", {"x", "t"}, {"y"});
          },
          {{"x", {2, 3, 5, 4}}, {"z", {2, 6, 3, 4}}},
          {"Transpose", "MatMul"}}},
        FuseProducts);
}

TEST(FuseProductsTest, APreconditionThatFailsLeavesThem) {
  Check({{"a bias that broadcasts otherwise",
          [](Graph& g) {
            AddWeight(g, "w", {4, 6});
            AddWeight(g, "b", {3, 1});
            AddNode(g, "MatMul", {"x", "w"}, {"c"});
            AddNode(g, "Add", {"c", "b"}, {"y"});
          },
          {{"x", {3, 4}}},
          {"MatMul", "Add"}},
         {"a divisor that is divided",
          [](Graph& g) {
            AddWeight(g, "w", {4, 6});
            Scalar(g, "d", 3.0f);
            AddNode(g, "MatMul", {"x", "w"}, {"c"});
            AddNode(g, "Div", {"d", "c"}, {"y"});
          },
          {{"x", {3, 4}}},
          {"MatMul", "Div"}},
         {"a transposed value with another reader",
          [](Graph& g) {
            AddNode(g, "Transpose", {"z"}, {"t"}).SetInts("perm", {1, 0});
            AddNode(g, "MatMul", {"x", "t"}, {"c"});
            AddNode(g, "MatMul", {"c", "z"}, {"d"});
            AddNode(g, "MatMul", {"d", "t"}, {"y"});
          },
          {{"x", {3, 4}}, {"z", {5, 4}}},
          {"Transpose", "MatMul", "MatMul", "MatMul"}}},
        FuseProducts);
}

void ErfGelu(Graph& g, float half) {
  Scalar(g, "root", 1.41421356f);
  Scalar(g, "one", 1.0f);
  Scalar(g, "half", half);
  AddNode(g, "Div", {"x", "root"}, {"a"});
  AddNode(g, "Erf", {"a"}, {"e"});
  AddNode(g, "Add", {"e", "one"}, {"s"});
}

TEST(FuseGeluTest, EveryOrderOfItsProductsIsFound) {
  Check({{"(x s) 0.5",
          [](Graph& g) {
            ErfGelu(g, 0.5f);
            AddNode(g, "Mul", {"x", "s"}, {"p"});
            AddNode(g, "Mul", {"p", "half"}, {"y"});
          },
          {{"x", {2, 5}}},
          {"Gelu"}},
         {"(x 0.5) s",
          [](Graph& g) {
            ErfGelu(g, 0.5f);
            AddNode(g, "Mul", {"x", "half"}, {"p"});
            AddNode(g, "Mul", {"p", "s"}, {"y"});
          },
          {{"x", {2, 5}}},
          {"Gelu"}},
         {"x (s 0.5)",
          [](Graph& g) {
            ErfGelu(g, 0.5f);
            AddNode(g, "Mul", {"s", "half"}, {"p"});
            AddNode(g, "Mul", {"x", "p"}, {"y"});
          },
          {{"x", {2, 5}}},
          {"Gelu"}},
         {"another factor",
          [](Graph& g) {
            ErfGelu(g, 0.25f);
            AddNode(g, "Mul", {"x", "s"}, {"p"});
            AddNode(g, "Mul", {"p", "half"}, {"y"});
          },
          {{"x", {2, 5}}},
          {"Div", "Erf", "Add", "Mul", "Mul"}}},
        FuseGelu);
}

void WrittenOutNorm(Graph& g, const std::vector<int64_t>& axes) {
  Scalar(g, "two", 2.0f);
  Scalar(g, "epsilon", 1e-5f);
  AddWeight(g, "scale", {6});
  AddWeight(g, "bias", {6});
  AddNode(g, "ReduceMean", {"x"}, {"m"}).SetInts("axes", axes);
  AddNode(g, "Sub", {"x", "m"}, {"d"});
  AddNode(g, "Pow", {"d", "two"}, {"q"});
  AddNode(g, "ReduceMean", {"q"}, {"v"}).SetInts("axes", axes);
  AddNode(g, "Add", {"v", "epsilon"}, {"e"});
  AddNode(g, "Sqrt", {"e"}, {"r"});
  AddNode(g, "Div", {"d", "r"}, {"n"});
  AddNode(g, "Mul", {"n", "scale"}, {"t"});
  AddNode(g, "Add", {"t", "bias"}, {"y"});
}

TEST(FuseLayerNormTest, TheWrittenOutFormIsFound) {
  Check({{"over the last axis",
          [](Graph& g) { WrittenOutNorm(g, {-1}); },
          {{"x", {2, 3, 6}}},
          {"LayerNormalization"}},
         {"over another axis",
          [](Graph& g) { WrittenOutNorm(g, {1}); },
          {{"x", {2, 3, 6}}},
          {"ReduceMean", "Sub", "Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul", "Add"}},
         {"with another reader of the deviation",
          [](Graph& g) {
            WrittenOutNorm(g, {-1});
            g.nodes.back()->outputs[0] = "u";
            AddNode(g, "Add", {"u", "d"}, {"y"});
          },
          {{"x", {2, 3, 6}}},
          {"ReduceMean", "Sub", "Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul", "Add", "Add"}}},
        FuseLayerNorm);
}

}  // namespace
}  // namespace lathe::engine
