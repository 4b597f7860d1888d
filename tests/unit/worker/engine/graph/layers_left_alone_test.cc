// Which weights FindWeights leaves alone, and why: other readers, unfit shapes, layers that are
// quantized already.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/graph_builder.h"
#include "tests/unit/worker/engine/graph/layers_test_util.h"
#include "worker/engine/graph/layers.h"

namespace lathe::engine {
namespace {

using namespace lathe::engine::testing;  // NOLINT: the builder's words
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// ---- Reasons to leave a weight alone
// ----------------------------------------------------------------------------------------

TEST(BlockedWeights, NameTheirOtherReader) {
  struct Case {
    const char* op;
    const char* domain;
    const char* text;
  };
  for (const Case& c :
       {Case{"Add", "", "also read by Add 'other' as input 0"},
        Case{"Shape", "", "also read by Shape 'other'"},
        Case{"Secret", "acme", "also read by acme.Secret 'other'"},
        Case{"Attention", "com.microsoft", "also read by com.microsoft.Attention"}}) {
    Model model = NewModel();
    Graph& graph = *model.graph;
    AddWeight(graph, "w", {4, 6});
    AddNode(graph, "MatMul", {"x", "w"}, {"y"}, "product");
    AddNode(graph, "Identity", {"w"}, {"i"});
    AddNode(graph, c.op, {"i"}, {"z"}, "other", c.domain);
    EXPECT_THAT(TheReason(model), HasSubstr(c.text));
  }
}

TEST(BlockedWeights, MayBeReadAsABiasOfTheSameOperator) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {4, 4});
  AddNode(*model.graph, "Gemm", {"x", "w", "w"}, {"y"}, "gemm");
  EXPECT_THAT(TheReason(model), HasSubstr("also read by Gemm 'gemm' as input 2"));
}

TEST(BlockedWeights, MayBeGraphOutputs) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {4, 6});
  AddNode(*model.graph, "Transpose", {"w"}, {"t"});
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"});
  AddOutput(*model.graph, "t");
  EXPECT_EQ(TheReason(model), "'t' is an output of the model");
}

TEST(BlockedWeights, MayBeCastToIntegersToo) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {4, 6});
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"});
  AddNode(*model.graph, "Cast", {"w"}, {"i"}, "round")
      .SetInt("to", static_cast<int64_t>(DType::kInt32));
  EXPECT_THAT(TheReason(model), HasSubstr("also read by Cast 'round'"));
}

TEST(BlockedWeights, WhenBothOperandsAreConstant) {
  Model model = NewModel();
  AddWeight(*model.graph, "a", {4, 6});
  AddWeight(*model.graph, "b", {6, 2});
  AddNode(*model.graph, "MatMul", {"a", "b"}, {"y"});
  EXPECT_EQ(TheReason(model), "both operands are constant");
}

TEST(BlockedWeights, WhenOnlyAOfAGemmIsConstant) {
  Model model = NewModel();
  AddWeight(*model.graph, "a", {4, 6});
  AddNode(*model.graph, "Gemm", {"a", "x"}, {"y"});
  EXPECT_THAT(TheReason(model), HasSubstr("only operand A"));
}

TEST(BlockedWeights, WhenTheTypeIsNotFloat) {
  Model model = NewModel();
  AddInitializer(*model.graph, Zeros("w", DType::kInt64, {4, 6}));
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"});
  EXPECT_THAT(TheReason(model), HasSubstr("int64"));
}

TEST(BlockedWeights, WhenRankOrGroupsDoNotFit) {
  struct Case {
    const char* op;
    Shape dims;
    int64_t group;
    const char* text;
  };
  for (const Case& c :
       {Case{"Conv", {4, 6}, 1, "rank 3 or more"}, Case{"Gemm", {2, 4, 6}, 1, "rank 2"},
        Case{"Conv", {4, 6, 3}, 3, "group = 3 does not divide"},
        Case{"Conv", {4, 6, 3}, 0, "group = 0 does not divide"},
        Case{"Conv", {0, 6, 3}, 1, "no elements"}}) {
    Model model = NewModel();
    AddWeight(*model.graph, "w", c.dims);
    AddNode(*model.graph, c.op, {"x", "w"}, {"y"}).SetInt("group", c.group);
    EXPECT_THAT(TheReason(model), HasSubstr(c.text));
  }
}

TEST(BlockedWeights, WhenATransposeDoesNotFit) {
  for (const std::vector<int64_t>& perm :
       {std::vector<int64_t>{0, 0}, {0, 2}, {0}, {-1, 0}, {1, 0, 2}}) {
    Model model = NewModel();
    AddWeight(*model.graph, "w", {4, 6});
    AddNode(*model.graph, "Transpose", {"w"}, {"t"}).SetInts("perm", perm);
    AddNode(*model.graph, "MatMul", {"x", "t"}, {"y"});
    EXPECT_THAT(TheReason(model), HasSubstr("does not fit"));
  }
}

TEST(BlockedWeights, WhenTheyAreComputed) {
  Model model = NewModel();
  AddWeight(*model.graph, "a", {4, 6});
  AddWeight(*model.graph, "scale", {6});
  AddNode(*model.graph, "Mul", {"a", "scale"}, {"w"}, "scaled");
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"});
  EXPECT_EQ(TheReason(model), "it is computed from constants by Mul 'scaled'");
}

TEST(BlockedWeights, WhenSparse) {
  Model model = NewModel();
  model.graph->sparse_initializers["w"] = Bytes();
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"});
  EXPECT_EQ(TheReason(model), "stored as a sparse initializer");
}

TEST(ContribOps, ArePassedThroughAndListed) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {4, 12});
  AddWeight(*model.graph, "b", {12});
  AddNode(*model.graph, "Attention", {"x", "w", "b"}, {"y"}, "attention", "com.microsoft");
  EXPECT_EQ(TheReason(model), "com.microsoft.Attention is passed through");
}

TEST(ContribOps, OfOtherDomainsAreNotListed) {
  Model model = NewModel();
  AddWeight(*model.graph, "w", {4, 12});
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"}, "own", "acme");
  EXPECT_THAT(FindWeights(model), IsEmpty());
}

// ---- Already quantized
// ------------------------------------------------------------------------------------------------------

TEST(QuantizedLayers, FedByDequantizeLinearAreListed) {
  for (const bool transposed : {false, true}) {
    Model model = NewModel();
    Graph& graph = *model.graph;
    AddInitializer(graph, Zeros("q", DType::kInt8, {4, 6}));
    AddWeight(graph, "s", {6});
    AddNode(graph, "DequantizeLinear", {"q", "s"}, {"d"});
    AddNode(graph, "Transpose", {"d"}, {"t"});
    AddNode(graph, "MatMul", {"x", transposed ? "t" : "d"}, {"y"}, "product");
    EXPECT_EQ(TheReason(model), "already quantized (int8)");
    EXPECT_EQ(FindWeights(model)[0].dtype, DType::kInt8);
  }
}

TEST(QuantizedLayers, InCastSubMulReshapeFormAreListed) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInitializer(graph, Zeros("q", DType::kUint4, {64, 2}));
  AddInitializer(graph, Zeros("z", DType::kUint4, {64, 1}));
  AddWeight(graph, "s", {64, 1});
  const int64_t to = static_cast<int64_t>(DType::kFloat);
  AddNode(graph, "Cast", {"q"}, {"qf"}).SetInt("to", to);
  AddNode(graph, "Cast", {"z"}, {"zf"}).SetInt("to", to);
  AddNode(graph, "Sub", {"qf", "zf"}, {"c"});
  AddNode(graph, "Mul", {"c", "s"}, {"m"});
  AddInitializer(graph, Tensor::FromInt64s("shape", {4}, std::vector<int64_t>{8, 4, 2, 2}));
  AddNode(graph, "Reshape", {"m", "shape"}, {"w"});
  AddNode(graph, "Conv", {"x", "w"}, {"y"}, "conv");
  EXPECT_EQ(TheReason(model), "already quantized (uint4)");
}

TEST(QuantizedLayers, OfFakeQuantizationAreListed) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddWeight(graph, "w", {4, 6});
  AddWeight(graph, "s", {});
  AddNode(graph, "QuantizeLinear", {"w", "s"}, {"q"});
  AddNode(graph, "DequantizeLinear", {"q", "s"}, {"d"});
  AddNode(graph, "MatMul", {"x", "d"}, {"y"});
  EXPECT_THAT(TheReason(model), HasSubstr("already quantized"));
}

TEST(QuantizedLayers, WithIntegerOperatorsAreListed) {
  struct Case {
    const char* op;
    const char* domain;
    int input;
  };
  for (const Case& c :
       {Case{"QLinearConv", "", 3}, Case{"QLinearMatMul", "", 3}, Case{"ConvInteger", "", 1},
        Case{"MatMulInteger", "", 1}, Case{"DynamicQuantizeMatMul", "com.microsoft", 1},
        Case{"QGemm", "com.microsoft", 3}, Case{"QAttention", "com.microsoft", 1},
        Case{"GatherBlockQuantized", "com.microsoft", 0}, Case{"UnheardOf", "com.microsoft", 2}}) {
    Model model = NewModel();
    AddInitializer(*model.graph, Zeros("q", DType::kInt8, {4, 6, 2, 2}));
    std::vector<std::string> inputs(c.input, "x");
    inputs.push_back("q");
    AddNode(*model.graph, c.op, inputs, {"y"}, "node", c.domain);
    EXPECT_EQ(TheReason(model), "already quantized (int8)") << c.op;
  }
}

TEST(QuantizedLayers, OfMatMulNBitsSayTheirBits) {
  Model model = NewModel();
  AddInitializer(*model.graph, Zeros("q", DType::kUint8, {6, 2, 8}));
  AddNode(*model.graph, "MatMulNBits", {"x", "q"}, {"y"}, "node", "com.microsoft")
      .SetInt("bits", 4);
  EXPECT_EQ(TheReason(model), "already quantized (4 bits)");
}

TEST(QuantizedLayers, OfRecurrentOpsAreListedTwice) {
  Model model = NewModel();
  AddInitializer(*model.graph, Zeros("w", DType::kInt8, {1, 5, 12}));
  AddInitializer(*model.graph, Zeros("r", DType::kInt8, {1, 3, 12}));
  AddNode(*model.graph, "DynamicQuantizeLSTM", {"x", "w", "r"}, {"y"}, "lstm", "com.microsoft");
  EXPECT_THAT(NamesOf(FindWeights(model)), ElementsAre("lstm.W", "lstm.R"));
}

TEST(QuantizedLayers, TablesAreListedWhenTheirRowsAreDequantized) {
  for (const char* next : {"DequantizeLinear", "Cast", "Neg"}) {
    Model model = NewModel();
    AddInitializer(*model.graph, Zeros("q", DType::kUint8, {9, 4}));
    AddNode(*model.graph, "Gather", {"q", "ids"}, {"rows"}, "embed");
    AddNode(*model.graph, next, {"rows", "s"}, {"y"}).SetInt("to", 1);
    if (std::string(next) == "Neg") {
      EXPECT_THAT(FindWeights(model), IsEmpty());
    } else {
      EXPECT_EQ(TheReason(model), "already quantized (uint8)") << next;
    }
  }
}

}  // namespace
}  // namespace lathe::engine
