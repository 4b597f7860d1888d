#include "worker/engine/evaluate/constant_evaluator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/graph_builder.h"
#include "worker/engine/evaluate/decode.h"
#include "worker/engine/methods/sparse_storage.h"

namespace lathe::engine {
namespace {

using testing::AddConstantNode;
using testing::AddInitializer;
using testing::AddNode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::NewModel;

class Evaluator : public ::testing::Test {
 protected:
  Graph& graph() { return *model_.graph; }

  void Floats(const std::string& name, const Shape& dims, std::vector<float> values) {
    AddInitializer(graph(), Tensor::FromFloats(name, dims, values));
  }
  void Bytes8(const std::string& name, DType dtype, const Shape& dims, std::vector<int> values) {
    std::string bytes;
    for (const int value : values) bytes += static_cast<char>(value);
    AddInitializer(graph(), *Tensor::Make(name, dtype, dims, bytes));
  }
  void Ints(const std::string& name, std::vector<int64_t> values) {
    const Shape dims = {static_cast<int64_t>(values.size())};
    AddInitializer(graph(), Tensor::FromInt64s(name, dims, values));
  }

  absl::StatusOr<std::vector<float>> All(const std::string& value) {
    const ScopeIndex index(model_);
    return ConstantEvaluator(index).Evaluate(&graph(), value);
  }

  // The value, whole, and put together from its rows: both must be `want`.
  void Expect(const std::string& value, const Shape& dims, const std::vector<float>& want) {
    const ScopeIndex index(model_);
    const ConstantEvaluator evaluator(index);
    const auto plan = evaluator.Plan(&graph(), value);
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->dims, dims);
    const auto whole = evaluator.Evaluate(&graph(), value);
    ASSERT_TRUE(whole.ok()) << whole.status();
    EXPECT_EQ(*whole, want);
    if (!plan->by_rows) return;
    std::vector<float> pieces;
    for (int64_t row = 0; row < dims[0]; ++row) {
      const auto piece = evaluator.Evaluate(&graph(), value, RowRange{row, row + 1});
      ASSERT_TRUE(piece.ok()) << piece.status();
      pieces.insert(pieces.end(), piece->begin(), piece->end());
    }
    EXPECT_EQ(pieces, want) << "by rows";
  }

  Model model_ = NewModel(21, 10);
};

TEST_F(Evaluator, CastSubtractAndScaleByRowAndColumn) {
  Bytes8("q", DType::kUint8, {2, 3}, {0, 1, 2, 253, 254, 255});
  Bytes8("z", DType::kUint8, {2, 1}, {1, 250});
  Floats("s", {2, 1}, {0.5f, 2});
  Floats("r", {3}, {1, 10, 100});
  AddNode(graph(), "Cast", {"q"}, {"f"}).SetInt("to", 1);
  AddNode(graph(), "Cast", {"z"}, {"zf"}).SetInt("to", 1);
  AddNode(graph(), "Sub", {"f", "zf"}, {"c"});
  AddNode(graph(), "Mul", {"c", "s"}, {"m"});
  AddNode(graph(), "Mul", {"m", "r"}, {"w"});
  Expect("w", {2, 3}, {-0.5f, 0, 50, 6, 80, 1000});
}

TEST_F(Evaluator, OperandsKeepTheirOrderWhenTheFirstIsBroadcast) {
  Floats("a", {1, 2}, {10, 20});
  Floats("b", {2, 2}, {1, 2, 4, 5});
  AddNode(graph(), "Sub", {"a", "b"}, {"d"});
  AddNode(graph(), "Div", {"a", "b"}, {"q"});
  Expect("d", {2, 2}, {9, 18, 6, 15});
  Expect("q", {2, 2}, {10, 10, 2.5f, 4});
}

TEST_F(Evaluator, PaddedGroupsAreReshapedAndCut) {
  // [2, 2 groups, 2] -> [2, 4, 1] -> [2, 3, 1] -> [2, 3]
  Bytes8("q", DType::kInt8, {2, 2, 2}, {1, 2, 3, 0, -1, -2, -3, 0});
  Floats("s", {2, 2, 1}, {1, 10, 100, 1000});
  Ints("rows", {2, -1, 1});
  Ints("zero", {0});
  Ints("three", {3});
  Ints("one", {1});
  Ints("shape", {2, 3});
  AddNode(graph(), "Cast", {"q"}, {"f"}).SetInt("to", 1);
  AddNode(graph(), "Mul", {"f", "s"}, {"m"});
  AddNode(graph(), "Reshape", {"m", "rows"}, {"long"});
  AddNode(graph(), "Slice", {"long", "zero", "three", "one"}, {"cut"});
  AddNode(graph(), "Reshape", {"cut", "shape"}, {"w"});
  Expect("w", {2, 3}, {1, 2, 30, -100, -200, -3000});
}

TEST_F(Evaluator, NibblesAndPairsOfBitsAreUnpackedWithTheirSign) {
  AddInitializer(graph(), *Tensor::Make("i4", DType::kInt4, {3}, std::string("\x8f\x07", 2)));
  AddInitializer(graph(), *Tensor::Make("u4", DType::kUint4, {3}, std::string("\x8f\x07", 2)));
  AddInitializer(graph(), *Tensor::Make("i2", DType::kInt2, {4}, std::string("\xe4", 1)));
  AddNode(graph(), "Cast", {"i4"}, {"a"}).SetInt("to", 1);
  AddNode(graph(), "Cast", {"u4"}, {"b"}).SetInt("to", 1);
  AddNode(graph(), "Cast", {"i2"}, {"c"}).SetInt("to", 1);
  Expect("a", {3}, {-1, -8, 7});
  Expect("b", {3}, {15, 8, 7});
  Expect("c", {4}, {0, 1, -2, -1});
}

TEST_F(Evaluator, DequantizesByTensorAxisAndBlock) {
  Bytes8("q", DType::kInt8, {2, 4}, {1, 2, 3, 4, 5, 6, 7, 8});
  Floats("one", {}, {2});
  Bytes8("one_z", DType::kInt8, {}, {1});
  Floats("rows", {2}, {1, 10});
  Floats("columns", {4}, {1, 2, 3, 4});
  Floats("blocks", {2, 2}, {1, 10, 100, 1000});
  AddNode(graph(), "DequantizeLinear", {"q", "one", "one_z"}, {"t"});
  AddNode(graph(), "DequantizeLinear", {"q", "rows"}, {"r"}).SetInt("axis", 0);
  AddNode(graph(), "DequantizeLinear", {"q", "columns"}, {"c"});
  Node& blocked = AddNode(graph(), "DequantizeLinear", {"q", "blocks"}, {"b"});
  blocked.SetInt("axis", -1);
  blocked.SetInt("block_size", 2);
  Expect("t", {2, 4}, {0, 2, 4, 6, 8, 10, 12, 14});
  Expect("r", {2, 4}, {1, 2, 3, 4, 50, 60, 70, 80});
  Expect("c", {2, 4}, {1, 4, 9, 16, 5, 12, 21, 32});
  Expect("b", {2, 4}, {1, 2, 30, 40, 500, 600, 7000, 8000});
}

TEST_F(Evaluator, DequantizesBlocksAlongTheFirstAxis) {
  Bytes8("q", DType::kInt8, {4, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  Floats("s", {2, 2}, {1, 10, 100, 1000});
  Node& node = AddNode(graph(), "DequantizeLinear", {"q", "s"}, {"w"});
  node.SetInt("axis", 0);
  node.SetInt("block_size", 2);
  Expect("w", {4, 2}, {1, 20, 3, 40, 500, 6000, 700, 8000});
}

TEST_F(Evaluator, TransposesAndConstantNodesAndHalves) {
  AddConstantNode(graph(), Tensor::FromFloats("k", {2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6}));
  AddNode(graph(), "Transpose", {"k"}, {"t"});
  Expect("t", {3, 2}, {1, 4, 2, 5, 3, 6});
  Floats("f", {1}, {0.1f});
  AddNode(graph(), "Cast", {"f"}, {"h"}).SetInt("to", static_cast<int64_t>(DType::kFloat16));
  Expect("h", {1}, {HalfToFloat(FloatToHalf(0.1f))});
}

TEST_F(Evaluator, AGatherByUnknownIndicesStandsForItsTable) {
  testing::AddInput(graph(), "ids", DType::kInt64);
  Bytes8("q", DType::kInt8, {3, 2}, {1, 2, 3, 4, 5, 6});
  Floats("s", {3, 1}, {1, 10, 100});
  AddNode(graph(), "Gather", {"q", "ids"}, {"g"});
  AddNode(graph(), "Cast", {"g"}, {"f"}).SetInt("to", 1);
  AddNode(graph(), "Gather", {"s", "ids"}, {"gs"});
  AddNode(graph(), "Mul", {"f", "gs"}, {"rows"});
  Expect("rows", {3, 2}, {1, 2, 30, 40, 500, 600});
}

TEST_F(Evaluator, BlocksOfATableAreDecodedPackedOrNot) {
  model_.opset_imports["com.microsoft"] = 1;
  testing::AddInput(graph(), "ids", DType::kInt64);
  // Two rows of four 4-bit values, blocks of two; uint8 packs two values a byte, zero point 8.
  Bytes8("packed", DType::kUint8, {2, 2}, {0x98, 0xba, 0x78, 0x56});
  Floats("s", {2, 2}, {1, 10, 100, 1000});
  const auto add = [&](const std::string& data, const std::string& out) {
    Node& node =
        AddNode(graph(), "GatherBlockQuantized", {data, "ids", "s"}, {out}, "", "com.microsoft");
    node.SetInt("quantize_axis", 1);
    node.SetInt("block_size", 2);
    node.SetInt("bits", 4);
  };
  add("packed", "a");
  Expect("a", {2, 4}, {0, 1, 20, 30, 0, -100, -2000, -3000});
  AddInitializer(graph(),
                 *Tensor::Make("i4", DType::kInt4, {2, 4}, std::string("\x10\x32\xf0\xde", 4)));
  add("i4", "b");
  Expect("b", {2, 4}, {0, 1, 20, 30, 0, -100, -2000, -3000});
}

TEST_F(Evaluator, SparseInitializersAreSpreadOut) {
  std::vector<float> values(64, 0.0f);
  values[5] = 1.5f;
  values[63] = -2;
  const Tensor dense = Tensor::FromFloats("w", {8, 8}, values);
  const auto serialized = SerializeSparseIfSmaller(dense);
  ASSERT_TRUE(serialized.has_value());
  graph().sparse_initializers["w"] = Bytes::Own(*serialized);
  Expect("w", {8, 8}, values);
}

TEST(DecodeSparse, RefusesIndicesOutsideTheShape) {
  std::vector<float> values(64, 0.0f);
  values[63] = 1;
  std::string bytes = *SerializeSparseIfSmaller(Tensor::FromFloats("w", {8, 8}, values));
  const size_t at = bytes.find(std::string("\x3f\0\0\0\0\0\0\0", 8));
  ASSERT_NE(at, std::string::npos);
  bytes[at] = 0x40;
  EXPECT_THAT(std::string(DecodeSparse(Bytes::Own(bytes)).status().message()),
              HasSubstr("outside"));
  bytes[at + 7] = static_cast<char>(0x80);  // negative
  EXPECT_FALSE(DecodeSparse(Bytes::Own(bytes)).ok());
  EXPECT_FALSE(DecodeSparse(Bytes::Own("\xff\xff")).ok());
}

TEST_F(Evaluator, WhatIsComputedFromInputsIsNoConstant) {
  testing::AddInput(graph(), "x");
  Floats("a", {1}, {1});
  AddNode(graph(), "Mul", {"x", "a"}, {"y"});
  EXPECT_EQ(All("y").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(All("nobody").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(Evaluator, AnOperatorItDoesNotKnowIsNamed) {
  Floats("a", {1}, {1});
  AddNode(graph(), "Erf", {"a"}, {"y"}, "odd");
  const absl::Status status = All("y").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("Erf 'odd'"));
}

}  // namespace
}  // namespace lathe::engine
