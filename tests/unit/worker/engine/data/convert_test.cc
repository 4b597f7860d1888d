#include "worker/engine/data/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <typename From, typename To>
ConvertError Run(DType from, const std::vector<From>& in, DType to, std::vector<To>* out) {
  out->assign(in.size(), To{});
  return Convert(from, reinterpret_cast<const char*>(in.data()), static_cast<int64_t>(in.size()),
                 to, reinterpret_cast<char*>(out->data()));
}

TEST(Convert, WhatTheTargetHoldsIsKept) {
  std::vector<float> floats;
  EXPECT_TRUE(Run<uint8_t>(DType::kUint8, {0, 255}, DType::kFloat, &floats).ok());
  EXPECT_THAT(floats, ElementsAre(0, 255));
  EXPECT_TRUE(Run<double>(DType::kDouble, {0.1, -2}, DType::kFloat, &floats).ok());
  EXPECT_THAT(floats, ElementsAre(0.1f, -2));
  EXPECT_TRUE(Run<uint16_t>(DType::kFloat16, {FloatToHalf(1.5f)}, DType::kFloat, &floats).ok());
  EXPECT_THAT(floats, ElementsAre(1.5f));
  EXPECT_TRUE(Run<int64_t>(DType::kInt64, {1 << 24}, DType::kFloat, &floats).ok());
  std::vector<int32_t> ints;
  EXPECT_TRUE(Run<int64_t>(DType::kInt64, {-5, 7}, DType::kInt32, &ints).ok());
  EXPECT_THAT(ints, ElementsAre(-5, 7));
  std::vector<uint8_t> bytes;
  EXPECT_TRUE(Run<uint8_t>(DType::kBool, {0, 2}, DType::kBool, &bytes).ok());
  EXPECT_THAT(bytes, ElementsAre(0, 1));
}

TEST(Convert, WhatItDoesNotHoldIsRefusedByItsIndex) {
  std::vector<int32_t> ints;
  ConvertError error = Run<int64_t>(DType::kInt64, {1, 1ll << 31}, DType::kInt32, &ints);
  EXPECT_EQ(error.index, 1);
  EXPECT_THAT(error.what, HasSubstr("2147483648, which int32 cannot hold"));
  std::vector<float> floats;
  // 2^24 + 1 is the first whole number that float32 lacks.
  EXPECT_EQ(Run<int64_t>(DType::kInt64, {(1 << 24) + 1}, DType::kFloat, &floats).index, 0);
  EXPECT_EQ(Run<int64_t>(DType::kInt64, {INT64_MAX}, DType::kFloat, &floats).index, 0);
  EXPECT_EQ(Run<double>(DType::kDouble, {1e300}, DType::kFloat, &floats).index, 0);
  std::vector<float> many(3000, 1.0f);
  many[2500] = std::numeric_limits<float>::quiet_NaN();
  error = Run<float>(DType::kFloat, many, DType::kFloat, &floats);
  EXPECT_EQ(error.index, 2500);
  EXPECT_EQ(error.what, "is NaN");
  std::vector<int64_t> wide;
  EXPECT_EQ(Run<uint64_t>(DType::kUint64, {~uint64_t{0}}, DType::kInt64, &wide).index, 0);
  std::vector<uint8_t> bytes;
  EXPECT_EQ(Run<uint8_t>(DType::kUint8, {2}, DType::kBool, &bytes).index, 0);
}

TEST(Convert, FloatsDoNotBecomeIntegers) {
  EXPECT_FALSE(IsConvertible(DType::kFloat, DType::kInt64));
  EXPECT_FALSE(IsConvertible(DType::kFloat, DType::kString));
  EXPECT_FALSE(IsConvertible(DType::kInt8, DType::kUndefined));
  EXPECT_TRUE(IsConvertible(DType::kInt8, DType::kFloat16));
}

}  // namespace
}  // namespace lathe::engine
