#include "worker/engine/passes/inline_functions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include "tests/support/graph_builder.h"
#include "worker/engine/graph/layers.h"

namespace lathe::engine {
namespace {

using namespace lathe::engine::testing;  // NOLINT: the builder's words
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// An attribute of a body's node that stands for attribute `referred` of the call.
Attribute Reference(const std::string& name, const std::string& referred, Attribute::Kind kind) {
  onnx::AttributeProto proto;
  proto.set_ref_attr_name(referred);
  Attribute attribute;
  attribute.name = name;
  attribute.kind = kind;
  attribute.extra = proto.SerializePartialAsString();
  return attribute;
}

// FunctionProto.attribute_proto (field 11) holding one integer default.
std::string DefaultInt(const std::string& name, int64_t value) {
  onnx::AttributeProto proto;
  proto.set_name(name);
  proto.set_type(onnx::AttributeProto::INT);
  proto.set_i(value);
  const std::string bytes = proto.SerializeAsString();
  return std::string("\x5a", 1) + static_cast<char>(bytes.size()) + bytes;
}

// y = Linear(x, w, b) = MatMul(x, w) + b.
Function& AddLinear(Model& model) {
  Function& function = AddFunction(model, "Linear", {"X", "W", "B"}, {"Y"});
  AddNode(*function.body, "MatMul", {"X", "W"}, {"t"}, "product");
  AddNode(*function.body, "Add", {"t", "B"}, {"Y"}, "sum");
  return function;
}

Model TwoLinearCalls() {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddOutput(graph, "y");
  AddWeight(graph, "w1", {4, 6});
  AddWeight(graph, "w2", {6, 2});
  AddWeight(graph, "b1", {6});
  AddWeight(graph, "b2", {2});
  AddNode(graph, "Linear", {"x", "w1", "b1"}, {"h"}, "fc1", "local");
  AddNode(graph, "Linear", {"h", "w2", "b2"}, {"y"}, "fc2", "local");
  AddLinear(model);
  return model;
}

TEST(InlineFunctions, GivesEveryCallItsOwnLayer) {
  Model model = TwoLinearCalls();
  std::vector<std::string> notes;
  ASSERT_TRUE(InlineFunctions(model, &notes).ok());
  EXPECT_THAT(OpTypes(*model.graph), ElementsAre("MatMul", "Add", "MatMul", "Add"));
  EXPECT_THAT(model.functions, IsEmpty());
  const Node& first = *model.graph->nodes[0];
  EXPECT_EQ(first.name, "fc1/product");
  EXPECT_THAT(first.inputs, ElementsAre("x", "w1"));
  EXPECT_THAT(model.graph->nodes[1]->inputs, ElementsAre(first.outputs[0], "b1"));
  EXPECT_THAT(model.graph->nodes[3]->outputs, ElementsAre("y"));
  EXPECT_NE(first.outputs[0], model.graph->nodes[2]->outputs[0]);
  const std::vector<Weight> weights = FindWeights(model);
  ASSERT_THAT(weights, SizeIs(2));
  EXPECT_EQ(weights[0].name, "fc1/product");
  EXPECT_EQ(weights[0].blocked_reason, "");
  EXPECT_THAT(notes, ElementsAre(HasSubstr("inlined 2 calls of function local::Linear")));
}

TEST(InlineFunctions, DoesNothingTheSecondTime) {
  Model model = TwoLinearCalls();
  ASSERT_TRUE(InlineFunctions(model, nullptr).ok());
  const std::vector<std::string> before = OpTypes(*model.graph);
  std::vector<std::string> notes;
  ASSERT_TRUE(InlineFunctions(model, &notes).ok());
  EXPECT_EQ(OpTypes(*model.graph), before);
  EXPECT_THAT(notes, IsEmpty());
}

TEST(InlineFunctions, FollowsParametersThroughNestedCallsAndSubgraphs) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddWeight(graph, "w", {4, 4});
  Node& branch = AddNode(graph, "If", {"c"}, {"y"}, "if");
  AddNode(AddSubgraph(graph, branch, "then_branch"), "Outer", {"x", "w"}, {"o"}, "call", "local");
  AddNode(*AddFunction(model, "Outer", {"X", "W"}, {"Y"}).body, "Inner", {"W", "X"}, {"Y"}, "in",
          "local");
  Function& inner = AddFunction(model, "Inner", {"P", "Q"}, {"R"});
  AddNode(*inner.body, "Identity", {"P"}, {"p"}, "id");
  AddNode(*inner.body, "MatMul", {"Q", "p"}, {"R"}, "product");
  ASSERT_TRUE(InlineFunctions(model, nullptr).ok());
  EXPECT_THAT(model.functions, IsEmpty());
  const std::vector<Weight> weights = FindWeights(model);
  ASSERT_THAT(weights, SizeIs(1));
  EXPECT_EQ(weights[0].name, "call/in/product");
  EXPECT_EQ(weights[0].source.graph, &graph);
  EXPECT_EQ(weights[0].blocked_reason, "");
}

TEST(InlineFunctions, LeavesFunctionsWhoseWeightsAreTheirOwn) {
  Model model = NewModel();
  AddInput(*model.graph, "x");
  AddNode(*model.graph, "Block", {"x"}, {"y"}, "call", "local");
  Function& function = AddFunction(model, "Block", {"X"}, {"Y"});
  AddConstantNode(*function.body, Floats("w", {4, 6}));
  AddNode(*function.body, "MatMul", {"X", "w"}, {"Y"}, "product");
  ASSERT_TRUE(InlineFunctions(model, nullptr).ok());
  EXPECT_THAT(OpTypes(*model.graph), ElementsAre("Block"));
  EXPECT_THAT(model.functions, SizeIs(1));
}

TEST(InlineFunctions, ResolvesAttributeReferencesToCallThenDefaultThenNothing) {
  for (const int with : {0, 1, 2}) {  // nothing, a default, a default and the call's
    Model model = NewModel();
    AddWeight(*model.graph, "w", {4, 4});
    Node& call = AddNode(*model.graph, "Dense", {"x", "w"}, {"y"}, "call", "local");
    Function& function = AddFunction(model, "Dense", {"X", "W"}, {"Y"});
    Node& gemm = AddNode(*function.body, "Gemm", {"X", "W"}, {"Y"}, "gemm");
    gemm.attributes.push_back(Reference("transB", "transposed", Attribute::Kind::kInt));
    if (with >= 1) function.extra = DefaultInt("transposed", 7);
    if (with == 2) call.SetInt("transposed", 1);
    ASSERT_TRUE(InlineFunctions(model, nullptr).ok());
    ASSERT_THAT(OpTypes(*model.graph), ElementsAre("Gemm"));
    const int64_t expected[] = {-1, 7, 1};
    EXPECT_EQ(model.graph->nodes[0]->IntAttribute("transB", -1), expected[with]);
  }
}

TEST(InlineFunctions, ResolvesReferencesAndCapturesInSubgraphsOfTheBody) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {4, 4});
  AddWeight(*model.graph, "t", {4, 4});  // the name of a value inside the body
  AddNode(*model.graph, "Maybe", {"c", "x", "w"}, {"y"}, "call", "local").SetInt("flag", 1);
  Function& function = AddFunction(model, "Maybe", {"C", "X", "W"}, {"Y"});
  Node& branch = AddNode(*function.body, "If", {"C"}, {"Y"}, "if");
  Graph& then_branch = AddSubgraph(*function.body, branch, "then_branch");
  AddNode(then_branch, "Gemm", {"X", "W"}, {"t"}, "gemm")
      .attributes.push_back(Reference("transB", "flag", Attribute::Kind::kInt));
  AddOutput(then_branch, "t");
  ASSERT_TRUE(InlineFunctions(model, nullptr).ok());
  ASSERT_THAT(OpTypes(*model.graph), ElementsAre("If"));
  Graph& copied = *model.graph->nodes[0]->attributes[0].graphs[0];
  EXPECT_EQ(copied.parent, model.graph.get());
  const Node& gemm = *copied.nodes.at(0);
  EXPECT_EQ(gemm.IntAttribute("transB", 0), 1);
  EXPECT_THAT(gemm.inputs, ElementsAre("x", "w"));
  EXPECT_NE(gemm.outputs[0], "t");
  EXPECT_EQ(copied.outputs[0].name, gemm.outputs[0]);
}

TEST(InlineFunctions, KeepsLargeConstantsOfTheBodyOnce) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddWeight(graph, "w", {32, 32});
  AddNode(graph, "Two", {"x", "w"}, {"a"}, "one", "local");
  AddNode(graph, "Two", {"a", "w"}, {"y"}, "two", "local");
  Function& function = AddFunction(model, "Two", {"X", "W"}, {"Y"});
  AddConstantNode(*function.body, Floats("own", {32, 32}));
  AddNode(*function.body, "MatMul", {"X", "W"}, {"t"}, "first");
  AddNode(*function.body, "MatMul", {"t", "own"}, {"Y"}, "second");
  ASSERT_TRUE(InlineFunctions(model, nullptr).ok());
  EXPECT_THAT(OpTypes(graph), ElementsAre("MatMul", "MatMul", "MatMul", "MatMul"));
  EXPECT_THAT(graph.initializers, SizeIs(2));
  EXPECT_EQ(graph.nodes[1]->inputs[1], graph.nodes[3]->inputs[1]);
}

TEST(InlineFunctions, PassesParametersThatAreOutputsOn) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {4, 4});
  AddNode(*model.graph, "F", {"x", "w"}, {"y", "same", ""}, "call", "local");
  Function& function = AddFunction(model, "F", {"X", "W"}, {"Y", "X", "Y"});
  AddNode(*function.body, "MatMul", {"X", "W"}, {"Y"}, "product");
  ASSERT_TRUE(InlineFunctions(model, nullptr).ok());
  EXPECT_THAT(OpTypes(*model.graph), ElementsAre("MatMul", "Identity"));
  EXPECT_THAT(model.graph->nodes[1]->inputs, ElementsAre("x"));
  EXPECT_THAT(model.graph->nodes[1]->outputs, ElementsAre("same"));
}

TEST(InlineFunctions, AddsTheDomainsThatTheModelLacks) {
  Model model = TwoLinearCalls();
  Function& function = model.functions[0];
  function.opset_imports["com.microsoft"] = 1;
  function.opset_imports["unused"] = 3;
  function.body->nodes[1]->domain = "com.microsoft";
  ASSERT_TRUE(InlineFunctions(model, nullptr).ok());
  EXPECT_EQ(model.OpsetVersion("com.microsoft"), 1);
  EXPECT_EQ(model.OpsetVersion("unused"), 0);
}

TEST(InlineFunctions, RefusesAnotherOpset) {
  Model model = TwoLinearCalls();
  model.functions[0].opset_imports[""] = 11;
  std::vector<std::string> notes;
  ASSERT_TRUE(InlineFunctions(model, &notes).ok());
  EXPECT_THAT(OpTypes(*model.graph), ElementsAre("Linear", "Linear"));
  EXPECT_THAT(notes, ElementsAre(HasSubstr("imports ai.onnx 11 where the model has 17")));
  EXPECT_THAT(FindWeights(model).at(0).blocked_reason, HasSubstr("parameter 'W'"));
}

TEST(InlineFunctions, RefusesRecursion) {
  Model model = TwoLinearCalls();
  AddNode(*model.functions[0].body, "Linear", {"X", "W", "B"}, {"again"}, "self", "local");
  std::vector<std::string> notes;
  ASSERT_TRUE(InlineFunctions(model, &notes).ok());
  EXPECT_THAT(notes, ElementsAre(HasSubstr("calls itself")));
  EXPECT_THAT(OpTypes(*model.graph), ElementsAre("Linear", "Linear"));
}

TEST(InlineFunctions, RefusesAConstantWithoutItsAttribute) {
  Model model = TwoLinearCalls();
  AddNode(*model.functions[0].body, "Constant", {}, {"c"}, "constant")
      .attributes.push_back(Reference("value", "missing", Attribute::Kind::kTensor));
  std::vector<std::string> notes;
  ASSERT_TRUE(InlineFunctions(model, &notes).ok());
  EXPECT_THAT(notes, ElementsAre(HasSubstr("needs the attribute 'missing'")));
  EXPECT_THAT(OpTypes(*model.graph), ElementsAre("Linear", "Linear"));
}

TEST(InlineFunctions, RefusesExponentialGrowth) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {2, 2});
  AddNode(*model.graph, "F0", {"x", "w"}, {"y"}, "call", "local");
  constexpr int kLevels = 40;
  for (int i = 0; i < kLevels; ++i) {
    Function& function = AddFunction(model, "F" + std::to_string(i), {"X", "W"}, {"Y"});
    const std::string next = i + 1 == kLevels ? "MatMul" : "F" + std::to_string(i + 1);
    const std::string domain = i + 1 == kLevels ? "" : "local";
    AddNode(*function.body, next, {"X", "W"}, {"t"}, "a", domain);
    AddNode(*function.body, next, {"t", "W"}, {"Y"}, "b", domain);
  }
  std::vector<std::string> notes;
  ASSERT_TRUE(InlineFunctions(model, &notes).ok());
  EXPECT_THAT(notes, ::testing::Contains(HasSubstr("nodes would be added")));
}

}  // namespace
}  // namespace lathe::engine
