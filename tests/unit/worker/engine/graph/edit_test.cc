#include "worker/engine/graph/edit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/graph_builder.h"

namespace lathe::engine {
namespace {

using namespace lathe::engine::testing;  // NOLINT: the builder's words
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::unique_ptr<Node>> One(const std::string& op) {
  auto node = std::make_unique<Node>();
  node->op_type = op;
  node->outputs = {op + "_out"};
  std::vector<std::unique_ptr<Node>> nodes;
  nodes.push_back(std::move(node));
  return nodes;
}

TEST(NameScope, AvoidsNamesOfSubgraphsFunctionsNodesAndItsOwn) {
  Model model = NewModel();
  Node& branch = AddNode(*model.graph, "If", {"c"}, {"y"}, "if");
  AddNode(AddSubgraph(*model.graph, branch, "then_branch"), "Relu", {"q"}, {"inner"}, "relu");
  AddNode(*AddFunction(model, "F", {"a"}, {"b"}).body, "Relu", {"a"}, {"b"});
  NameScope names(model);
  EXPECT_EQ(names.Fresh("inner"), "inner_2");
  EXPECT_EQ(names.Fresh("inner"), "inner_3");
  EXPECT_EQ(names.Fresh("relu"), "relu_2");
  EXPECT_EQ(names.Fresh("b"), "b_2");
  EXPECT_EQ(names.Fresh("q"), "q_2");  // read from outside
  EXPECT_EQ(names.Fresh("free"), "free");
  EXPECT_EQ(names.Fresh("free"), "free_2");
  EXPECT_EQ(names.Fresh(""), "value");
}

TEST(InsertingNodes, KeepsTheOrder) {
  Model model = NewModel();
  AddNode(*model.graph, "A", {}, {"a"});
  Node& b = AddNode(*model.graph, "B", {}, {"b"});
  InsertBefore(*model.graph, &b, One("C"));
  InsertAfter(*model.graph, &b, One("D"));
  PrependNodes(*model.graph, One("E"));
  EXPECT_THAT(OpTypes(*model.graph), ElementsAre("E", "A", "C", "B", "D"));
}

TEST(RemoveNode, TakesTheNodeAndItsValueInfo) {
  Model model = NewModel();
  Node& a = AddNode(*model.graph, "A", {}, {"a"});
  AddNode(*model.graph, "B", {}, {"b"});
  model.graph->value_infos["a"] = Info("a");
  RemoveNode(*model.graph, &a);
  EXPECT_THAT(OpTypes(*model.graph), ElementsAre("B"));
  EXPECT_THAT(model.graph->value_infos, IsEmpty());
}

TEST(RemoveNode, LeavesTheValueInfoToAReplacementOfTheSameName) {
  Model model = NewModel();
  Node& a = AddNode(*model.graph, "A", {}, {"a"});
  AddNode(*model.graph, "B", {}, {"a"});
  AddOutput(*model.graph, "a");
  model.graph->value_infos["a"] = Info("a");
  RemoveNode(*model.graph, &a);
  EXPECT_EQ(model.graph->value_infos.count("a"), 1u);
}

TEST(AddConstant, MakesAnInitializerInGraphsAndAConstantNodeInFunctions) {
  Model model = NewModel();
  Function& function = AddFunction(model, "F", {"a"}, {"b"});
  AddNode(*function.body, "Relu", {"a"}, {"b"});
  AddConstant(model, *model.graph, Floats("w", {2, 2}));
  AddConstant(model, *function.body, Floats("v", {2, 2}));
  EXPECT_EQ(model.graph->initializers.count("w"), 1u);
  EXPECT_THAT(model.graph->inputs, IsEmpty());
  EXPECT_THAT(function.body->initializers, IsEmpty());
  EXPECT_THAT(OpTypes(*function.body), ElementsAre("Constant", "Relu"));
  EXPECT_EQ(function.body->nodes[0]->FindAttribute("value")->tensors.at(0).size(), 4);
}

TEST(AddConstant, ListsTheInitializerAsAnInputBeforeIr4) {
  Model model = NewModel(8, 3);
  AddConstant(model, *model.graph, Floats("w", {2, 3}));
  ASSERT_EQ(model.graph->inputs.size(), 1u);
  EXPECT_EQ(model.graph->inputs[0].name, "w");
  EXPECT_EQ(model.graph->inputs[0].dims->at(1).value, 3);
}

TEST(RaiseIrVersion, DropsTheInputsThatOnlyNameInitializers) {
  Model model = NewModel(8, 3);
  AddInput(*model.graph, "x");
  AddInput(*model.graph, "w");
  AddWeight(*model.graph, "w", {2, 2});
  RaiseIrVersion(model, 10);
  EXPECT_EQ(model.ir_version, 10);
  ASSERT_EQ(model.graph->inputs.size(), 1u);
  EXPECT_EQ(model.graph->inputs[0].name, "x");
}

TEST(RaiseIrVersion, KeepsOverridableDefaultsOfNewerModelsAndNeverLowers) {
  Model model = NewModel(13, 8);
  AddInput(*model.graph, "w");
  AddWeight(*model.graph, "w", {2, 2});
  RaiseIrVersion(model, 10);
  EXPECT_EQ(model.graph->inputs.size(), 1u);
  RaiseIrVersion(model, 4);
  EXPECT_EQ(model.ir_version, 10);
}

TEST(RemoveSource, TakesInitializerInputAndValueInfo) {
  Model model = NewModel();
  AddInput(*model.graph, "x");
  AddInput(*model.graph, "w");
  AddWeight(*model.graph, "w", {2, 2});
  model.graph->value_infos["w"] = Info("w");
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"});
  RemoveSource(FindWeights(model).at(0));
  EXPECT_THAT(model.graph->initializers, IsEmpty());
  EXPECT_THAT(model.graph->value_infos, IsEmpty());
  EXPECT_FALSE(model.graph->IsInput("w"));
  EXPECT_TRUE(model.graph->IsInput("x"));
}

TEST(RemoveSource, TakesTheConstantNode) {
  Model model = NewModel();
  AddConstantNode(*model.graph, Floats("w", {2, 2}));
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"});
  RemoveSource(FindWeights(model).at(0));
  EXPECT_THAT(OpTypes(*model.graph), ElementsAre("MatMul"));
}

TEST(RemoveUnusedConstants, TakesWholeChainsAndCountsBytes) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {2, 4});
  AddNode(*model.graph, "Identity", {"w"}, {"i"});
  AddNode(*model.graph, "Transpose", {"i"}, {"t"});
  AddConstantNode(*model.graph, Floats("c", {3}));
  AddNode(*model.graph, "Relu", {"x"}, {"y"});
  AddOutput(*model.graph, "y");
  EXPECT_EQ(RemoveUnusedConstants(model), (8 + 3) * 4);
  EXPECT_THAT(OpTypes(*model.graph), ElementsAre("Relu"));
  EXPECT_THAT(model.graph->initializers, IsEmpty());
}

TEST(RemoveUnusedConstants, KeepsWhatAnythingReads) {
  Model model = NewModel();
  AddWeight(*model.graph, "output", {2});
  AddWeight(*model.graph, "captured", {2});
  AddWeight(*model.graph, "read", {2});
  AddOutput(*model.graph, "output");
  AddNode(*model.graph, "Relu", {"read"}, {"r"});
  Node& branch = AddNode(*model.graph, "If", {"c"}, {"y"});
  AddNode(AddSubgraph(*model.graph, branch, "then_branch"), "Relu", {"captured"}, {"z"});
  EXPECT_EQ(RemoveUnusedConstants(model), 0);
  EXPECT_EQ(model.graph->initializers.size(), 3u);
}

TEST(RemoveUnusedConstants, DoesNotTakeACapturedNameForAShadowedOne) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {2});
  Node& branch = AddNode(*model.graph, "If", {"c"}, {"y"});
  Graph& then_branch = AddSubgraph(*model.graph, branch, "then_branch");
  AddWeight(then_branch, "w", {3});
  AddNode(then_branch, "Relu", {"w"}, {"z"});
  EXPECT_EQ(RemoveUnusedConstants(model), 2 * 4);  // the outer one
  EXPECT_EQ(then_branch.initializers.size(), 1u);
}

TEST(RemoveUnusedConstants, LeavesComputationsAlone) {
  Model model = NewModel();
  AddInput(*model.graph, "x");
  AddNode(*model.graph, "Identity", {"x"}, {"unread"});
  EXPECT_EQ(RemoveUnusedConstants(model), 0);
  EXPECT_THAT(OpTypes(*model.graph), ElementsAre("Identity"));
}

TEST(CountReaders, CountsSubgraphsAndOutputsButNotShadowedNames) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddNode(graph, "Mul", {"v", "v"}, {"m"});
  AddOutput(graph, "v");
  Node& loop = AddNode(graph, "Loop", {"n", "c", "v"}, {"y"});
  Graph& body = AddSubgraph(graph, loop, "body");
  AddNode(body, "Relu", {"v"}, {"r"});
  Node& other = AddNode(graph, "Loop", {"n", "c"}, {"z"});
  Graph& shadowing = AddSubgraph(graph, other, "body");
  AddInput(shadowing, "v");
  AddNode(shadowing, "Relu", {"v"}, {"r"});
  EXPECT_EQ(CountReaders(graph, "v"), 2 + 1 + 1 + 1);
}

}  // namespace
}  // namespace lathe::engine
