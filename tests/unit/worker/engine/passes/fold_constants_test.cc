#include "worker/engine/passes/fold_constants.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/worker/engine/passes/pass_test_util.h"
#include "worker/engine/kernels/backend.h"

namespace lathe::engine {
namespace {

using testing::AddInput;
using testing::AddNode;
using testing::AddOutput;
using testing::AddSubgraph;
using testing::AddWeight;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::NewModel;
using testing::OpTypes;

void Fold(Model& model) {
  const std::unique_ptr<Backend> backend = MakeBackend(BackendKind::kOneDnn);
  FoldConstants(model, *backend);
}

// y = x w2, w2 = softmax(w v)
Model Chain() {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddWeight(graph, "w", {3, 4});
  AddWeight(graph, "v", {4, 5});
  AddNode(graph, "MatMul", {"w", "v"}, {"wv"});
  AddNode(graph, "Softmax", {"wv"}, {"w2"});
  AddNode(graph, "MatMul", {"x", "w2"}, {"y"});
  AddOutput(graph, "y");
  return model;
}

TEST(FoldConstantsTest, AChainOverConstantsBecomesOneConstant) {
  Model model = Chain();
  const std::vector<float> before = testing::RunPlainly(model, {{"x", {2, 3}}});
  Fold(model);
  EXPECT_THAT(OpTypes(*model.graph), ElementsAre("MatMul"));
  ASSERT_EQ(model.graph->initializers.size(), 1u);  // what nothing reads is gone
  EXPECT_EQ(model.graph->initializers.begin()->first, "w2");
  testing::ExpectSame(before, testing::RunPlainly(model, {{"x", {2, 3}}}));
}

TEST(FoldConstantsTest, ConstantsOfTheGraphAroundASubgraphCount) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "c", DType::kBool);
  AddWeight(graph, "w", {3, 4});
  Node& branch = AddNode(graph, "If", {"c"}, {"y"});
  for (const char* name : {"then_branch", "else_branch"}) {
    Graph& body = AddSubgraph(graph, branch, name);
    AddNode(body, "Softmax", {"w"}, {"z"});
    AddNode(body, "Softmax", {"z"}, {"r"});
    AddOutput(body, "r");
  }
  AddOutput(graph, "y");
  Fold(model);
  // The body's output stays a node's; what it reads is a constant now.
  EXPECT_THAT(OpTypes(*model.graph->nodes[0]->attributes[0].graphs[0]), ElementsAre("Softmax"));
  EXPECT_EQ(model.graph->nodes[0]->attributes[0].graphs[0]->initializers.count("z"), 1u);
}

TEST(FoldConstantsTest, WhatIsNotDecidedStays) {
  struct Case {
    const char* what;
    std::function<void(Graph&)> build;  // makes "t" from the constant "w"
  };
  const Case cases[] = {
      {"reads an input",
       [](Graph& g) {
         AddNode(g, "MatMul", {"w", "x"}, {"t"});
       }},
      {"random", [](Graph& g) { AddNode(g, "RandomNormalLike", {"w"}, {"t"}); }},
      {"cannot be run", [](Graph& g) { AddNode(g, "Mystery", {"w"}, {"t"}); }},
      {"fails",
       [](Graph& g) {
         AddNode(g, "MatMul", {"w", "w"}, {"t"});
       }},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    Model model = NewModel();
    AddInput(*model.graph, "x");
    AddWeight(*model.graph, "w", {3, 4});
    c.build(*model.graph);
    AddNode(*model.graph, "MatMul", {"x", "t"}, {"y"});
    AddOutput(*model.graph, "y");
    Fold(model);
    EXPECT_EQ(model.graph->nodes.size(), 2u);
  }
}

TEST(FoldConstantsTest, AnOutputOfTheGraphStaysANodes) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {3, 4});
  AddNode(*model.graph, "Softmax", {"w"}, {"y"});
  AddOutput(*model.graph, "y");
  Fold(model);
  EXPECT_THAT(OpTypes(*model.graph), ElementsAre("Softmax"));
}

}  // namespace
}  // namespace lathe::engine
