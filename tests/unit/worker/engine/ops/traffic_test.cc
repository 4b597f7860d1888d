// Bytes that operators move, against counts by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/support/graph_builder.h"
#include "worker/engine/ops/constant_reads.h"
#include "worker/engine/ops/shape_inference.h"

namespace lathe::engine {
namespace {

using testing::AddFunction;
using testing::AddInitializer;
using testing::AddNode;
using testing::AddOutput;
using testing::AddSubgraph;
using testing::AddWeight;
using testing::NewModel;
using testing::Zeros;

void AddTyped(Graph& graph, const std::string& name, const Shape& dims,
              DType dtype = DType::kFloat) {
  ValueInfo info = testing::Info(name, dtype);
  info.dims.emplace();
  for (const int64_t extent : dims) info.dims->push_back({extent, ""});
  graph.inputs.push_back(std::move(info));
}

struct TrafficCase {
  const char* name;
  std::function<void(Graph&)> build;
  int64_t activations_read;
  int64_t activations_written;
  int64_t constants_read;
  int64_t stored;  // bytes of constants in the file that are read
};

class TrafficOf : public ::testing::TestWithParam<TrafficCase> {};

TEST_P(TrafficOf, IsCountedByHand) {
  Model model = NewModel();
  model.opset_imports["com.microsoft"] = 1;
  GetParam().build(*model.graph);
  const Inference inference = InferShapes(model, {});
  const BytesMoved& moved = inference.total.moved;
  EXPECT_EQ(moved.activations_read, GetParam().activations_read);
  EXPECT_EQ(moved.activations_written, GetParam().activations_written);
  EXPECT_EQ(moved.constants_read, GetParam().constants_read);
  EXPECT_EQ(inference.stored_bytes, GetParam().stored);
  // The total, operators and nodes tell the same.
  BytesMoved by_op;
  for (const auto& [op, cost] : inference.by_op) by_op.Add(cost.moved, 1);
  EXPECT_EQ(by_op.total(), moved.total());
  BytesMoved by_node;
  for (const auto& [node, cost] : inference.node_costs) by_node.Add(cost.moved, 1);
  EXPECT_EQ(by_node.total(), moved.total());
}

// An input of [2, 6] bytes, scale and zero point as constants, dequantized to `to`.
void AddDequantized(Graph& g, const std::string& from, const std::string& to) {
  AddNode(g, "DequantizeLinear", {from, "scale", "zero"}, {to});
}

void AddQuantization(Graph& g) {
  AddInitializer(g, Zeros("scale", DType::kFloat, {}));
  AddInitializer(g, Zeros("zero", DType::kInt8, {}));
}

// x [2, 6] int8 -> floats, times an int8 weight [6, 3] -> floats -> `then` -> int8.
void AddQuantizedProduct(Graph& g, const std::vector<std::string>& then) {
  AddTyped(g, "x8", {2, 6}, DType::kInt8);
  AddQuantization(g);
  AddInitializer(g, Zeros("w8", DType::kInt8, {6, 3}));
  AddDequantized(g, "x8", "x");
  AddDequantized(g, "w8", "w");
  AddNode(g, "MatMul", {"x", "w"}, {"y0"});
  std::string at = "y0";
  for (const std::string& op : then) {
    const std::string next = at + "+";
    AddNode(g, op, {at}, {next});
    at = next;
  }
  AddNode(g, "QuantizeLinear", {at, "scale", "zero"}, {"y8"});
  AddOutput(g, "y8");
}

INSTANTIATE_TEST_SUITE_P(
    Operators, TrafficOf,
    ::testing::Values(
        TrafficCase{"AProductReadsItsOperandsOnce",
                    [](Graph& g) {
                      AddTyped(g, "x", {2, 6});
                      AddWeight(g, "w", {6, 3});
                      AddNode(g, "MatMul", {"x", "w"}, {"y"});
                    },
                    12 * 4, 6 * 4, 18 * 4, 18 * 4},
        TrafficCase{"ViewsMoveNothing",
                    [](Graph& g) {
                      AddTyped(g, "x", {2, 6});
                      AddInitializer(g, Tensor::FromInt64s("dims", {1}, std::vector<int64_t>{12}));
                      AddNode(g, "Reshape", {"x", "dims"}, {"flat"});
                      AddNode(g, "Identity", {"flat"}, {"y"});
                      AddNode(g, "Shape", {"y"}, {"shape"});
                    },
                    0, 0, 0, 0},
        TrafficCase{"GatherReadsTheRowsItLooksUp",
                    [](Graph& g) {
                      AddTyped(g, "ids", {3}, DType::kInt64);
                      AddWeight(g, "table", {1000, 16});
                      AddNode(g, "Gather", {"table", "ids"}, {"rows"});
                    },
                    3 * 8, 3 * 16 * 4, 3 * 16 * 4, 3 * 16 * 4},
        TrafficCase{"ATableThatIsMultipliedByTooIsReadWholly",
                    [](Graph& g) {
                      AddTyped(g, "ids", {3}, DType::kInt64);
                      AddWeight(g, "table", {16, 16});
                      AddNode(g, "Gather", {"table", "ids"}, {"rows"});
                      AddNode(g, "MatMul", {"rows", "table"}, {"y"});
                    },
                    3 * 8 + 48 * 4, 2 * 48 * 4, (48 + 256) * 4, 256 * 4},
        TrafficCase{"SliceReadsThePieceItGives",
                    [](Graph& g) {
                      AddTyped(g, "x", {10, 4});
                      AddInitializer(g, Tensor::FromInt64s("from", {1}, std::vector<int64_t>{2}));
                      AddInitializer(g, Tensor::FromInt64s("to", {1}, std::vector<int64_t>{5}));
                      AddNode(g, "Slice", {"x", "from", "to"}, {"y"});
                    },
                    12 * 4, 12 * 4, 2 * 8, 2 * 8},
        TrafficCase{"WhatIsGeneratedIsOnlyWritten",
                    [](Graph& g) {
                      AddTyped(g, "x", {5, 4});
                      AddNode(g, "RandomNormalLike", {"x"}, {"y"});
                    },
                    0, 20 * 4, 0, 0},
        TrafficCase{"AWeightAloneIn8BitsIsFoldedToFloats",
                    [](Graph& g) {
                      AddTyped(g, "x", {2, 6});
                      AddQuantization(g);
                      AddInitializer(g, Zeros("w8", DType::kInt8, {6, 3}));
                      AddDequantized(g, "w8", "w");
                      AddNode(g, "MatMul", {"x", "w"}, {"y"});
                    },
                    12 * 4, 6 * 4, 18 * 4, 18 + 4 + 1},
        TrafficCase{"PackedWeightsAreReadPacked",
                    [](Graph& g) {
                      AddTyped(g, "x", {2, 32});
                      AddInitializer(g, Zeros("b", DType::kUint8, {3, 1, 16}));
                      AddWeight(g, "s", {3});
                      Node& node = AddNode(g, "MatMulNBits", {"x", "b", "s"}, {"y"});
                      node.domain = "com.microsoft";
                      node.SetInt("K", 32);
                      node.SetInt("N", 3);
                    },
                    64 * 4, 6 * 4, 48 + 12, 48 + 12},
        // Both the scale and the zero point, 5 bytes, are read by DequantizeLinear and
        // QuantizeLinear.
        TrafficCase{"AProductIn8BitsMovesBytes", [](Graph& g) { AddQuantizedProduct(g, {}); }, 12,
                    6, 18 + 2 * 5, 18 + 5},
        TrafficCase{"AReluBetweenProductAndQuantizationIsFusedToo",
                    [](Graph& g) { AddQuantizedProduct(g, {"Relu"}); }, 12, 6, 18 + 2 * 5, 18 + 5},
        TrafficCase{"AnotherOperatorBetweenThemIsNot",
                    [](Graph& g) { AddQuantizedProduct(g, {"Tanh"}); }, 12 + 6 * 4 + 6 * 4,
                    6 * 4 + 6 * 4 + 6, 18 + 2 * 5, 18 + 5},
        TrafficCase{"AProductThatIsReadTwiceIsWritten",
                    [](Graph& g) {
                      AddQuantizedProduct(g, {});
                      AddOutput(g, "y0");
                    },
                    12 + 6 * 4, 6 * 4 + 6, 18 + 2 * 5, 18 + 5}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(Traffic, ALoopMovesItsBodysBytesAsOftenAsItRuns) {
  Model model = NewModel();
  Graph& g = *model.graph;
  AddTyped(g, "x", {2, 2});
  AddWeight(g, "w", {2, 2});
  AddInitializer(g, Tensor::FromInt64s("trips", {}, std::vector<int64_t>{5}));
  Node& loop = AddNode(g, "Loop", {"trips", "", "x"}, {"y"});
  Graph& body = AddSubgraph(g, loop, "body");
  for (const char* name : {"i", "go", "state"}) testing::AddInput(body, name);
  AddNode(body, "MatMul", {"state", "w"}, {"next"});
  AddOutput(body, "go");
  AddOutput(body, "next");
  const Inference inference = InferShapes(model, {});
  EXPECT_EQ(inference.by_op.at("MatMul").runs, 5);
  EXPECT_EQ(inference.total.moved.total(), 5 * 3 * 16);
  // In the file it lies once.
  EXPECT_EQ(inference.stored_bytes, 16);
}

TEST(Traffic, CallsOfAFunctionReadTheirOwnWeights) {
  Model model = NewModel();
  Graph& g = *model.graph;
  Function& function = AddFunction(model, "Layer", {"a", "b"}, {"c"});
  AddNode(*function.body, "MatMul", {"a", "b"}, {"c"});
  AddTyped(g, "x", {2, 2});
  AddWeight(g, "w1", {2, 2});
  AddWeight(g, "w2", {2, 2});
  AddNode(g, "Layer", {"x", "w1"}, {"y"}, "", "local");
  AddNode(g, "Layer", {"y", "w2"}, {"z"}, "", "local");
  AddNode(g, "Layer", {"z", "w2"}, {"last"}, "", "local");
  const Inference inference = InferShapes(model, {});
  EXPECT_EQ(inference.total.moved.constants_read, 3 * 16);
  EXPECT_EQ(inference.stored_bytes, 2 * 16);
}

TEST(ArithmeticIntensity, IsTwoOperationsAMacOverTheBytes) {
  Model model = NewModel();
  AddTyped(*model.graph, "x", {2, 6});
  AddWeight(*model.graph, "w", {6, 3});
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"});
  EXPECT_DOUBLE_EQ(ArithmeticIntensity(InferShapes(model, {}).total),
                   2.0 * 36 / (4 * (12 + 18 + 6)));
  EXPECT_EQ(ArithmeticIntensity({}), 0);
}

TEST(ConstantReads, CountsEveryByteOnceHoweverOftenAndThroughWhateverItIsRead) {
  ConstantReads reads;
  const int a = 0;
  const int b = 0;
  const int64_t first = reads.Stored(&a, 100);
  EXPECT_EQ(reads.Stored(&a, 100), first);
  const int64_t second = reads.Stored(&b, 10);
  const int64_t sum = reads.Computed({first, second});
  const int64_t twice = reads.Computed({sum, sum, first});
  EXPECT_EQ(reads.Read(first, 0.25), 25);
  EXPECT_EQ(reads.Read(first, 0.25), 0);
  EXPECT_EQ(reads.Read(twice, 1), 75 + 10);
  EXPECT_EQ(reads.Read(second, 1), 0);
  EXPECT_EQ(reads.Read(0, 1), 0);
}

}  // namespace
}  // namespace lathe::engine
