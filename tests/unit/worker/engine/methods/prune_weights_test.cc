#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>

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
using testing::FindLayer;
using testing::Floats;
using ::testing::HasSubstr;
using testing::NewModel;
using testing::RunStep;

int64_t CountZeros(const std::vector<float>& values) {
  return std::count(values.begin(), values.end(), 0.0f);
}

std::vector<float> Weights(const Model& model, const std::string& name) {
  return model.graph->initializers.at(name).ToFloats().value();
}

// x -> MatMul(w1 [5, 7]) -> MatMul(w2 [7, 3]) -> y
Model TwoLayers(int64_t ir_version = 8) {
  Model model = NewModel(17, ir_version);
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddInitializer(graph, Tensor::FromFloats("w1", {5, 7}, [] {
                   std::vector<float> v(35);
                   for (int i = 0; i < 35; ++i) v[i] = 0.01f * static_cast<float>(i + 1);
                   return v;
                 }()));
  AddInitializer(graph, Tensor::FromFloats("w2", {7, 3}, [] {
                   std::vector<float> v(21);
                   for (int i = 0; i < 21; ++i) v[i] = -1.0f - 0.1f * static_cast<float>(i);
                   return v;
                 }()));
  if (ir_version < 4) {
    AddInput(graph, "w1");
    AddInput(graph, "w2");
  }
  AddNode(graph, "MatMul", {"x", "w1"}, {"h"}, "fc1");
  AddNode(graph, "MatMul", {"h", "w2"}, {"y"}, "fc2");
  AddOutput(graph, "y");
  return model;
}

TEST(PruneWeights, ZeroesTheRoundedCountOfEachLayerHalvesToEven) {
  struct Case {
    const char* sparsity;
    int64_t first;   // of 35
    int64_t second;  // of 21
  };
  // 0.5 * 35 = 17.5 -> 18, 0.5 * 21 = 10.5 -> 10.
  for (const Case& c : {Case{"0", 0, 0}, Case{"0.5", 18, 10}, Case{"0.3", 10, 6},
                        Case{"0.9", 32, 19}, Case{"0.999", 35, 21}}) {
    Model model = TwoLayers();
    const auto outcome = RunStep(model, std::string("prune_weights:sparsity=") + c.sparsity);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(CountZeros(Weights(model, "w1")), c.first) << c.sparsity;
    EXPECT_EQ(CountZeros(Weights(model, "w2")), c.second) << c.sparsity;
    EXPECT_DOUBLE_EQ(*FindLayer(*outcome, "fc1")->sparsity, static_cast<double>(c.first) / 35);
  }
}

TEST(PruneWeights, GlobalScopeTakesTheSmallestOfAllLayers) {
  Model model = TwoLayers();
  const auto outcome = RunStep(model, "prune_weights:sparsity=0.75,scope=global");
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  // 42 of 56: all 35 of w1 (at most 0.35) and the seven smallest of w2.
  EXPECT_EQ(CountZeros(Weights(model, "w1")), 35);
  const std::vector<float> second = Weights(model, "w2");
  EXPECT_EQ(CountZeros(second), 7);
  EXPECT_EQ(CountZeros({second.begin(), second.begin() + 7}), 7);
  EXPECT_THAT(outcome->notes.at(0), HasSubstr("42 of 56"));
}

TEST(PruneWeights, ThresholdDropsWhatIsBelowIt) {
  Model model = TwoLayers();
  const auto outcome = RunStep(model, "prune_weights:threshold=0.105");
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(CountZeros(Weights(model, "w1")), 10);
  EXPECT_EQ(CountZeros(Weights(model, "w2")), 0);
  const LayerOutcome& untouched = *FindLayer(*outcome, "fc2");
  EXPECT_EQ(untouched.relative_error, 0);
  EXPECT_FALSE(untouched.sqnr_db.has_value());
}

TEST(PruneWeights, ReportsTheRelativeErrorOfTheWeight) {
  Model model = TwoLayers();
  const std::vector<float> before = Weights(model, "w1");
  const auto outcome = RunStep(model, "prune_weights:sparsity=0.6");
  const std::vector<float> after = Weights(model, "w1");
  double change = 0;
  double norm = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    change += std::pow(static_cast<double>(before[i]) - after[i], 2);
    norm += std::pow(static_cast<double>(before[i]), 2);
  }
  const LayerOutcome& layer = *FindLayer(*outcome, "fc1");
  EXPECT_NEAR(*layer.relative_error, std::sqrt(change / norm), 1e-12);
  EXPECT_NEAR(*layer.sqnr_db, -10 * std::log10(change / norm), 1e-9);
  EXPECT_EQ(layer.scheme, "60 % zeros");
  EXPECT_EQ(layer.op, "MatMul");
  EXPECT_EQ(layer.parameters, 35);
  EXPECT_EQ(layer.bytes_before, 140);
  EXPECT_EQ(layer.bytes_after, 140);
}

TEST(PruneWeights, TargetsAndSkipChooseLayers) {
  Model model = TwoLayers();
  const auto outcome = RunStep(model, "prune_weights:sparsity=0.5,targets=fc*,skip=w2");
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(CountZeros(Weights(model, "w1")), 18);
  EXPECT_EQ(CountZeros(Weights(model, "w2")), 0);
  EXPECT_EQ(FindLayer(*outcome, "fc2")->skipped_reason, "named in skip");

  Model other = TwoLayers();
  const auto unmatched = RunStep(other, "prune_weights:sparsity=0.5,targets=conv*");
  ASSERT_TRUE(unmatched.ok());
  EXPECT_EQ(CountZeros(Weights(other, "w1")), 0);
  EXPECT_EQ(FindLayer(*unmatched, "fc1")->skipped_reason, "not in targets");
  EXPECT_THAT(unmatched->notes.at(0), HasSubstr("conv*"));
}

TEST(PruneWeights, NamesTheLayerThatHoldsANaN) {
  for (const float bad : {NAN, INFINITY}) {
    Model model = TwoLayers();
    std::vector<float> values = Weights(model, "w2");
    values[4] = bad;
    AddInitializer(*model.graph, Tensor::FromFloats("w2", {7, 3}, values));
    for (const char* step : {"prune_weights:sparsity=0.5", "prune_weights:threshold=0.1",
                             "prune_weights:sparsity=0.5,scope=global"}) {
      const auto outcome = RunStep(model, step);
      ASSERT_EQ(outcome.status().code(), absl::StatusCode::kInvalidArgument) << step;
      EXPECT_THAT(std::string(outcome.status().message()), HasSubstr("fc2"));
    }
    EXPECT_TRUE(RunStep(model, "prune_weights:sparsity=0.5,skip=fc2").ok());
  }
}

TEST(PruneWeights, ReachesConstantsSubgraphsFunctionsAndHalfWeights) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddInput(graph, "condition", DType::kBool);
  AddConstantNode(graph, Floats("wc", {4, 4}));
  AddNode(graph, "MatMul", {"x", "wc"}, {"a"}, "constant");
  std::string halves;
  for (int i = 1; i <= 16; ++i) {
    const uint16_t half = FloatToHalf(static_cast<float>(i));
    halves.append(reinterpret_cast<const char*>(&half), 2);
  }
  AddInitializer(graph, Tensor::Make("wh", DType::kFloat16, {4, 4}, halves).value());
  AddNode(graph, "Cast", {"wh"}, {"whf"}).SetInt("to", 1);
  AddNode(graph, "MatMul", {"a", "whf"}, {"b"}, "half");
  Node& branch = AddNode(graph, "If", {"condition"}, {"c"}, "if");
  for (const char* side : {"then_branch", "else_branch"}) {
    Graph& sub = AddSubgraph(graph, branch, side);
    AddWeight(sub, std::string("w_") + side, {4, 4});
    AddNode(sub, "MatMul", {"b", std::string("w_") + side}, {std::string("o_") + side},
            std::string("mm_") + side);
    AddOutput(sub, std::string("o_") + side);
  }
  Function& function = AddFunction(model, "F", {"fx"}, {"fy"});
  AddConstantNode(*function.body, Floats("wf", {4, 4}));
  AddNode(*function.body, "MatMul", {"fx", "wf"}, {"fy"}, "inner");
  AddNode(graph, "F", {"c"}, {"y"}, "call", "local");
  AddOutput(graph, "y");

  const auto outcome = RunStep(model, "prune_weights:sparsity=0.75");
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_TRUE(VerifyModel(model).ok());
  const std::vector<Weight> weights = FindWeights(model);
  ASSERT_EQ(weights.size(), 5u);
  for (const Weight& weight : weights) {
    EXPECT_GE(CountZeros(ReadWeight(weight).value()), 12) << weight.name;
    EXPECT_LE(CountZeros(ReadWeight(weight).value()), 13) << weight.name;
  }
  // The float16 weight kept its type and its other values.
  const Tensor& half = graph.initializers.at("wh");
  EXPECT_EQ(half.dtype, DType::kFloat16);
  EXPECT_EQ(half.ToFloats().value()[15], 16.0f);
}

TEST(PruneWeights, LeavesBlockedWeightsAlone) {
  Model model = TwoLayers();
  AddNode(*model.graph, "Relu", {"w2"}, {"r"}, "other reader");
  AddOutput(*model.graph, "r");
  const auto outcome = RunStep(model, "prune_weights:sparsity=0.5");
  ASSERT_TRUE(outcome.ok());
  EXPECT_THAT(FindLayer(*outcome, "fc2")->skipped_reason, HasSubstr("other reader"));
  EXPECT_EQ(CountZeros(Weights(model, "w2")), 0);
}

TEST(PruneWeights, GivesTheSameBytesForAnyNumberOfThreads) {
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 5}) {
    Model model = NewModel();
    AddInput(*model.graph, "x");
    AddWeight(*model.graph, "w", {1000, 777});  // 64 values: almost all ties
    AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"}, "fc");
    AddOutput(*model.graph, "y");
    const auto outcome = RunStep(model, "prune_weights:sparsity=0.613", threads);
    ASSERT_TRUE(outcome.ok());
    results.push_back(Weights(model, "w"));
    EXPECT_EQ(CountZeros(results.back()), 476'301);
  }
  EXPECT_TRUE(results[0] == results[1]);
  EXPECT_TRUE(results[0] == results[2]);
}

TEST(PruneWeights, StoresSparselyWhereThatIsSmaller) {
  Model model = NewModel(13, 4);
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  std::vector<float> values(4096);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>((i * 37) % 4096) - 7.5f;
  AddInitializer(graph, Tensor::FromFloats("w", {64, 64}, values));
  AddInitializer(graph, Tensor::FromFloats("v", {64, 64}, values));
  AddConstantNode(graph, Tensor::FromFloats("c", {64, 64}, values));
  AddNode(graph, "MatMul", {"x", "w"}, {"h"}, "fc");
  AddNode(graph, "MatMul", {"h", "v"}, {"g"}, "kept");
  AddNode(graph, "MatMul", {"g", "c"}, {"y"}, "constant");
  AddOutput(graph, "y");

  const auto first = RunStep(model, "prune_weights:sparsity=0.6,storage=sparse,skip=v");
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(graph.sparse_initializers.empty());  // 0.4 * 12 bytes > 4 bytes
  EXPECT_EQ(model.ir_version, 4);
  EXPECT_THAT(FindLayer(*first, "fc")->scheme, HasSubstr("dense"));

  const auto second = RunStep(model, "prune_weights:sparsity=0.9,storage=sparse,skip=v");
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(model.ir_version, 6);
  EXPECT_FALSE(graph.initializers.contains("w"));
  EXPECT_TRUE(graph.initializers.contains("v"));
  EXPECT_THAT(FindLayer(*second, "constant")->scheme, HasSubstr("dense (a Constant node)"));
  const LayerOutcome& layer = *FindLayer(*second, "fc");
  EXPECT_EQ(layer.bytes_before, 16384);
  EXPECT_EQ(layer.bytes_after, static_cast<int64_t>(graph.sparse_initializers.at("w").size()));
  EXPECT_LT(layer.bytes_after, 16384 * 3 / 10 + 100);

  onnx::SparseTensorProto sparse;
  ASSERT_TRUE(sparse.ParseFromString(std::string(graph.sparse_initializers.at("w").view())));
  EXPECT_EQ(sparse.values().name(), "w");
  ASSERT_EQ(sparse.values().raw_data().size(), 410u * 4);  // 4096 - round(0.9 * 4096)
  ASSERT_EQ(sparse.indices().raw_data().size(), 410u * 8);
  EXPECT_EQ(sparse.indices().data_type(), onnx::TensorProto::INT64);
  const auto* positions = reinterpret_cast<const int64_t*>(sparse.indices().raw_data().data());
  const auto* kept = reinterpret_cast<const float*>(sparse.values().raw_data().data());
  for (int i = 0; i < 410; ++i) {
    EXPECT_EQ(kept[i], values[positions[i]]);
    if (i > 0) {
      EXPECT_LT(positions[i - 1], positions[i]);
    }
  }
  ASSERT_TRUE(VerifyModel(model).ok());
}

TEST(PruneWeights, StopsWhenTheJobIsCancelled) {
  Model model = TwoLayers();
  Step step;
  step.method = "prune_weights";
  step.params["sparsity"] = 0.5;
  const auto parallel = MakeSerial();
  StepOutcome outcome;
  StepContext ctx{model, step, 0, *parallel, nullptr, [] { return true; }, outcome};
  EXPECT_EQ(ApplyPruneWeights(ctx).code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace lathe::engine
