#include "worker/engine/graph/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/graph_builder.h"

namespace lathe::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(NodeAttributes, AreReadBackAsSet) {
  Node node;
  node.SetInt("axis", -1);
  node.SetInts("perm", {1, 0});
  node.SetFloat("alpha", 0.5f);
  node.SetString("mode", "linear");
  EXPECT_EQ(node.IntAttribute("axis", 7), -1);
  EXPECT_THAT(node.IntsAttribute("perm"), ElementsAre(1, 0));
  EXPECT_EQ(node.FloatAttribute("alpha", 1), 0.5f);
  EXPECT_EQ(node.StringAttribute("mode", "nearest"), "linear");
}

TEST(NodeAttributes, FallBackWhenAbsentOrOfAnotherKind) {
  Node node;
  node.SetString("axis", "one");
  EXPECT_EQ(node.IntAttribute("axis", 7), 7);
  EXPECT_EQ(node.IntAttribute("absent", 8), 8);
  EXPECT_EQ(node.FloatAttribute("axis", 2.5f), 2.5f);
  EXPECT_THAT(node.IntsAttribute("axis", {3}), ElementsAre(3));
  node.SetInt("mode", 1);
  EXPECT_EQ(node.StringAttribute("mode", "nearest"), "nearest");
}

TEST(NodeAttributes, SettingReplacesWithAnotherKindAndForgetsReferences) {
  Node node;
  node.SetInt("axis", 1);
  node.FindAttribute("axis")->extra = "ref";
  node.SetInts("axis", {2, 3});
  ASSERT_EQ(node.attributes.size(), 1u);
  EXPECT_EQ(node.attributes[0].kind, Attribute::Kind::kInts);
  EXPECT_THAT(node.attributes[0].extra, IsEmpty());
  EXPECT_EQ(node.attributes[0].i, 0);
}

TEST(NodeAttributes, RemovingTakesOnlyThatOne) {
  Node node;
  node.SetInt("a", 1);
  node.SetInt("b", 2);
  node.RemoveAttribute("a");
  node.RemoveAttribute("absent");
  EXPECT_EQ(node.FindAttribute("a"), nullptr);
  EXPECT_EQ(node.IntAttribute("b", 0), 2);
}

TEST(GraphInterface, KnowsItsInputsAndOutputs) {
  Model model = testing::NewModel();
  testing::AddInput(*model.graph, "x");
  testing::AddOutput(*model.graph, "y");
  EXPECT_TRUE(model.graph->IsInput("x"));
  EXPECT_FALSE(model.graph->IsInput("y"));
  EXPECT_TRUE(model.graph->IsOutput("y"));
  EXPECT_FALSE(model.graph->IsOutput(""));
}

TEST(ModelOpsets, GiveZeroForADomainThatIsNotImported) {
  const Model model = testing::NewModel(13);
  EXPECT_EQ(model.OpsetVersion(""), 13);
  EXPECT_EQ(model.OpsetVersion("com.microsoft"), 0);
}

}  // namespace
}  // namespace lathe::engine
