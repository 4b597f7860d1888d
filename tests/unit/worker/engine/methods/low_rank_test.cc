#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

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
using testing::FindNode;
using ::testing::HasSubstr;
using testing::NewModel;
using testing::OpTypes;
using testing::RunStep;

// A matrix of rank 2, in its row-major values.
std::vector<float> RankTwo(int64_t m, int64_t n) {
  std::vector<float> values(m * n);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      values[i * n + j] = 0.1f * static_cast<float>(i + 1) +
                          0.3f * static_cast<float>((i % 3) - 1) * static_cast<float>(j % 5);
    }
  }
  return values;
}

// The constant that a value stands for, Cast and Transpose applied.
struct Value {
  Shape dims;
  std::vector<float> values;
};
Value Evaluate(const Graph& graph, const std::string& name) {
  if (const auto found = graph.initializers.find(name); found != graph.initializers.end()) {
    return {found->second.dims, found->second.ToFloats().value()};
  }
  for (const auto& node : graph.nodes) {
    if (node->outputs[0] != name) continue;
    if (node->Is("Constant")) {
      const Tensor& tensor = node->FindAttribute("value")->tensors[0];
      return {tensor.dims, tensor.ToFloats().value()};
    }
    Value in = Evaluate(graph, node->inputs[0]);
    if (!node->Is("Transpose")) return in;
    // Factors have two axes that count, and they are swapped.
    Value out = in;
    std::swap(out.dims[0], out.dims[1]);
    for (int64_t i = 0; i < in.dims[0]; ++i) {
      for (int64_t j = 0; j < in.dims[1]; ++j) {
        out.values[j * in.dims[0] + i] = in.values[i * in.dims[1] + j];
      }
    }
    return out;
  }
  if (graph.parent != nullptr) return Evaluate(*graph.parent, name);
  ADD_FAILURE() << "nobody produces " << name;
  return {};
}

std::vector<float> Product(const Value& left, const Value& right) {
  const int64_t m = left.dims[0];
  const int64_t r = left.dims[1];
  const int64_t n = right.dims[1];
  EXPECT_EQ(right.dims[0], r);
  std::vector<float> out(m * n, 0.0f);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t k = 0; k < r; ++k)
        out[i * n + j] += left.values[i * r + k] * right.values[k * n + j];
    }
  }
  return out;
}

std::vector<float> Turned(int64_t m, int64_t n, const std::vector<float>& values) {
  std::vector<float> out(values.size());
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) out[j * m + i] = values[i * n + j];
  }
  return out;
}

void ExpectNear(const std::vector<float>& actual, const std::vector<float>& expected,
                float tolerance = 2e-5f) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) ASSERT_NEAR(actual[i], expected[i], tolerance) << i;
}

TEST(LowRank, SplitsAMatMulByARightMatrix) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddInitializer(graph, Tensor::FromFloats("w", {20, 30}, RankTwo(20, 30)));
  AddNode(graph, "MatMul", {"x", "w"}, {"y"}, "fc");
  AddOutput(graph, "y");
  graph.value_infos["w"] = testing::Info("w");
  const auto outcome = RunStep(model, "low_rank:energy=0.9999");
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_TRUE(VerifyModel(model).ok()) << VerifyModel(model);
  ASSERT_THAT(OpTypes(graph), ElementsAre("MatMul", "MatMul"));
  const Node& a = *graph.nodes[0];
  const Node& b = *graph.nodes[1];
  EXPECT_EQ(a.name, "fc/low_rank_a");
  EXPECT_EQ(b.name, "fc/low_rank_b");
  EXPECT_EQ(a.provenance.origin, "fc");
  EXPECT_EQ(b.provenance.method, "low_rank");
  EXPECT_EQ(a.inputs[0], "x");
  EXPECT_EQ(b.inputs[0], a.outputs[0]);
  EXPECT_THAT(b.outputs, ElementsAre("y"));
  ExpectNear(Product(Evaluate(graph, a.inputs[1]), Evaluate(graph, b.inputs[1])), RankTwo(20, 30));
  EXPECT_FALSE(graph.initializers.contains("w"));
  EXPECT_FALSE(graph.value_infos.contains("w"));

  const LayerOutcome& layer = *FindLayer(*outcome, "fc");
  EXPECT_EQ(layer.rank, 2);
  EXPECT_EQ(layer.bytes_before, 2400);
  EXPECT_EQ(layer.bytes_after, 2 * 50 * 4);
  EXPECT_LT(*layer.relative_error, 1e-5);
  EXPECT_THAT(layer.scheme, HasSubstr("rank 2 of 20"));
  // The scale lies on both factors alike.
  const Value left = Evaluate(graph, a.inputs[1]);
  const Value right = Evaluate(graph, b.inputs[1]);
  double left_norm = 0;
  double right_norm = 0;
  for (int64_t i = 0; i < 20; ++i) left_norm += std::pow(left.values[i * 2], 2);
  for (int64_t j = 0; j < 30; ++j) right_norm += std::pow(right.values[j], 2);
  EXPECT_NEAR(left_norm / right_norm, 1, 1e-4);
}

TEST(LowRank, SplitsAMatMulByALeftMatrix) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddConstantNode(graph, Tensor::FromFloats("w", {20, 30}, RankTwo(20, 30)));
  AddNode(graph, "MatMul", {"w", "x"}, {"y"});
  AddOutput(graph, "y");
  ASSERT_TRUE(RunStep(model, "low_rank:rank=2").ok());
  ASSERT_TRUE(VerifyModel(model).ok()) << VerifyModel(model);
  ASSERT_THAT(OpTypes(graph), ElementsAre("MatMul", "MatMul"));
  EXPECT_EQ(graph.nodes[0]->inputs[1], "x");
  EXPECT_EQ(graph.nodes[1]->inputs[1], graph.nodes[0]->outputs[0]);
  EXPECT_EQ(graph.nodes[1]->name, "MatMul_1/low_rank_b");  // after the layer's name
  ExpectNear(Product(Evaluate(graph, graph.nodes[1]->inputs[0]),
                     Evaluate(graph, graph.nodes[0]->inputs[0])),
             RankTwo(20, 30));
}

TEST(LowRank, SplitsAGemmAndKeepsBiasAlphaAndBeta) {
  for (const int trans_a : {0, 1}) {
    for (const int trans_b : {0, 1}) {
      SCOPED_TRACE(std::to_string(trans_a) + std::to_string(trans_b));
      Model model = NewModel(9);
      Graph& graph = *model.graph;
      AddInput(graph, "x");
      const std::vector<float> matrix = RankTwo(20, 30);
      AddInitializer(graph, trans_b != 0 ? Tensor::FromFloats("w", {30, 20}, Turned(20, 30, matrix))
                                         : Tensor::FromFloats("w", {20, 30}, matrix));
      AddWeight(graph, "bias", {30});
      Node& gemm = AddNode(graph, "Gemm", {"x", "w", "bias"}, {"y"}, "fc");
      gemm.SetFloat("alpha", 0.5f);
      gemm.SetFloat("beta", 2);
      gemm.SetInt("transA", trans_a);
      gemm.SetInt("transB", trans_b);
      AddOutput(graph, "y");
      ASSERT_TRUE(RunStep(model, "low_rank").ok());
      ASSERT_TRUE(VerifyModel(model).ok()) << VerifyModel(model);
      const Node& a = *FindNode(graph, "fc/low_rank_a");
      const Node& b = *FindNode(graph, "fc/low_rank_b");
      if (trans_a != 0) {
        ASSERT_THAT(OpTypes(graph), ElementsAre("Transpose", "MatMul", "Gemm"));
        EXPECT_EQ(graph.nodes[0]->inputs[0], "x");
        EXPECT_EQ(a.inputs[0], graph.nodes[0]->outputs[0]);
      } else {
        ASSERT_THAT(OpTypes(graph), ElementsAre("MatMul", "Gemm"));
        EXPECT_EQ(a.inputs[0], "x");
      }
      EXPECT_EQ(b.inputs[2], "bias");
      EXPECT_EQ(b.FloatAttribute("alpha", 1), 0.5f);
      EXPECT_EQ(b.FloatAttribute("beta", 1), 2);
      EXPECT_EQ(b.IntAttribute("transA", 0), 0);
      EXPECT_EQ(b.IntAttribute("transB", 0), 0);
      ExpectNear(Product(Evaluate(graph, a.inputs[1]), Evaluate(graph, b.inputs[1])), matrix);
    }
  }
}

TEST(LowRank, SplitsAPointwiseConvolution) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddInitializer(graph, Tensor::FromFloats("w", {20, 30, 1, 1}, RankTwo(20, 30)));
  AddWeight(graph, "bias", {20});
  Node& conv = AddNode(graph, "Conv", {"x", "w", "bias"}, {"y"}, "conv");
  conv.SetInts("strides", {2, 1});
  conv.SetInts("pads", {1, 0, 1, 0});
  conv.SetInts("dilations", {1, 1});
  conv.SetInts("kernel_shape", {1, 1});
  conv.SetInt("group", 1);
  AddOutput(graph, "y");
  ASSERT_TRUE(RunStep(model, "low_rank:rank=2").ok());
  ASSERT_TRUE(VerifyModel(model).ok()) << VerifyModel(model);
  ASSERT_THAT(OpTypes(graph), ElementsAre("Conv", "Conv"));
  const Node& a = *graph.nodes[0];
  const Node& b = *graph.nodes[1];
  EXPECT_THAT(a.IntsAttribute("strides"), ElementsAre(2, 1));
  EXPECT_THAT(a.IntsAttribute("pads"), ElementsAre(1, 0, 1, 0));
  EXPECT_EQ(a.inputs.size(), 2u);
  EXPECT_EQ(b.FindAttribute("strides"), nullptr);
  EXPECT_EQ(b.FindAttribute("pads"), nullptr);
  EXPECT_THAT(b.IntsAttribute("kernel_shape"), ElementsAre(1, 1));
  EXPECT_EQ(b.inputs[2], "bias");
  const Value left = Evaluate(graph, b.inputs[1]);
  const Value right = Evaluate(graph, a.inputs[1]);
  EXPECT_EQ(left.dims, (Shape{20, 2, 1, 1}));
  EXPECT_EQ(right.dims, (Shape{2, 30, 1, 1}));
  ExpectNear(Product(left, right), RankTwo(20, 30));
}

TEST(LowRank, UnpermutesAConvolutionKernelOfAnotherLayout) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddInitializer(graph, Tensor::FromFloats("w", {1, 1, 30, 20}, Turned(20, 30, RankTwo(20, 30))));
  AddNode(graph, "Transpose", {"w"}, {"wt"}).SetInts("perm", {3, 2, 0, 1});
  AddNode(graph, "Conv", {"x", "wt"}, {"y"}, "conv");
  AddOutput(graph, "y");
  ASSERT_TRUE(RunStep(model, "low_rank:rank=2").ok());
  ASSERT_THAT(OpTypes(graph), ElementsAre("Conv", "Conv"));  // the Transpose went with its source
  const Value left = Evaluate(graph, graph.nodes[1]->inputs[1]);
  const Value right = Evaluate(graph, graph.nodes[0]->inputs[1]);
  EXPECT_EQ(left.dims, (Shape{20, 2, 1, 1}));
  ExpectNear(Product(left, right), RankTwo(20, 30));
}

TEST(LowRank, RewritesEveryUseOfASharedWeight) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddInput(graph, "condition", DType::kBool);
  AddInitializer(graph, Tensor::FromFloats("w", {20, 30}, RankTwo(20, 30)));
  AddNode(graph, "MatMul", {"x", "w"}, {"h"}, "encode");
  AddNode(graph, "Identity", {"w"}, {"wi"});
  AddNode(graph, "Transpose", {"wi"}, {"wt"});
  AddNode(graph, "MatMul", {"h", "wt"}, {"g"}, "decode");
  Node& branch = AddNode(graph, "If", {"condition"}, {"y"}, "if");
  Graph& then_branch = AddSubgraph(graph, branch, "then_branch");
  AddNode(then_branch, "MatMul", {"g", "w"}, {"t"}, "inner");
  AddOutput(then_branch, "t");
  Graph& else_branch = AddSubgraph(graph, branch, "else_branch");
  AddNode(else_branch, "Identity", {"g"}, {"e"});
  AddOutput(else_branch, "e");
  AddOutput(graph, "y");
  const auto outcome = RunStep(model, "low_rank:rank=2");
  ASSERT_TRUE(outcome.ok());
  ASSERT_TRUE(VerifyModel(model).ok()) << VerifyModel(model);
  ASSERT_EQ(outcome->layers.size(), 1u);
  EXPECT_FALSE(graph.initializers.contains("w"));
  EXPECT_EQ(graph.initializers.size(), 2u);  // stored once
  for (const char* name : {"encode", "inner", "decode"}) {
    SCOPED_TRACE(name);
    const std::string base = name;
    const Node& a = *FindNode(graph, base + "/low_rank_a");
    const Node& b = *FindNode(graph, base + "/low_rank_b");
    const std::vector<float> product =
        Product(Evaluate(graph, a.inputs[1]), Evaluate(graph, b.inputs[1]));
    ExpectNear(product, base == "decode" ? Turned(20, 30, RankTwo(20, 30)) : RankTwo(20, 30));
  }
}

TEST(LowRank, KeepsHalfPrecisionStorage) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  std::string halves;
  for (const float value : RankTwo(20, 30)) {
    const uint16_t half = FloatToHalf(value);
    halves.append(reinterpret_cast<const char*>(&half), 2);
  }
  AddInitializer(graph, Tensor::Make("w", DType::kFloat16, {20, 30}, halves).value());
  AddNode(graph, "Cast", {"w"}, {"wf"}).SetInt("to", 1);
  AddNode(graph, "MatMul", {"x", "wf"}, {"y"}, "fc");
  AddOutput(graph, "y");
  const auto outcome = RunStep(model, "low_rank:rank=2");
  ASSERT_TRUE(outcome.ok());
  ASSERT_TRUE(VerifyModel(model).ok()) << VerifyModel(model);
  EXPECT_THAT(OpTypes(graph), ElementsAre("Cast", "Cast", "MatMul", "MatMul"));
  const Node& a = *FindNode(graph, "fc/low_rank_a");
  const Node& b = *FindNode(graph, "fc/low_rank_b");
  // Eleven bits a factor.
  ExpectNear(Product(Evaluate(graph, a.inputs[1]), Evaluate(graph, b.inputs[1])), RankTwo(20, 30),
             1e-2f);
  const LayerOutcome& layer = *FindLayer(*outcome, "fc");
  EXPECT_EQ(layer.bytes_after, 2 * 50 * 2);
  EXPECT_GT(*layer.relative_error, 1e-5);  // measured on the rounded factors
  EXPECT_LT(*layer.relative_error, 1e-3);
}

TEST(LowRank, WorksInFunctionBodies) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  Function& function = AddFunction(model, "F", {"fx"}, {"fy"});
  AddConstantNode(*function.body, Tensor::FromFloats("wf", {20, 30}, RankTwo(20, 30)));
  AddNode(*function.body, "MatMul", {"fx", "wf"}, {"fy"}, "inner");
  AddNode(graph, "F", {"x"}, {"y"}, "call", "local");
  AddOutput(graph, "y");
  ASSERT_TRUE(RunStep(model, "low_rank:rank=2").ok());
  ASSERT_TRUE(VerifyModel(model).ok()) << VerifyModel(model);
  EXPECT_THAT(OpTypes(*function.body), ElementsAre("Constant", "Constant", "MatMul", "MatMul"));
  const Node& a = *function.body->nodes[2];
  const Node& b = *function.body->nodes[3];
  ExpectNear(Product(Evaluate(*function.body, a.inputs[1]), Evaluate(*function.body, b.inputs[1])),
             RankTwo(20, 30));
}

TEST(LowRank, LeavesAloneWhatItCannotSplitOrWhatWouldNotShrink) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddInput(graph, "ids", DType::kInt64);
  std::vector<float> full(256);
  for (int i = 0; i < 256; ++i) full[i] = static_cast<float>((i * i * 31 + i * 7) % 101) - 50;
  AddInitializer(graph, Tensor::FromFloats("full", {16, 16}, full));
  AddWeight(graph, "vector", {16});
  AddWeight(graph, "column", {16, 1});
  AddWeight(graph, "batch", {2, 16, 16});
  AddWeight(graph, "kernel", {8, 4, 3, 3});
  AddWeight(graph, "depthwise", {4, 1, 1, 1});
  AddWeight(graph, "up", {4, 8, 1, 1});
  AddWeight(graph, "table", {32, 16});
  AddWeight(graph, "tied", {32, 16});
  AddInitializer(graph, Tensor::FromFloats("zero", {16, 16}, std::vector<float>(256, 0.0f)));
  AddNode(graph, "MatMul", {"x", "full"}, {"1"}, "m_full");
  AddNode(graph, "MatMul", {"x", "vector"}, {"2"}, "m_vector");
  AddNode(graph, "MatMul", {"x", "column"}, {"3"}, "m_column");
  AddNode(graph, "MatMul", {"x", "batch"}, {"4"}, "m_batch");
  AddNode(graph, "Conv", {"x", "kernel"}, {"5"}, "c_kernel");
  AddNode(graph, "Conv", {"x", "depthwise"}, {"6"}, "c_depthwise").SetInt("group", 4);
  AddNode(graph, "ConvTranspose", {"x", "up"}, {"7"}, "c_up");
  AddNode(graph, "Gather", {"table", "ids"}, {"8"}, "g_table");
  AddNode(graph, "MatMul", {"x", "tied"}, {"9"}, "m_tied");
  AddNode(graph, "Gather", {"tied", "ids"}, {"10"}, "g_tied");
  AddNode(graph, "MatMul", {"x", "zero"}, {"11"}, "m_zero");
  for (int i = 1; i <= 11; ++i) AddOutput(graph, std::to_string(i));
  const std::vector<std::string> ops = OpTypes(graph);
  const auto outcome = RunStep(model, "low_rank:energy=1.0");
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(OpTypes(graph), ops);
  const std::map<std::string, std::string> reasons = {
      {"m_full", "needs rank"},
      {"m_vector", "vector"},
      {"m_column", "never smaller"},
      {"m_batch", "batch"},
      {"c_kernel", "kernel is 3x3"},
      {"c_depthwise", "grouped"},
      {"c_up", "ConvTranspose"},
      {"g_table", "embedding"},
      {"m_tied", "shared with Gather 'g_tied'"},
      {"m_zero", "zero"},
  };
  EXPECT_EQ(outcome->layers.size(), reasons.size());
  for (const auto& [name, reason] : reasons) {
    ASSERT_NE(FindLayer(*outcome, name), nullptr) << name;
    EXPECT_THAT(FindLayer(*outcome, name)->skipped_reason, HasSubstr(reason));
  }
}

TEST(LowRank, RankAndRatioRespectTheBreakEven) {
  // 16 x 16: rank 7 costs 224 of 256, rank 8 all 256.
  struct Case {
    const char* step;
    std::optional<int64_t> rank;
  };
  for (const Case& c :
       {Case{"low_rank:rank=7", 7}, Case{"low_rank:rank=8", std::nullopt},
        Case{"low_rank:parameter_ratio=0.5", 4}, Case{"low_rank:parameter_ratio=0.01", 1},
        Case{"low_rank:rank=3,algorithm=randomized", 3}}) {
    Model model = NewModel();
    AddInput(*model.graph, "x");
    std::vector<float> values(256);
    for (int i = 0; i < 256; ++i) values[i] = static_cast<float>((i * i * 31 + i * 7) % 101) - 50;
    AddInitializer(*model.graph, Tensor::FromFloats("w", {16, 16}, values));
    AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"}, "fc");
    AddOutput(*model.graph, "y");
    const auto outcome = RunStep(model, c.step);
    ASSERT_TRUE(outcome.ok());
    EXPECT_EQ(FindLayer(*outcome, "fc")->rank, c.rank) << c.step;
    if (!c.rank) {
      EXPECT_THAT(FindLayer(*outcome, "fc")->skipped_reason, HasSubstr("up to 7"));
    }
  }
}

TEST(LowRank, NamesTheLayerThatHoldsANaN) {
  Model model = NewModel();
  AddInput(*model.graph, "x");
  std::vector<float> values(256, 1.0f);
  values[17] = NAN;
  AddInitializer(*model.graph, Tensor::FromFloats("w", {16, 16}, values));
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"}, "fc");
  AddOutput(*model.graph, "y");
  const auto outcome = RunStep(model, "low_rank:rank=2");
  ASSERT_EQ(outcome.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(outcome.status().message()), HasSubstr("fc"));
}

TEST(LowRank, GivesTheSameBytesForAnyNumberOfThreads) {
  std::vector<std::string> results;
  for (const int threads : {1, 2, 5}) {
    Model model = NewModel();
    AddInput(*model.graph, "x");
    std::vector<float> values(600 * 700);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>((i * 7919 + i / 700 * 13) % 1009) / 1009 - 0.5f;
    }
    AddInitializer(*model.graph, Tensor::FromFloats("w", {600, 700}, values));
    AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"}, "fc");
    AddOutput(*model.graph, "y");
    ASSERT_TRUE(RunStep(model, "low_rank:parameter_ratio=0.3", threads, 9).ok());
    std::string bytes;
    for (const auto& [name, tensor] : model.graph->initializers) {
      bytes += name;
      bytes.append(tensor.data.view().data(), tensor.data.view().size());
    }
    results.push_back(bytes);
  }
  EXPECT_TRUE(results[0] == results[1]);
  EXPECT_TRUE(results[0] == results[2]);
}

}  // namespace
}  // namespace lathe::engine
