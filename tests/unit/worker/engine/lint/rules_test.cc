// Every rule: a model that it is about, and one that is nearly the same and clean.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "tests/unit/worker/engine/lint/quantized_models.h"
#include "worker/engine/graph/verifier.h"
#include "worker/engine/lint/lint.h"
#include "worker/engine/lint/rule.h"

namespace lathe::engine {
namespace {

using namespace lathe::engine::testing;  // NOLINT: the builders

struct Case {
  const char* rule;
  const char* what;
  Model (*bad)();
  Model (*good)();
};

Model With(Model model, Tensor tensor) {
  Replace(model, std::move(tensor));
  return model;
}

template <typename Change>
Model Changed(Linear form, Change change) {
  change(form);
  return LinearModel(form);
}

Node& Layer(Model& model) { return *FindNode(*model.graph, "layer"); }

Model Lookup(bool dequantize_first) {
  Model model = NewModel(21, 10);
  Graph& graph = *model.graph;
  AddInput(graph, "i", DType::kInt64);
  AddInitializer(graph, Filled("w", DType::kInt8, {9, 4}, 3));
  AddInitializer(graph, Scale("s", 0.1f));
  AddNode(graph, dequantize_first ? "DequantizeLinear" : "Gather",
          {"w", dequantize_first ? "s" : "i"}, {"h"});
  AddNode(graph, dequantize_first ? "Gather" : "DequantizeLinear",
          {"h", dequantize_first ? "i" : "s"}, {"y"});
  AddOutput(graph, "y");
  return model;
}

// Weights of a product whose elements 2i and 2i + 1 along K are `a` and `b`.
Model PairModel(int a, int b, bool shifted = false) {
  Model model = LinearModel(Product());
  std::vector<int8_t> values(8 * 4, 0);
  for (int n = 0; n < 4; ++n) {
    values[static_cast<size_t>((shifted ? 1 : 0) * 4 + n)] = static_cast<int8_t>(a);
    values[static_cast<size_t>((shifted ? 2 : 1) * 4 + n)] = static_cast<int8_t>(b);
  }
  return With(std::move(model), Raw("w_q", DType::kInt8, {8, 4}, values));
}

// A kernel whose two inputs, or two positions, hold 127.
Model KernelModel(bool inputs) {
  Linear form;
  form.weight_dims = {4, 2, 1, 2};
  Model model = LinearModel(form);
  std::vector<int8_t> values;
  for (int o = 0; o < 4; ++o) {
    for (const int value : {127, inputs ? 0 : 127, inputs ? 127 : 0, 0}) {
      values.push_back(static_cast<int8_t>(value));
    }
  }
  return With(std::move(model), Raw("w_q", DType::kInt8, {4, 2, 1, 2}, values));
}

Model WithSecondReader(Model model) {
  AddOutput(*model.graph, "h");
  return model;
}

Model ComputedZeroPoint(bool dynamic) {
  Model model = NewModel(21, 10);
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  if (dynamic) {
    AddNode(graph, "DynamicQuantizeLinear", {"x"}, {"q", "s", "z"});
  } else {
    AddInput(graph, "z", DType::kUint8);
    AddInitializer(graph, Scale("s", 0.1f));
    AddNode(graph, "QuantizeLinear", {"x", "s", "z"}, {"q"});
  }
  AddNode(graph, "DequantizeLinear", {"q", "s", "z"}, {"y"});
  AddOutput(graph, "y");
  return model;
}

Model EightBitMaxPool(int64_t opset) {
  Model model = NewModel(opset, 7);
  AddInput(*model.graph, "x", DType::kUint8);
  AddNode(*model.graph, "MaxPool", {"x"}, {"y"}).SetInts("kernel_shape", {2, 2});
  AddOutput(*model.graph, "y", DType::kUint8);
  return model;
}

Model BlocksModel(int64_t opset) {
  Linear form = Product();
  form.opset = opset;
  form.bias = "";
  form.data_quantized = false;
  form.output_quantized = false;
  form.weight_dims = {32, 4};
  Model model = LinearModel(form);
  Replace(model, Tensor::FromFloats("w_s", {2, 4}, std::vector<float>(8, 0.01f)));
  Replace(model, Filled("w_z", DType::kInt8, {2, 4}, 0));
  Node& dequantize = *model.graph->nodes.front();
  dequantize.SetInt("axis", 0);
  dequantize.SetInt("block_size", 16);
  return model;
}

Model WeightOnly(const std::string& op, const char* attribute = nullptr) {
  Linear form = op == "Conv" ? Linear() : Product(op);
  form.data_quantized = false;
  form.output_quantized = false;
  form.bias = "";
  if (op != "Conv") form.weight_dims = {4, 4};
  Model model = LinearModel(form);
  if (attribute != nullptr) Layer(model).SetInt(attribute, 1);
  return model;
}

Model WithBeta(float beta) {
  Model model = LinearModel(Product("Gemm"));
  Layer(model).SetFloat("beta", beta);
  return model;
}

// A quantized weight beside a float tensor of `value`; rounded, 0.5 is the same.
Model Beside(float value) {
  Model model = LinearModel();
  Graph& graph = *model.graph;
  AddInitializer(graph,
                 Tensor::FromFloats("w_float", {4, 4, 3, 3}, std::vector<float>(144, value)));
  AddNode(graph, "Abs", {"w_float"}, {"left"});
  AddOutput(graph, "left");
  return model;
}

Model FloatWeight() {
  Model model = LinearModel();
  AddWeight(*model.graph, "w", {4, 4, 3, 3});
  Layer(model).inputs[1] = "w";
  return model;
}

const Case kCases[] = {
    {"weight_axis", "Conv with as many inputs as outputs",
     [] { return Changed({}, [](Linear& f) { f.axis = 1; }); }, [] { return LinearModel(); }},
    {"weight_axis", "Gemm with transB",
     [] {
       Linear form = Product("Gemm");
       form.weight_dims = {4, 4};
       Model model = LinearModel(form);
       Layer(model).SetInt("transB", 1);
       return model;
     },
     [] { return LinearModel(Product("Gemm")); }},
    {"weight_axis", "a negative axis is counted from the end",
     [] {
       return Changed(Product(), [](Linear& f) {
         f.weight_dims = {4, 4};
         f.axis = -2;
       });
     },
     [] { return Changed(Product(), [](Linear& f) { f.axis = -1; }); }},
    {"bias_overflow", "int32 at its end",
     [] {
       return With(LinearModel(),
                   Filled("b_q", DType::kInt32, {4}, std::numeric_limits<int32_t>::max()));
     },
     [] { return LinearModel(); }},
    {"bias_overflow", "a float bias of a dead channel",
     [] {
       return With(Changed({}, [](Linear& f) { f.bias = "float"; }), Scales("w_s", 4, 1e-12f));
     },
     [] { return Changed({}, [](Linear& f) { f.bias = "float"; }); }},
    {"bias_scale", "twice what it should be",
     [] { return Changed({}, [](Linear& f) { f.bias_scale = 0.0004f; }); },
     [] { return LinearModel(); }},
    {"bias_scale", "a zero point",
     [] { return With(LinearModel(), Filled("b_z", DType::kInt32, {4}, 1)); },
     [] { return LinearModel(); }},
    {"int16_saturation", "129", [] { return PairModel(64, 65); }, [] { return PairModel(64, 64); }},
    {"int16_saturation", "-129", [] { return PairModel(-64, -65); },
     [] { return PairModel(127, -127); }},
    {"int16_saturation", "pairs begin at even places", [] { return PairModel(127, 127); },
     [] { return PairModel(127, 127, true); }},
    {"int16_saturation", "inputs of a kernel are neighbours", [] { return KernelModel(true); },
     [] { return KernelModel(false); }},
    {"int16_saturation", "an integer operator",
     [] { return IntegerModel(DType::kUint8, DType::kInt8, 100); },
     [] { return IntegerModel(DType::kUint8, DType::kInt8, 64); }},
    {"int16_saturation", "dynamic", [] { return DynamicModel("MatMulInteger", 100); },
     [] { return DynamicModel("ConvInteger", 100); }},
    {"bad_scale", "zero", [] { return With(LinearModel(), Scale("x_s", 0)); },
     [] { return LinearModel(); }},
    {"bad_scale", "not a number",
     [] { return With(LinearModel(), Scales("w_s", 4, std::numeric_limits<float>::quiet_NaN())); },
     [] { return With(LinearModel(), Scales("w_s", 4, 1e-30f)); }},
    {"opset", "per channel", [] { return Changed({}, [](Linear& f) { f.opset = 12; }); },
     [] { return Changed({}, [](Linear& f) { f.opset = 13; }); }},
    {"opset", "blocks", [] { return BlocksModel(20); }, [] { return BlocksModel(21); }},
    {"opset", "8-bit MaxPool", [] { return EightBitMaxPool(11); },
     [] { return EightBitMaxPool(12); }},
    {"float_bias", "MatMul and Add",
     [] { return Changed(Product(), [](Linear& f) { f.bias = "float"; }); },
     [] { return LinearModel(Product()); }},
    {"float_bias", "Gemm without a quantized result",
     [] {
       return Changed(Product("Gemm"), [](Linear& f) {
         f.bias = "float";
         f.output_quantized = false;
       });
     },
     [] { return Changed(Product("Gemm"), [](Linear& f) { f.output_quantized = false; }); }},
    {"activation_range", "Relu before a range that goes below zero",
     [] { return Changed({}, [](Linear& f) { f.activation = "Relu"; }); },
     [] {
       return Changed({}, [](Linear& f) {
         f.activation = "Relu";
         f.output_zero = 0;
       });
     }},
    {"activation_range", "Clip before a range that goes past six",
     [] {
       return Changed({}, [](Linear& f) {
         f.activation = "Clip";
         f.output_zero = 0;
         f.output_scale = 7.0f / 255;
       });
     },
     [] {
       return Changed({}, [](Linear& f) {
         f.activation = "Clip";
         f.output_zero = 0;
         f.output_scale = 6.0f / 255;
       });
     }},
    {"float_reader", "a graph output", [] { return WithSecondReader(LinearModel()); },
     [] { return LinearModel(); }},
    {"missing_quantize", "Conv",
     [] { return Changed({}, [](Linear& f) { f.output_quantized = false; }); },
     [] { return Changed(Product(), [](Linear& f) { f.output_quantized = false; }); }},
    {"weight_only", "Conv", [] { return WeightOnly("Conv"); }, [] { return LinearModel(); }},
    {"weight_only", "Gemm with transB", [] { return WeightOnly("Gemm", "transB"); },
     [] { return WeightOnly("Gemm"); }},
    {"weight_only", "Gemm with transA", [] { return WeightOnly("Gemm", "transA"); },
     [] { return WeightOnly("MatMul"); }},
    {"dequantized_table", "", [] { return Lookup(true); }, [] { return Lookup(false); }},
    {"float_weight", "", [] { return FloatWeight(); }, [] { return LinearModel(); }},
    {"gemm_beta", "", [] { return WithBeta(2); }, [] { return WithBeta(1); }},
    {"transposed_conv", "",
     [] {
       return Changed({}, [](Linear& f) {
         f.op = "ConvTranspose";
         f.axis = 1;
       });
     },
     [] { return LinearModel(); }},
    {"same_scale", "", [] { return UnaryModel("MaxPool", true, 0.03f); },
     [] { return UnaryModel("MaxPool"); }},
    {"same_scale", "another zero point", [] { return UnaryModel("Transpose", true, 0.02f, 127); },
     [] { return UnaryModel("AveragePool", true, 0.02f, 127); }},
    {"mixed_types", "", [] { return AddModel(DType::kInt8); },
     [] { return AddModel(DType::kUint8); }},
    {"half_quantized", "", [] { return AddModel(DType::kUint8, false); },
     [] { return AddModel(DType::kUint8); }},
    {"unfused_op", "", [] { return UnaryModel("Tanh"); }, [] { return UnaryModel("Sigmoid"); }},
    {"unfused_op", "Relu", [] { return UnaryModel("Relu"); },
     [] { return UnaryModel("Relu", true, 0.02f, 0); }},
    {"decomposed", "", [] { return UnaryModel("Sqrt"); }, [] { return UnaryModel("Sqrt", false); }},
    {"wide_activations", "", [] { return UnaryModel("Sigmoid", true, 0.02f, 128, DType::kUint16); },
     [] { return UnaryModel("Sigmoid"); }},
    {"computed_parameters", "", [] { return ComputedZeroPoint(false); },
     [] { return ComputedZeroPoint(true); }},
    {"signed_activations", "slow", [] { return IntegerModel(DType::kInt8, DType::kInt8); },
     [] { return IntegerModel(DType::kUint8, DType::kInt8); }},
    {"signed_activations", "no such kernel",
     [] { return IntegerModel(DType::kInt8, DType::kUint8); },
     [] { return IntegerModel(DType::kUint8, DType::kUint8); }},
    {"dynamic_conv", "", [] { return DynamicModel("ConvInteger"); },
     [] { return DynamicModel("MatMulInteger"); }},
    {"accuracy_level", "8 bits", [] { return BlockModel(8, 0); }, [] { return BlockModel(8, 4); }},
    {"accuracy_level", "4 bits", [] { return BlockModel(4, 1); }, [] { return BlockModel(4, 4); }},
    {"float_zero_points", "", [] { return BlockModel(4, 4, true); },
     [] { return BlockModel(4, 4); }},
    {"group_index", "", [] { return BlockModel(4, 4, false, true); },
     [] { return BlockModel(4, 4); }},
    {"softmax_scale", "", [] { return UnaryModel("Softmax", true, 1.0f / 128, 0); },
     [] { return UnaryModel("Softmax", true, 1.0f / 256, 0); }},
    {"unsigned_weights", "",
     [] { return Changed({}, [](Linear& f) { f.weight = DType::kUint8; }); },
     [] { return LinearModel(); }},
    {"unsigned_weights", "an integer operator",
     [] { return IntegerModel(DType::kUint8, DType::kUint8); },
     [] { return IntegerModel(DType::kUint8, DType::kInt8); }},
    {"half_precision", "", [] { return FloatConvModel(16, DType::kFloat16); },
     [] { return FloatConvModel(16); }},
    {"duplicate_weight", "", [] { return Beside(0.505f); }, [] { return Beside(0.6f); }},
    {"unused_constant", "", [] { return With(LinearModel(), Scale("left", 1)); },
     [] { return LinearModel(); }},
    {"channel_count", "", [] { return FloatConvModel(30); }, [] { return FloatConvModel(32); }},
    {"ir_version", "",
     [] {
       Model model = LinearModel();
       model.ir_version = 9;
       return model;
     },
     [] { return LinearModel(); }},
    {"npu_scheme", "", [] { return UnaryModel("Sigmoid"); },
     [] { return With(With(UnaryModel("Sigmoid"), Scale("x_s", 0.25f)), Scale("o_s", 0.5f)); }},
};

std::vector<Finding> Of(const std::string& rule, const std::vector<Finding>& findings) {
  std::vector<Finding> out;
  for (const Finding& finding : findings) {
    if (finding.rule == rule) out.push_back(finding);
  }
  return out;
}

TEST(LintRulesTest, EachFindsItsModelAndNotItsNeighbour) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(::testing::Message() << c.rule << ", " << c.what);
    const Model bad = c.bad();
    const Model good = c.good();
    EXPECT_TRUE(VerifyModel(bad).ok()) << VerifyModel(bad);
    EXPECT_TRUE(VerifyModel(good).ok()) << VerifyModel(good);
    const std::vector<Finding> found = Of(c.rule, LintModel(bad, {}));
    ASSERT_FALSE(found.empty());
    EXPECT_FALSE(found.front().message.empty());
    EXPECT_FALSE(found.front().fix.empty());
    EXPECT_NE(found.front().profiles, 0u);
    for (const Finding& finding : Of(c.rule, LintModel(good, {}))) {
      ADD_FAILURE() << finding.node << ": " << finding.message;
    }
  }
}

TEST(LintRulesTest, EveryRuleHasACaseAndANameOfItsOwn) {
  std::set<std::string> tested;
  for (const Case& c : kCases) tested.insert(c.rule);
  std::set<std::string> rules;
  for (const Rule& rule : LintRules()) {
    EXPECT_TRUE(rules.insert(rule.name).second) << rule.name;
    EXPECT_NE(rule.profiles, 0u) << rule.name;
  }
  EXPECT_EQ(tested, rules);
}

TEST(LintRulesTest, WrongValuesAreErrorsAndTheSameFormThatDoesNotFuseIsSlow) {
  Linear form = Product();
  form.axis = 0;
  form.channels = 4;
  form.weight_dims = {4, 4};
  EXPECT_EQ(Of("weight_axis", LintModel(LinearModel(form), {})).at(0).severity, Severity::kError);
  form.weight_dims = {4, 8};
  form.bias = "";
  EXPECT_EQ(Of("weight_axis", LintModel(LinearModel(form), {})).at(0).severity, Severity::kSlow);
}

TEST(LintRulesTest, SaturationIsProvenPerChannelAndDepthwiseKernelsAddNoPairs) {
  Linear form;
  form.weight_dims = {4, 2, 1, 1};
  Model model = LinearModel(form);
  const std::vector<int8_t> values = {1, 2, 127, 127, 64, 64, 100, 100};
  Replace(model, Raw("w_q", DType::kInt8, {4, 2, 1, 1}, values));
  const std::vector<Finding> found = Of("int16_saturation", LintModel(model, {}));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_THAT(found[0].message, ::testing::HasSubstr("2 of 4 output channels"));
  EXPECT_THAT(found[0].message, ::testing::HasSubstr("channel 1 at K 0: 127, 127"));
  EXPECT_EQ(found[0].profiles, kAvx2);
  form.weight_dims = {4, 1, 3, 3};
  form.weight_value = 127;
  Model depthwise = LinearModel(form);
  Layer(depthwise).SetInt("group", 4);
  EXPECT_TRUE(Of("int16_saturation", LintModel(depthwise, {})).empty());
}

TEST(LintRulesTest, ANoteOfFourBitsIsNoSlowPlace) {
  EXPECT_EQ(Of("accuracy_level", LintModel(BlockModel(4, 1), {})).at(0).severity, Severity::kNote);
  EXPECT_EQ(Of("accuracy_level", LintModel(BlockModel(8, 1), {})).at(0).severity, Severity::kSlow);
}

}  // namespace
}  // namespace lathe::engine
