#include "worker/engine/methods/input_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/graph_builder.h"

namespace lathe::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A use of a weight of shape `dims` by `node`.
WeightUse UseOf(Node* node, WeightRole role, Shape dims, int reduction_axis, int64_t groups = 1) {
  WeightUse use;
  use.node = node;
  use.role = role;
  use.dims = std::move(dims);
  use.reduction_axis = reduction_axis;
  use.groups = groups;
  return use;
}

std::vector<float> Rising(int64_t count) {
  std::vector<float> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(static_cast<float>(i + 1));
  return out;
}

TEST(ReadInputRows, TakesPatchesOfEachGroupWithPaddingStridesAndDilations) {
  struct Case {
    const char* auto_pad;
    Shape pads;
    Shape strides;
    Shape dilations;
    int64_t groups;
    int64_t begin_y;  // padding before the first row and column, by ONNX's definition
    int64_t begin_x;
    Shape out;
  };
  constexpr int64_t kChannels = 4;
  constexpr int64_t kHeight = 5;
  constexpr int64_t kWidth = 6;
  for (const Case& c : {Case{"NOTSET", {0, 0, 0, 0}, {1, 1}, {1, 1}, 1, 0, 0, {3, 4}},
                        Case{"NOTSET", {1, 2, 0, 1}, {2, 1}, {1, 2}, 2, 1, 2, {2, 5}},
                        Case{"SAME_UPPER", {}, {2, 2}, {1, 1}, 4, 1, 0, {3, 3}},
                        Case{"SAME_LOWER", {}, {2, 2}, {1, 1}, 1, 1, 1, {3, 3}},
                        Case{"VALID", {}, {1, 1}, {2, 1}, 1, 0, 0, {1, 4}}}) {
    Node node;
    node.op_type = "Conv";
    node.SetString("auto_pad", c.auto_pad);
    node.SetInts("strides", c.strides);
    node.SetInts("dilations", c.dilations);
    if (!c.pads.empty()) node.SetInts("pads", c.pads);
    const int64_t inputs = kChannels / c.groups;
    const WeightUse use = UseOf(&node, WeightRole::kConv, {8, inputs, 3, 3}, 1, c.groups);
    const InputUse how = InputUseOf(use);
    ASSERT_EQ(how.length, inputs * 9);
    const std::vector<float> x = Rising(2 * kChannels * kHeight * kWidth);
    const Value value = Value::Borrow(DType::kFloat, {2, kChannels, kHeight, kWidth}, x.data());
    const Shape out_dims = {2, 8, c.out[0], c.out[1]};
    const int64_t all = CountInputRows(how, value, out_dims);
    ASSERT_EQ(all, 2 * c.out[0] * c.out[1]);
    const std::vector<float> rows = ReadInputRows(use, how, value, out_dims, 0, 1, all);
    size_t at = 0;
    for (int64_t g = 0; g < c.groups; ++g) {
      for (int64_t r = 0; r < all; ++r) {
        const int64_t example = r / (c.out[0] * c.out[1]);
        const int64_t y = r / c.out[1] % c.out[0];
        const int64_t column = r % c.out[1];
        for (int64_t i = 0; i < inputs; ++i) {
          for (int64_t ky = 0; ky < 3; ++ky) {
            for (int64_t kx = 0; kx < 3; ++kx) {
              const int64_t iy = y * c.strides[0] + ky * c.dilations[0] - c.begin_y;
              const int64_t ix = column * c.strides[1] + kx * c.dilations[1] - c.begin_x;
              float expected = 0;
              if (iy >= 0 && iy < kHeight && ix >= 0 && ix < kWidth) {
                expected = x[((example * kChannels + g * inputs + i) * kHeight + iy) * kWidth + ix];
              }
              ASSERT_EQ(rows[at++], expected) << c.auto_pad << " " << r << " " << ky << " " << kx;
            }
          }
        }
      }
    }
    ASSERT_EQ(at, rows.size());
  }
}

TEST(ReadInputRows, ReadsProductsFromEitherSide) {
  Node node;
  node.op_type = "MatMul";
  const std::vector<float> x = Rising(12);
  const WeightUse right = UseOf(&node, WeightRole::kMatMulRight, {3, 7}, 0);
  const Value rows = Value::Borrow(DType::kFloat, {2, 2, 3}, x.data());
  const InputUse by_rows = InputUseOf(right);
  EXPECT_EQ(CountInputRows(by_rows, rows, {2, 2, 7}), 4);
  EXPECT_THAT(ReadInputRows(right, by_rows, rows, {2, 2, 7}, 1, 2, 9),
              ElementsAre(4, 5, 6, 10, 11, 12));
  EXPECT_THAT(ReadInputRows(right, by_rows, rows, {2, 2, 7}, 1, 2, 1), ElementsAre(4, 5, 6));

  const WeightUse left = UseOf(&node, WeightRole::kMatMulLeft, {7, 3}, 1);
  const Value columns = Value::Borrow(DType::kFloat, {2, 3, 2}, x.data());
  const InputUse by_columns = InputUseOf(left);
  EXPECT_EQ(by_columns.input, 1);
  EXPECT_THAT(ReadInputRows(left, by_columns, columns, {2, 7, 2}, 0, 3, 9),
              ElementsAre(1, 3, 5, 8, 10, 12));
}

TEST(ReadInputRows, GivesNothingForInputsOfAnotherShape) {
  Node node;
  node.op_type = "MatMul";
  const std::vector<float> x = Rising(12);
  const WeightUse right = UseOf(&node, WeightRole::kMatMulRight, {3, 7}, 0);
  const Value other = Value::Borrow(DType::kFloat, {3, 4}, x.data());
  EXPECT_THAT(ReadInputRows(right, InputUseOf(right), other, {3, 7}, 0, 1, 9), IsEmpty());
  EXPECT_EQ(InputUseOf(UseOf(&node, WeightRole::kMatMulRight, {2, 3, 7}, 1)).form,
            InputForm::kNone);
  EXPECT_EQ(InputUseOf(UseOf(&node, WeightRole::kRnnRecurrent, {1, 8, 2}, 2)).form,
            InputForm::kNone);
}

}  // namespace
}  // namespace lathe::engine
