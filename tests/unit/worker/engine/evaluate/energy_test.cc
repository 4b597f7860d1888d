#include "worker/engine/evaluate/energy.h"

#include <gtest/gtest.h>

#include "tests/support/graph_builder.h"

namespace lathe::engine {
namespace {

using testing::AddInitializer;
using testing::AddNode;
using testing::AddWeight;
using testing::NewModel;
using testing::Zeros;

// Picojoules of a MAC in float32 and in 8 bits, of a byte from DRAM and from the cache: the table
// of docs/report.md.
constexpr double kFloatMac = 4.6;
constexpr double kInt8Mac = 0.3;
constexpr double kDram = 1950.0 / 8;
constexpr double kCache = 100.0 / 8;

void AddTyped(Graph& graph, const std::string& name, const Shape& dims, DType dtype) {
  ValueInfo info = testing::Info(name, dtype);
  info.dims.emplace();
  for (const int64_t extent : dims) info.dims->push_back({extent, ""});
  graph.inputs.push_back(std::move(info));
}

TEST(Energy, IsTheTableTimesTheCounts) {
  Inference inference;
  inference.by_op["Conv"].macs = {10, 100, 1000};
  inference.by_op["Conv"].moved = {6, 4, 99};
  inference.by_op["Relu"].moved = {3, 3, 0};
  inference.stored_bytes_by_op["Conv"] = 8;
  const Energy energy = EstimateEnergy(inference);
  EXPECT_DOUBLE_EQ(energy.arithmetic_pj, 10 * 4.6 + 100 * 1.5 + 1000 * 0.3);
  EXPECT_DOUBLE_EQ(energy.weights_pj, 1950);
  EXPECT_DOUBLE_EQ(energy.activations_pj, 200);
  EXPECT_DOUBLE_EQ(energy.total(), 496 + 1950 + 200);
}

TEST(Energy, OperatorsAddUpToTheTotal) {
  Model model = NewModel();
  Graph& g = *model.graph;
  AddTyped(g, "x", {2, 6}, DType::kFloat);
  AddWeight(g, "w", {6, 3});
  AddWeight(g, "bias", {3});
  AddNode(g, "MatMul", {"x", "w"}, {"a"});
  AddNode(g, "Add", {"a", "bias"}, {"b"});
  AddNode(g, "Relu", {"b"}, {"y"});
  const Inference inference = InferShapes(model, {});
  const std::map<std::string, Energy> by_op = EnergyByOp(inference);
  ASSERT_EQ(by_op.size(), 3u);
  EXPECT_DOUBLE_EQ(by_op.at("MatMul").arithmetic_pj, 36 * kFloatMac);
  EXPECT_DOUBLE_EQ(by_op.at("MatMul").memory_pj(), 18 * 4 * kDram + (12 + 6) * 4 * kCache);
  EXPECT_DOUBLE_EQ(by_op.at("Add").memory_pj(), 3 * 4 * kDram + 12 * 4 * kCache);
  EXPECT_DOUBLE_EQ(by_op.at("Relu").memory_pj(), 12 * 4 * kCache);
  double sum = 0;
  for (const auto& [op, energy] : by_op) sum += energy.arithmetic_pj + energy.memory_pj();
  EXPECT_DOUBLE_EQ(sum, EstimateEnergy(inference).total());
}

TEST(Energy, DequantizedProductsArePricedIn8Bits) {
  Model model = NewModel();
  Graph& g = *model.graph;
  AddTyped(g, "x8", {2, 6}, DType::kInt8);
  AddInitializer(g, Zeros("scale", DType::kFloat, {}));
  AddInitializer(g, Zeros("w8", DType::kInt8, {6, 3}));
  AddNode(g, "DequantizeLinear", {"x8", "scale"}, {"x"});
  AddNode(g, "DequantizeLinear", {"w8", "scale"}, {"w"});
  AddNode(g, "MatMul", {"x", "w"}, {"y"});
  AddNode(g, "QuantizeLinear", {"y", "scale"}, {"y8"});
  testing::AddOutput(g, "y8");
  const Energy energy = EstimateEnergy(InferShapes(model, {}));
  EXPECT_DOUBLE_EQ(energy.arithmetic_pj, 36 * kInt8Mac);
  EXPECT_DOUBLE_EQ(energy.weights_pj, (18 + 4) * kDram);
  EXPECT_DOUBLE_EQ(energy.activations_pj, (12 + 6) * kCache);
}

}  // namespace
}  // namespace lathe::engine
