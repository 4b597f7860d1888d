#include "worker/engine/tensor/dtype.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <optional>

namespace lathe::engine {
namespace {

TEST(DTypeTest, NumbersAreThoseOfOnnx) {
  EXPECT_EQ(static_cast<int>(DType::kFloat8E4M3FN), 17);
  EXPECT_EQ(static_cast<int>(DType::kInt2), 26);
}

TEST(DTypeTest, NamesAndUnknownNumbers) {
  EXPECT_EQ(DTypeName(DType::kFloat), "float32");
  EXPECT_EQ(DTypeName(DType::kInt4), "int4");
  EXPECT_EQ(DTypeName(DType::kInt2), "int2");
  EXPECT_EQ(DTypeName(static_cast<DType>(27)), "unknown");
  EXPECT_EQ(DTypeName(static_cast<DType>(-1)), "unknown");
  EXPECT_EQ(DTypeBits(static_cast<DType>(99)), std::nullopt);
  EXPECT_EQ(DTypeBits(DType::kString), std::nullopt);
  EXPECT_EQ(DTypeBits(DType::kUndefined), std::nullopt);
}

TEST(DTypeTest, SubByteTypesArePackedAndRoundedUp) {
  struct Case {
    DType dtype;
    int64_t count;
    int64_t bytes;
  };
  for (const Case& c : {Case{DType::kInt4, 0, 0},
                        {DType::kInt4, 1, 1},
                        {DType::kInt4, 2, 1},
                        {DType::kUint4, 3, 2},
                        {DType::kInt2, 4, 1},
                        {DType::kUint2, 5, 2},
                        {DType::kFloat4E2M1, 7, 4},
                        {DType::kFloat, 3, 12},
                        {DType::kComplex128, 2, 32},
                        {DType::kBool, 9, 9}}) {
    EXPECT_EQ(DTypeBytes(c.dtype, c.count), c.bytes) << DTypeName(c.dtype) << " x " << c.count;
  }
}

TEST(DTypeTest, BytesRefuseOverflowNegativeAndUnsized) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(DTypeBytes(DType::kFloat, kMax / 2), std::nullopt);
  EXPECT_EQ(DTypeBytes(DType::kInt4, kMax), kMax / 2 + 1);
  EXPECT_EQ(DTypeBytes(DType::kFloat, -1), std::nullopt);
  EXPECT_EQ(DTypeBytes(DType::kString, 1), std::nullopt);
}

TEST(DTypeTest, OnlyTheFourComputedTypesAreFloats) {
  EXPECT_TRUE(IsFloat(DType::kFloat) && IsFloat(DType::kDouble) && IsFloat(DType::kFloat16) &&
              IsFloat(DType::kBfloat16));
  EXPECT_FALSE(IsFloat(DType::kFloat8E4M3FN) || IsFloat(DType::kInt8) || IsFloat(DType::kString));
}

}  // namespace
}  // namespace lathe::engine
