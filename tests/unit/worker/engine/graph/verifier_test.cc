#include "worker/engine/graph/verifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/graph_builder.h"
#include "worker/engine/graph/topology.h"

namespace lathe::engine {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace ::lathe::engine::testing;  // the builder's vocabulary; test code only

// x -> MatMul(x, W) -> h -> Relu -> y
Model Sound() {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddWeight(graph, "W", {4, 4});
  AddNode(graph, "MatMul", {"x", "W"}, {"h"}, "fc");
  AddNode(graph, "Relu", {"h"}, {"y"}, "act");
  AddOutput(graph, "y");
  return model;
}

TEST(VerifierTest, SoundModelsPass) {
  EXPECT_TRUE(VerifyModel(Sound()).ok());
  struct Case {
    const char* name;
    std::function<void(Model&)> change;
  };
  const std::vector<Case> cases = {
      {"initializer that is an input's default", [](Model& m) { AddInput(*m.graph, "W"); }},
      {"optional inputs and outputs",
       [](Model& m) {
         AddNode(*m.graph, "LSTM", {"x", "", ""}, {"", "", "s"}),
             AddNode(*m.graph, "LSTM", {"x"}, {"", "t"});
       }},
      {"custom domain, imported",
       [](Model& m) {
         m.opset_imports["org.x"] = 1, AddNode(*m.graph, "Odd", {"x"}, {"o"}, "", "org.x");
       }},
      {"com.microsoft without an import, which ONNX Runtime takes",
       [](Model& m) { AddNode(*m.graph, "Gelu", {"x"}, {"o"}, "", "com.microsoft"); }},
      {"the same output twice", [](Model& m) { AddOutput(*m.graph, "y"); }},
      {"an input as output", [](Model& m) { AddOutput(*m.graph, "x"); }},
      {"sibling subgraphs that share names and see outer values",
       [](Model& m) {
         Node& node = AddNode(*m.graph, "If", {"x"}, {"z"});
         for (const char* branch : {"then_branch", "else_branch"}) {
           Graph& sub = AddSubgraph(*m.graph, node, branch);
           AddNode(sub, "Relu", {"h"}, {"inner"});
           AddOutput(sub, "inner");
         }
       }},
      {"a branch that returns an outer value",
       [](Model& m) {
         AddOutput(AddSubgraph(*m.graph, AddNode(*m.graph, "If", {"x"}, {"z"}), "then_branch"),
                   "h");
       }},
      {"a function", [](Model& m) {
         Function& f = AddFunction(m, "F", {"a"}, {"b"});
         AddNode(*f.body, "Relu", {"a"}, {"b"});
         AddNode(*m.graph, "F", {"x"}, {"fx"}, "", "local");
       }}};
  for (const Case& c : cases) {
    Model model = Sound();
    c.change(model);
    EXPECT_TRUE(VerifyModel(model).ok()) << c.name << ": " << VerifyModel(model);
  }
}

TEST(VerifierTest, BrokenModelsAreRefusedByName) {
  struct Case {
    std::function<void(Model&)> spoil;
    std::vector<std::string> parts;
  };
  const std::vector<Case> cases = {
      {[](Model& m) { m.opset_imports.clear(); }, {"no operator set"}},
      {[](Model& m) {
         m.opset_imports = {{"org.x", 1}};
       },
       {"node 0 (MatMul 'fc')", "domain 'ai.onnx'"}},
      {[](Model& m) { m.graph.reset(); }, {"no graph"}},
      {[](Model& m) { AddNode(*m.graph, "Odd", {"x"}, {"o"}, "n", "org.x"); },
       {"node 2 (Odd 'n')", "'org.x'"}},
      {[](Model& m) { AddNode(*m.graph, "", {"x"}, {"o"}, "n"); }, {"node 2", "no op_type"}},
      {[](Model& m) { AddNode(*m.graph, "Neg", {"nowhere"}, {"o"}, "n"); },
       {"node 2 (Neg 'n')", "'nowhere'", "no node"}},
      {[](Model& m) { AddOutput(*m.graph, "nowhere"); }, {"graph 'main'", "output 'nowhere'"}},
      {[](Model& m) { AddNode(*m.graph, "Neg", {"x"}, {"h"}, "n"); },
       {"'h' is produced twice", "node 0 (MatMul 'fc') and node 2 (Neg 'n')"}},
      {[](Model& m) { AddNode(*m.graph, "Neg", {"x"}, {"W"}, "n"); },
       {"'W' is produced twice", "input or initializer"}},
      {[](Model& m) { AddNode(*m.graph, "Neg", {"y"}, {"x"}, "n"); }, {"'x' is produced twice"}},
      {[](Model& m) {
         AddNode(*m.graph, "Split", {"x"}, {"a", "a"}, "n");
       },
       {"'a' is produced twice", "twice by node 2"}},
      {[](Model& m) { AddInput(*m.graph, "x"); }, {"'x' is produced twice", "listed twice"}},
      {[](Model& m) { m.graph->sparse_initializers["W"] = Bytes(); },
       {"'W' is produced twice", "sparse"}},
      {[](Model& m) { std::swap(m.graph->nodes[0], m.graph->nodes[1]); },
       {"node 0 (Relu 'act')", "reads 'h' before it is produced by node 1 (MatMul 'fc')"}},
      {[](Model& m) { m.graph->nodes[0]->inputs[0] = "y"; },
       {"cycle", "node 0 (MatMul 'fc') -> node 1 (Relu 'act') -> back to the first"}},
      {[](Model& m) { m.graph->nodes[0]->inputs[0] = "h"; },
       {"cycle", "node 0 (MatMul 'fc') -> back"}},
  };
  for (const Case& c : cases) {
    Model model = Sound();
    c.spoil(model);
    const absl::Status status = VerifyModel(model);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.parts[0];
    for (const std::string& part : c.parts)
      EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  }
}

TEST(VerifierTest, SubgraphsAreNamedWithWhatEnclosesThem) {
  Model model = Sound();
  Graph& body =
      AddSubgraph(*model.graph, AddNode(*model.graph, "Loop", {"x"}, {"z"}, "loop"), "body");
  AddNode(body, "Neg", {"nowhere"}, {"o"});
  EXPECT_THAT(std::string(VerifyModel(model).message()),
              AllOf(HasSubstr("graph 'body' (body of node 2 (Loop 'loop')"),
                    HasSubstr("node 0 (Neg) reads 'nowhere'")));
}

TEST(VerifierTest, InnerValuesAreNotSeenOutside) {
  Model model = Sound();
  Graph& body = AddSubgraph(*model.graph, AddNode(*model.graph, "If", {"x"}, {"z"}), "then_branch");
  AddNode(body, "Neg", {"x"}, {"inner"});
  AddNode(*model.graph, "Neg", {"inner"}, {"o"});
  EXPECT_THAT(std::string(VerifyModel(model).message()), HasSubstr("reads 'inner'"));
}

TEST(VerifierTest, CyclesThroughASubgraphAreFound) {
  Model model = Sound();
  Graph& graph = *model.graph;
  Graph& body = AddSubgraph(graph, AddNode(graph, "If", {"x"}, {"z"}, "if"), "then_branch");
  AddNode(body, "Neg", {"later"}, {"inner"});
  AddOutput(body, "inner");
  AddNode(graph, "Neg", {"z"}, {"later"}, "last");
  EXPECT_THAT(
      std::string(VerifyModel(model).message()),
      AllOf(HasSubstr("cycle"), HasSubstr("node 2 (If 'if') -> node 3 (Neg 'last') -> back")));
}

TEST(VerifierTest, FunctionBodiesSeeOnlyTheirInputs) {
  Model model = Sound();
  Function& function = AddFunction(model, "F", {"a"}, {"b"});
  AddNode(*function.body, "Add", {"a", "W"}, {"b"});
  EXPECT_THAT(std::string(VerifyModel(model).message()),
              AllOf(HasSubstr("function 'local.F'"), HasSubstr("'W'")));
}

TEST(TopologyTest, SortingIsStableAndLeavesCyclesAlone) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddNode(graph, "D", {"c"}, {"d"});
  AddNode(graph, "A", {"x"}, {"a"});
  AddNode(graph, "C", {"b", "a"}, {"c"});
  AddNode(graph, "B", {"x"}, {"b"});
  EXPECT_TRUE(SortNodes(graph));
  EXPECT_THAT(OpTypes(graph), ElementsAre("A", "B", "C", "D"));
  EXPECT_FALSE(SortNodes(graph));
  graph.nodes[0]->inputs[0] = "d";
  EXPECT_FALSE(SortNodes(graph));
  EXPECT_THAT(OpTypes(graph), ElementsAre("A", "B", "C", "D"));
  EXPECT_THAT(FindCycle(graph, 0), ElementsAre(0, 2, 3));
  EXPECT_TRUE(FindCycle(graph, 1).empty());
}

TEST(TopologyTest, CapturesCountAsReads) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  Graph& body = AddSubgraph(graph, AddNode(graph, "If", {"x"}, {"z"}), "then_branch");
  AddNode(body, "Neg", {"late"}, {"inner"});
  AddNode(body, "Neg", {"inner"}, {"x2"});
  AddNode(graph, "Relu", {"x"}, {"late"});
  EXPECT_TRUE(SortNodes(graph));
  EXPECT_THAT(OpTypes(graph), ElementsAre("Relu", "If"));
}

}  // namespace
}  // namespace lathe::engine
