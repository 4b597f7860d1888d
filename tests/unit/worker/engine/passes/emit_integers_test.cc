#include "worker/engine/passes/emit_integers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "tests/unit/worker/engine/passes/pass_test_util.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/verifier.h"

namespace lathe::engine {
namespace {

using testing::AddInitializer;
using testing::AddInput;
using testing::AddNode;
using testing::AddOutput;
using testing::AddWeight;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::NewModel;
using ::testing::Not;
using testing::OpTypes;
using testing::RunPlainly;

// Every unit static, with ranges wide enough for what RunPlainly feeds.
IntegerPlan PlanAll(const std::vector<IntegerUnit>& units, UnitForm form = UnitForm::kStatic) {
  IntegerPlan plan;
  for (const IntegerUnit& unit : units) {
    plan.forms.push_back(unit.not_static.empty() ? form : UnitForm::kFloat);
    // What a Relu gave begins at 0, whoever reads it.
    for (const std::string& name : unit.results) {
      plan.ranges[name] = MakeIntegerRange(unit.absorbed.empty() ? -16 : 0, 16, 8, false, false);
    }
    for (const std::string& name : unit.inputs) {
      plan.ranges.emplace(name, MakeIntegerRange(-16, 16, 8, false, false));
    }
  }
  return plan;
}

struct Emitted {
  Model model;
  std::vector<IntegerUnit> units;
};

Emitted Emit(const Model& model, UnitForm form = UnitForm::kStatic) {
  Emitted out{CloneModel(model), {}};
  const std::vector<Weight> weights = FindWeights(out.model);
  out.units = FindIntegerUnits(out.model, weights);
  const auto emitted = EmitIntegers(out.model, out.units, PlanAll(out.units, form), *MakeSerial());
  EXPECT_TRUE(emitted.ok()) << emitted.status();
  RemoveUnusedConstants(out.model);
  const absl::Status valid = VerifyModel(out.model);
  EXPECT_TRUE(valid.ok()) << valid;
  return out;
}

double Db(const std::vector<float>& wanted, const std::vector<float>& got) {
  EXPECT_EQ(wanted.size(), got.size());
  double signal = 0;
  double noise = 0;
  for (size_t i = 0; i < wanted.size() && i < got.size(); ++i) {
    signal += static_cast<double>(wanted[i]) * wanted[i];
    noise += (static_cast<double>(wanted[i]) - got[i]) * (static_cast<double>(wanted[i]) - got[i]);
  }
  return 10 * std::log10(signal / std::max(noise, 1e-30));
}

Model ConvRelu() {
  Model model = NewModel(13);
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddWeight(graph, "w", {6, 4, 3, 3});
  AddWeight(graph, "b", {6});
  AddNode(graph, "Conv", {"x", "w", "b"}, {"t"}, "conv");
  AddNode(graph, "Relu", {"t"}, {"r"}, "relu");
  AddWeight(graph, "w2", {5, 6, 1, 1});
  AddNode(graph, "Conv", {"r", "w2"}, {"y"}, "conv2");
  AddOutput(graph, "y");
  return model;
}

TEST(EmitIntegersTest, AConvolutionTakesItsReluAlong) {
  const Model model = ConvRelu();
  const Emitted out = Emit(model);
  EXPECT_THAT(OpTypes(*out.model.graph),
              ElementsAre("QuantizeLinear", "DequantizeLinear", "DequantizeLinear",
                          "DequantizeLinear", "Conv", "QuantizeLinear", "DequantizeLinear",
                          "DequantizeLinear", "Conv", "QuantizeLinear", "DequantizeLinear"));
  EXPECT_EQ(out.units[0].absorbed, "r");
  EXPECT_TRUE(out.model.graph->IsOutput("y"));
  // 32 / 255 a step over values of up to 16: about 40 dB, and the products add theirs.
  EXPECT_GT(
      Db(RunPlainly(model, {{"x", {1, 4, 6, 6}}}), RunPlainly(out.model, {{"x", {1, 4, 6, 6}}})),
      25);
}

TEST(EmitIntegersTest, AReluStaysWhereClampingDoesNotDoItsWork) {
  Emitted out{ConvRelu(), {}};
  const std::vector<Weight> weights = FindWeights(out.model);
  out.units = FindIntegerUnits(out.model, weights);
  IntegerPlan plan = PlanAll(out.units);
  plan.ranges["r"] = MakeIntegerRange(-4, 16, 8, false, false);  // a zero point above 0
  ASSERT_TRUE(EmitIntegers(out.model, out.units, plan, *MakeSerial()).ok());
  EXPECT_THAT(OpTypes(*out.model.graph), Contains("Relu"));
}

TEST(EmitIntegersTest, ProductsInEveryForm) {
  struct Case {
    const char* what;
    std::function<void(Graph&)> build;
    Shape x;
  };
  const Case cases[] = {
      {"MatMul",
       [](Graph& g) {
         AddWeight(g, "w", {8, 5});
         AddNode(g, "MatMul", {"x", "w"}, {"y"}, "product");
       },
       {2, 3, 8}},
      {"MatMul and bias",
       [](Graph& g) {
         AddWeight(g, "w", {8, 5});
         AddWeight(g, "b", {5});
         AddNode(g, "MatMul", {"x", "w"}, {"t"}, "product");
         AddNode(g, "Add", {"b", "t"}, {"y"});
       },
       {3, 8}},
      {"Gemm",
       [](Graph& g) {
         AddWeight(g, "w", {8, 5});
         AddWeight(g, "b", {5});
         AddNode(g, "Gemm", {"x", "w", "b"}, {"y"}, "product");
       },
       {3, 8}},
      {"Gemm of transposed weights",
       [](Graph& g) {
         AddWeight(g, "w", {5, 8});
         AddNode(g, "Gemm", {"x", "w"}, {"y"}, "product").SetInt("transB", 1);
       },
       {3, 8}},
      {"MatMul of a weight that is transposed first",
       [](Graph& g) {
         AddWeight(g, "w", {5, 8});
         AddNode(g, "Transpose", {"w"}, {"wt"}).SetInts("perm", {1, 0});
         AddNode(g, "MatMul", {"x", "wt"}, {"y"}, "product");
       },
       {3, 8}},
  };
  for (const Case& c : cases) {
    for (const UnitForm form : {UnitForm::kStatic, UnitForm::kDynamic}) {
      Model model = NewModel(13);
      AddInput(*model.graph, "x");
      c.build(*model.graph);
      AddOutput(*model.graph, "y");
      const Emitted out = Emit(model, form);
      EXPECT_THAT(OpTypes(*out.model.graph),
                  Contains(form == UnitForm::kStatic ? "QuantizeLinear" : "DynamicQuantizeLinear"))
          << c.what;
      for (const auto& [name, tensor] : out.model.graph->initializers) {
        EXPECT_FALSE(tensor.dtype == DType::kFloat && tensor.size() >= 40)
            << c.what << ": the float weight is still there";
      }
      EXPECT_GT(Db(RunPlainly(model, {{"x", c.x}}), RunPlainly(out.model, {{"x", c.x}})), 30)
          << c.what;
    }
  }
}

TEST(EmitIntegersTest, OthersReadWhatAnIntegerLayerGivesThroughItsIntegers) {
  Model model = ConvRelu();
  AddNode(*model.graph, "Tanh", {"r"}, {"side"}, "tanh");
  AddOutput(*model.graph, "side");
  const Emitted out = Emit(model);
  for (const auto& node : out.model.graph->nodes) {
    if (node->op_type == "Tanh") {
      EXPECT_THAT(node->inputs[0], HasSubstr("dequantized"));
    }
  }
  // A Conv stays an integer one only if its result has no reader but Q.
  EXPECT_EQ(CountReaders(*out.model.graph, "t"), 1);
}

TEST(EmitIntegersTest, AGraphOutputKeepsItsName) {
  Model model = ConvRelu();
  AddOutput(*model.graph, "r");
  const Emitted out = Emit(model);
  ASSERT_EQ(out.model.graph->outputs[1].name, "r");
  for (const auto& node : out.model.graph->nodes) {
    if (node->outputs[0] == "r") {
      EXPECT_EQ(node->op_type, "DequantizeLinear");
    }
  }
}

TEST(EmitIntegersTest, WhatIsMovedKeepsItsRange) {
  Model model = NewModel(13);
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddWeight(graph, "w", {4, 4, 1, 1});
  AddNode(graph, "Conv", {"x", "w"}, {"t"});
  AddNode(graph, "MaxPool", {"t"}, {"m"}).SetInts("kernel_shape", {2, 2});
  AddNode(graph, "Conv", {"m", "w"}, {"y"});
  AddOutput(graph, "y");
  const std::vector<IntegerUnit> units = FindIntegerUnits(model, FindWeights(model));
  ASSERT_EQ(units.size(), 3u);
  EXPECT_EQ(units[1].kind, UnitKind::kMove);
}

TEST(EmitIntegersTest, LayersThatCannotBeHadSayWhy) {
  struct Case {
    std::function<void(Graph&)> build;
    const char* reason;
  };
  const Case cases[] = {
      {[](Graph& g) {
         AddWeight(g, "w", {8, 5});
         AddNode(g, "Gemm", {"x", "w"}, {"y"}).SetFloat("alpha", 0.5f);
       },
       "alpha"},
      {[](Graph& g) {
         AddWeight(g, "w", {8, 5});
         AddNode(g, "Gemm", {"x", "w"}, {"y"}).SetInt("transA", 1);
       },
       "transposes"},
      {[](Graph& g) {
         AddWeight(g, "w", {2, 8, 5});
         AddNode(g, "MatMul", {"x", "w"}, {"y"});
       },
       "not a matrix"},
      {[](Graph& g) {
         AddWeight(g, "w", {4, 3, 2, 2});
         AddNode(g, "ConvTranspose", {"x", "w"}, {"y"});
       },
       "ConvTranspose in floats alone"},
      {[](Graph& g) {
         AddWeight(g, "w", {1, 6, 8});
         AddWeight(g, "r", {1, 6, 2});
         AddNode(g, "GRU", {"x", "w", "r"}, {"y"});
       },
       "GRU in floats alone"},
      {[](Graph& g) {
         AddInput(g, "b");
         AddWeight(g, "w", {8, 5});
         AddNode(g, "Gemm", {"x", "w", "b"}, {"y"});
       },
       "bias is no constant"},
  };
  for (const Case& c : cases) {
    Model model = NewModel(13);
    AddInput(*model.graph, "x");
    c.build(*model.graph);
    AddOutput(*model.graph, "y");
    const auto units = FindIntegerUnits(model, FindWeights(model));
    ASSERT_EQ(units.size(), 1u) << c.reason;
    EXPECT_THAT(units[0].not_static, HasSubstr(c.reason));
    EXPECT_THAT(units[0].not_dynamic, HasSubstr(c.reason));
  }
}

// [3 steps, 2, 6] -> hidden 4.
Node& AddLstm(Graph& graph, int64_t directions, const std::string& w, const std::string& y) {
  AddWeight(graph, w, {directions, 16, 6});
  AddWeight(graph, "r", {directions, 16, 4});
  AddWeight(graph, "b", {directions, 32});
  Node& lstm = AddNode(graph, "LSTM", {"x", w, "r", "b"}, {"", y}, "lstm");
  lstm.SetString("direction", directions == 2 ? "bidirectional" : "forward");
  return lstm;
}

TEST(EmitIntegersTest, AnLstmTakesRangesOfEachStepAndWeightsTurned) {
  for (const int64_t directions : {1, 2}) {
    Model model = NewModel(14);
    AddInput(*model.graph, "x");
    AddLstm(*model.graph, directions, "w", "y");
    AddOutput(*model.graph, "y");
    Emitted out{CloneModel(model), {}};
    out.units = FindIntegerUnits(out.model, FindWeights(out.model));
    ASSERT_EQ(out.units.size(), 1u);
    EXPECT_EQ(out.units[0].kind, UnitKind::kRecurrent);
    EXPECT_EQ(out.units[0].not_dynamic, "");
    EXPECT_THAT(out.units[0].not_static, HasSubstr("each step"));
    IntegerPlan plan;
    plan.forms = {UnitForm::kDynamic};
    const auto emitted = EmitIntegers(out.model, out.units, plan, *MakeSerial());
    ASSERT_TRUE(emitted.ok()) << emitted.status();
    ASSERT_EQ(emitted->size(), 2u);
    EXPECT_EQ((*emitted)[0].bytes, directions * (16 * 6 + 16 * 5));
    EXPECT_TRUE((*emitted)[1].recurrent);
    RemoveUnusedConstants(out.model);
    ASSERT_TRUE(VerifyModel(out.model).ok());
    const Graph& graph = *out.model.graph;
    ASSERT_THAT(OpTypes(graph), ElementsAre("DynamicQuantizeLSTM"));
    const Node& node = *graph.nodes[0];
    EXPECT_EQ(node.IntAttribute("hidden_size", 0), 4);
    EXPECT_EQ(out.model.OpsetVersion("com.microsoft"), 1);
    ASSERT_EQ(node.inputs.size(), 12u);
    EXPECT_EQ(graph.initializers.at(node.inputs[1]).dims, (Shape{directions, 6, 16}));
    EXPECT_EQ(graph.initializers.at(node.inputs[2]).dims, (Shape{directions, 4, 16}));
    EXPECT_EQ(graph.initializers.at(node.inputs[8]).dims, (Shape{directions, 16}));
    // Inputs, states and weights each have 8 bits: some 40 dB apiece, and steps add theirs up.
    EXPECT_GT(Db(RunPlainly(model, {{"x", {3, 2, 6}}}), RunPlainly(out.model, {{"x", {3, 2, 6}}})),
              25);
  }
}

TEST(EmitIntegersTest, LstmsThatCannotBeHadSayWhy) {
  struct Case {
    std::function<void(Graph&)> build;
    const char* reason;
  };
  const Case cases[] = {
      {[](Graph& g) { AddLstm(g, 1, "w", "y").SetInt("layout", 1); }, "batch comes first"},
      {[](Graph& g) {
         AddLstm(g, 1, "w", "y");
         AddNode(g, "LSTM", {"x", "w", "r"}, {"z"});
       },
       "shared"},
      {[](Graph& g) {
         AddInput(g, "w");
         AddWeight(g, "r", {1, 16, 4});
         AddNode(g, "LSTM", {"x", "w", "r"}, {"y"});
       },
       "no constant"},
  };
  for (const Case& c : cases) {
    Model model = NewModel(14);
    AddInput(*model.graph, "x");
    c.build(*model.graph);
    AddOutput(*model.graph, "y");
    const auto units = FindIntegerUnits(model, FindWeights(model));
    ASSERT_FALSE(units.empty()) << c.reason;
    EXPECT_THAT(units[0].not_dynamic, HasSubstr(c.reason));
  }
}

TEST(EmitIntegersTest, ABiasTooLargeForInt32WidensTheScale) {
  Model model = NewModel(13);
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddInitializer(graph, Tensor::FromFloats("w", {2, 1, 1, 1}, std::vector<float>{1e-9f, 1.0f}));
  AddInitializer(graph, Tensor::FromFloats("b", {2}, std::vector<float>{50.0f, 1.0f}));
  AddNode(graph, "Conv", {"x", "w", "b"}, {"y"});
  AddOutput(graph, "y");
  const Emitted out = Emit(model);
  const std::vector<float> y = RunPlainly(out.model, {{"x", {1, 1, 2, 2}}});
  // 50 is past the range of the result, 16: it is clamped, not wrapped round.
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(y[i], 16, 0.2);
}

TEST(MakeIntegerRangeTest, ZeroIsAnInteger) {
  for (const int bits : {8, 16}) {
    for (const bool symmetric : {false, true}) {
      for (const auto& [low, high] : std::initializer_list<std::pair<double, double>>{
               {-1, 3}, {0, 6}, {-5, 0}, {0, 0}, {-1e-38, 1e-38}, {-1e38, 3e38}}) {
        const IntegerRange range = MakeIntegerRange(low, high, bits, symmetric, false);
        EXPECT_GT(range.scale, 0);
        EXPECT_TRUE(std::isfinite(range.scale));
        EXPECT_GE(range.zero_point, 0);
        EXPECT_LE(range.zero_point, (1 << bits) - 1);
        if (symmetric) {
          EXPECT_EQ(range.zero_point, 0);
        }
      }
    }
  }
  EXPECT_EQ(std::log2(MakeIntegerRange(-1, 3, 8, true, true).scale), -5);  // 3/127 -> 2^-5
}

}  // namespace
}  // namespace lathe::engine
