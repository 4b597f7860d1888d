#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/graph_builder.h"
#include "tests/support/step_runner.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/verifier.h"

namespace lathe::engine {
namespace {

using testing::AddConstantNode;
using testing::AddFunction;
using testing::AddInitializer;
using testing::AddInput;
using testing::AddNode;
using testing::AddOutput;
using testing::AddSubgraph;
using testing::AddWeight;
using ::testing::ElementsAre;
using testing::FindLayer;
using testing::Floats;
using ::testing::HasSubstr;
using testing::NewModel;
using testing::OpTypes;
using testing::RunStep;

// x -> MatMul(w) -> y
Model OneLayer(std::vector<float> values, int64_t ir_version = 8) {
  Model model = NewModel(17, ir_version);
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  const int64_t size = static_cast<int64_t>(values.size());
  AddInitializer(graph, Tensor::FromFloats("w", {1, size}, values));
  graph.value_infos["w"] = testing::Info("w");
  if (ir_version < 4) AddInput(graph, "w");
  AddNode(graph, "MatMul", {"x", "w"}, {"y"}, "fc");
  AddOutput(graph, "y");
  return model;
}

TEST(Fp16, PutsACastInTheWeightsPlace) {
  const std::vector<float> values = {0.1f, -2.5f, 1000.3f, 0.0f};
  Model model = OneLayer(values);
  const auto outcome = RunStep(model, "fp16");
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_TRUE(VerifyModel(model).ok()) << VerifyModel(model);
  const Graph& graph = *model.graph;
  EXPECT_THAT(OpTypes(graph), ElementsAre("Cast", "MatMul"));
  EXPECT_THAT(graph.nodes[0]->outputs, ElementsAre("w"));
  EXPECT_EQ(graph.nodes[0]->IntAttribute("to", 0), 1);
  EXPECT_EQ(graph.nodes[0]->provenance.origin, "fc");
  EXPECT_EQ(graph.nodes[0]->provenance.method, "fp16");
  EXPECT_FALSE(graph.initializers.contains("w"));
  EXPECT_FALSE(graph.value_infos.contains("w"));
  const Tensor& half = graph.initializers.at(graph.nodes[0]->inputs[0]);
  EXPECT_EQ(half.dtype, DType::kFloat16);
  EXPECT_EQ(half.dims, (Shape{1, 4}));
  std::vector<float> rounded;
  for (const float value : values) rounded.push_back(HalfToFloat(FloatToHalf(value)));
  EXPECT_EQ(half.ToFloats().value(), rounded);
  const LayerOutcome& layer = *FindLayer(*outcome, "fc");
  EXPECT_EQ(layer.bits, 16);
  EXPECT_EQ(layer.bytes_before, 16);
  EXPECT_EQ(layer.bytes_after, 8);
  EXPECT_GT(*layer.sqnr_db, 60);
}

TEST(Fp16, LeavesTensorsFloatThatHalfCannotHold) {
  struct Case {
    std::vector<float> values;
    const char* reason;
  };
  const Case cases[] = {
      {{1, 65520, 3}, "1 of its values overflow"},
      {{1, -1e30f, 7e4f}, "2 of its values overflow"},
      {{1e-9f, 1, 1}, "1 of its 3 non-zero values are too small"},
      {{1e-6f, -1.3e-6f, 0.9e-6f}, "too small for float16's precision"},
  };
  for (const Case& c : cases) {
    Model model = OneLayer(c.values);
    const auto outcome = RunStep(model, "fp16");
    ASSERT_TRUE(outcome.ok());
    EXPECT_THAT(FindLayer(*outcome, "fc")->skipped_reason, HasSubstr(c.reason));
    EXPECT_EQ(model.graph->initializers.at("w").ToFloats().value(), c.values);
    EXPECT_THAT(OpTypes(*model.graph), ElementsAre("MatMul"));
    EXPECT_THAT(outcome->notes.at(0), HasSubstr("0 weights stored as float16; "));
  }
}

TEST(Fp16, ConvertsWhatRoundsToTheLargestHalfAndZerosAlone) {
  for (const std::vector<float>& values :
       {std::vector<float>{65504, 65519, -65519}, std::vector<float>{0, 0, 0}}) {
    Model model = OneLayer(values);
    const auto outcome = RunStep(model, "fp16");
    ASSERT_TRUE(outcome.ok());
    EXPECT_EQ(FindLayer(*outcome, "fc")->skipped_reason, "");
  }
}

TEST(Fp16, AFewLostValuesAreConvertedAndCounted) {
  std::vector<float> values(1000, 0.5f);
  for (int i = 0; i < 50; ++i) values[i * 7] = 1e-9f;  // 5 %, not more
  Model model = OneLayer(values);
  const auto outcome = RunStep(model, "fp16");
  EXPECT_EQ(FindLayer(*outcome, "fc")->skipped_reason, "");
  EXPECT_THAT(outcome->notes.at(1), HasSubstr("50 values"));
  values[999] = 1e-9f;
  Model over = OneLayer(values);
  const auto refused = RunStep(over, "fp16");
  EXPECT_THAT(FindLayer(*refused, "fc")->skipped_reason, HasSubstr("51 of its 1000"));
}

TEST(Fp16, KeepsATableHalfInMemoryAndCastsItsRows) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "ids", DType::kInt64);
  AddWeight(graph, "table", {10, 4});
  AddNode(graph, "Gather", {"table", "ids"}, {"y"}, "embed");
  AddNode(graph, "Gather", {"table", "ids"}, {"h"}, "embed2");
  AddNode(graph, "Relu", {"h"}, {"z"});
  AddOutput(graph, "y");
  AddOutput(graph, "z");
  ASSERT_TRUE(RunStep(model, "fp16").ok());
  ASSERT_TRUE(VerifyModel(model).ok()) << VerifyModel(model);
  EXPECT_THAT(OpTypes(graph), ElementsAre("Gather", "Cast", "Gather", "Cast", "Relu"));
  EXPECT_EQ(graph.initializers.at(graph.nodes[0]->inputs[0]).dtype, DType::kFloat16);
  EXPECT_EQ(graph.nodes[0]->inputs[0], graph.nodes[2]->inputs[0]);
  EXPECT_THAT(graph.nodes[1]->outputs, ElementsAre("y"));
  EXPECT_THAT(graph.nodes[3]->outputs, ElementsAre("h"));
  EXPECT_EQ(graph.initializers.size(), 1u);
}

TEST(Fp16, CastsATiedTableWhole) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "ids", DType::kInt64);
  AddWeight(graph, "table", {10, 4});
  AddNode(graph, "Gather", {"table", "ids"}, {"h"}, "embed");
  AddNode(graph, "Transpose", {"table"}, {"transposed"});
  AddNode(graph, "MatMul", {"h", "transposed"}, {"y"}, "head");
  AddOutput(graph, "y");
  const auto outcome = RunStep(model, "fp16");
  ASSERT_TRUE(outcome.ok());
  ASSERT_TRUE(VerifyModel(model).ok()) << VerifyModel(model);
  EXPECT_THAT(OpTypes(graph), ElementsAre("Cast", "Gather", "Transpose", "MatMul"));
  EXPECT_EQ(outcome->layers.size(), 1u);
}

TEST(Fp16, WorksOnConstantsInSubgraphsAndInFunctions) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddInput(graph, "condition", DType::kBool);
  AddConstantNode(graph, Floats("wc", {4, 4}));
  AddNode(graph, "MatMul", {"x", "wc"}, {"a"}, "constant");
  Node& branch = AddNode(graph, "If", {"condition"}, {"c"}, "if");
  for (const char* side : {"then_branch", "else_branch"}) {
    Graph& sub = AddSubgraph(graph, branch, side);
    AddWeight(sub, "w", {4, 4});  // the same name in both
    AddNode(sub, "MatMul", {"a", "w"}, {"o"}, std::string("mm_") + side);
    AddOutput(sub, "o");
  }
  Function& function = AddFunction(model, "F", {"fx"}, {"fy"});
  AddConstantNode(*function.body, Floats("wf", {4, 4}));
  AddNode(*function.body, "MatMul", {"fx", "wf"}, {"fy"}, "inner");
  AddNode(graph, "F", {"c"}, {"y"}, "call", "local");
  AddOutput(graph, "y");
  const auto outcome = RunStep(model, "fp16");
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_TRUE(VerifyModel(model).ok()) << VerifyModel(model);
  EXPECT_THAT(OpTypes(graph), ElementsAre("Cast", "MatMul", "If", "F"));
  EXPECT_THAT(OpTypes(*function.body), ElementsAre("Constant", "Cast", "MatMul"));
  const std::vector<Weight> weights = FindWeights(model);
  ASSERT_EQ(weights.size(), 4u);
  for (const Weight& weight : weights) {
    EXPECT_EQ(weight.dtype, DType::kFloat16) << weight.name;
    EXPECT_EQ(ReadWeight(weight).value(), testing::Values(16)) << weight.name;
  }
}

TEST(Fp16, SkipsWhatIsHalfAlreadyAndIsIdempotent) {
  Model model = OneLayer({1, 2, 3, 4});
  ASSERT_TRUE(RunStep(model, "fp16").ok());
  const auto again = RunStep(model, "fp16");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(FindLayer(*again, "fc")->skipped_reason, "already float16");
  EXPECT_THAT(OpTypes(*model.graph), ElementsAre("Cast", "MatMul"));
}

TEST(Fp16, ConvertsFloat64AndCastsBackToIt) {
  Model model = NewModel();
  AddInput(*model.graph, "x", DType::kDouble);
  const double values[] = {0.5, -3, 0, 2};
  AddInitializer(*model.graph,
                 Tensor::Make("w", DType::kDouble, {2, 2},
                              std::string(reinterpret_cast<const char*>(values), sizeof(values)))
                     .value());
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"}, "fc");
  AddOutput(*model.graph, "y", DType::kDouble);
  const auto outcome = RunStep(model, "fp16");
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(model.graph->nodes[0]->IntAttribute("to", 0), static_cast<int64_t>(DType::kDouble));
  EXPECT_EQ(FindLayer(*outcome, "fc")->bytes_after, 8);
  EXPECT_EQ(FindLayer(*outcome, "fc")->relative_error, 0);
}

TEST(Fp16, MovesTheInputOfAnIr3WeightAndNotesAnOverridableOne) {
  Model old = OneLayer({1, 2, 3, 4}, 3);
  ASSERT_TRUE(RunStep(old, "fp16").ok());
  ASSERT_EQ(old.graph->inputs.size(), 2u);
  EXPECT_EQ(old.graph->inputs[1].name, "w_fp16");
  EXPECT_EQ(old.graph->inputs[1].dtype, DType::kFloat16);

  Model overridable = OneLayer({1, 2, 3, 4}, 4);
  AddInput(*overridable.graph, "w");
  const auto outcome = RunStep(overridable, "fp16");
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(overridable.graph->inputs.size(), 1u);
  EXPECT_THAT(outcome->notes.at(1), HasSubstr("constants now"));
}

TEST(Fp16, NamesTheLayerThatHoldsANaN) {
  Model model = OneLayer({1, NAN, 3});
  const auto outcome = RunStep(model, "fp16");
  ASSERT_EQ(outcome.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(outcome.status().message()), HasSubstr("fc"));
}

TEST(Fp16, GivesTheSameBytesForAnyNumberOfThreads) {
  std::vector<std::string> results;
  for (const int threads : {1, 2, 5}) {
    std::vector<float> values(700'001);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>((i * 7919) % 100003) / 100003;
    }
    Model model = OneLayer(values);
    const auto outcome = RunStep(model, "fp16", threads);
    ASSERT_TRUE(outcome.ok());
    results.emplace_back(model.graph->initializers.begin()->second.data.view());
    results.back() += std::to_string(*FindLayer(*outcome, "fc")->relative_error);
  }
  EXPECT_TRUE(results[0] == results[1]);
  EXPECT_TRUE(results[0] == results[2]);
}

}  // namespace
}  // namespace lathe::engine
