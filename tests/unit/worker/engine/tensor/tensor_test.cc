#include "worker/engine/tensor/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace lathe::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(BytesTest, CopiesShareAndKeepTheOwnerAlive) {
  Bytes copy;
  {
    Bytes owned = Bytes::Own(
        "short");  // in the small-string buffer: the view must not point into a moved string
    copy = owned;
    EXPECT_EQ(copy.view().data(), owned.view().data());
  }
  EXPECT_EQ(copy.view(), "short");
  EXPECT_FALSE(copy.borrowed());
}

TEST(BytesTest, BorrowedBytesHoldTheirKeeper) {
  auto keeper = std::make_shared<std::string>("mapped file");
  Bytes bytes = Bytes::Borrow(*keeper, keeper);
  const std::weak_ptr<std::string> watch = keeper;
  keeper.reset();
  EXPECT_FALSE(watch.expired());
  EXPECT_TRUE(bytes.borrowed());
  EXPECT_EQ(bytes.size(), 11);
  bytes = Bytes();
  EXPECT_TRUE(watch.expired());
}

TEST(TensorTest, MakeRefusesSizesThatDoNotFit) {
  struct Case {
    DType dtype;
    Shape dims;
    int64_t bytes;
    const char* message;
  };
  constexpr int64_t kBig = int64_t{1} << 40;
  for (const Case& c : {Case{DType::kFloat, {2, 3}, 20, "takes 24 bytes, got 20"},
                        {DType::kFloat, {2, -1}, 8, "no size"},
                        {DType::kFloat, {kBig, kBig}, 8, "no size"},
                        {DType::kString, {1}, 0, "no size"},
                        {DType::kInt4, {3}, 1, "takes 2 bytes, got 1"}}) {
    const auto tensor = Tensor::Make("w", c.dtype, c.dims, std::string(c.bytes, '\0'));
    ASSERT_EQ(tensor.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(tensor.status().message()), HasSubstr(c.message));
    EXPECT_THAT(std::string(tensor.status().message()), HasSubstr("'w'"));
  }
}

TEST(TensorTest, ScalarsAndEmptyTensorsFit) {
  EXPECT_EQ(Tensor::FromFloats("s", {}, std::vector<float>{1.0f}).size(), 1);
  const Tensor empty = Tensor::FromFloats("e", {0, 5}, {});
  EXPECT_EQ(empty.size(), 0);
  EXPECT_TRUE(empty.ToFloats()->empty());
  EXPECT_TRUE(empty.FloatView().empty());
}

TEST(TensorTest, FloatViewNeedsAlignedFloat32) {
  const Tensor tensor = Tensor::FromFloats("w", {2}, std::vector<float>{1.5f, -2.0f});
  EXPECT_THAT(tensor.FloatView(), ElementsAre(1.5f, -2.0f));

  auto buffer = std::make_shared<std::vector<float>>(3);
  const absl::string_view odd(reinterpret_cast<const char*>(buffer->data()) + 1, 8);
  Tensor shifted = tensor;
  shifted.data = Bytes::Borrow(odd, buffer);
  EXPECT_TRUE(shifted.FloatView().empty());
  EXPECT_THAT(*shifted.ToFloats(), ElementsAre(0.0f, 0.0f));
}

TEST(TensorTest, ToFloatsConvertsTheFourFloatTypes) {
  const auto bytes = [](auto... values) {
    std::string out;
    (out.append(reinterpret_cast<const char*>(&values), sizeof(values)), ...);
    return out;
  };
  const auto floats = [](DType dtype, const std::string& data) {
    return *Tensor::Make("w", dtype, {2}, data)->ToFloats();
  };
  EXPECT_THAT(floats(DType::kFloat, bytes(1.0f, -3.0f)), ElementsAre(1.0f, -3.0f));
  EXPECT_THAT(floats(DType::kDouble, bytes(0.5, 1e300)),
              ElementsAre(0.5f, std::numeric_limits<float>::infinity()));
  EXPECT_THAT(floats(DType::kFloat16, bytes(uint16_t{0x3C00}, uint16_t{0xC000})),
              ElementsAre(1.0f, -2.0f));
  EXPECT_THAT(floats(DType::kBfloat16, bytes(uint16_t{0x3F80}, uint16_t{0xC040})),
              ElementsAre(1.0f, -3.0f));
  EXPECT_EQ(Tensor::FromInt64s("i", {1}, std::vector<int64_t>{1}).ToFloats().status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(TensorTest, ToInt64sWidensWithSign) {
  const auto ints = [](DType dtype, const std::string& data) {
    return *Tensor::Make("i", dtype, {2}, data)->ToInt64s();
  };
  EXPECT_THAT(ints(DType::kInt8, "\xFF\x7F"), ElementsAre(-1, 127));
  EXPECT_THAT(ints(DType::kUint8, "\xFF\x7F"), ElementsAre(255, 127));
  EXPECT_THAT(ints(DType::kBool, std::string("\0\1", 2)), ElementsAre(0, 1));
  EXPECT_THAT(ints(DType::kInt32, std::string("\xFE\xFF\xFF\xFF\x02\0\0\0", 8)),
              ElementsAre(-2, 2));
  EXPECT_EQ(Tensor::FromFloats("f", {1}, std::vector<float>{1}).ToInt64s().status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(HalfTest, EveryHalfSurvivesTheRoundTrip) {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    const float value = HalfToFloat(static_cast<uint16_t>(half));
    const uint16_t back = FloatToHalf(value);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(HalfToFloat(back)));
    } else {
      ASSERT_EQ(back, half) << value;
    }
  }
}

// The nearest half to `value`, ties to the even one, found by search over all finite halves:
// independent of the bit tricks.
uint16_t NearestHalf(double value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(value);
  uint16_t low = 0;
  uint16_t high = 0x7C00;  // stands for 65536 here, the value infinity takes the place of
  while (high - low > 1) {
    const auto mid = static_cast<uint16_t>((low + high) / 2);
    (HalfToFloat(mid) <= magnitude ? low : high) = mid;
  }
  const double below = HalfToFloat(low);
  const double above = high == 0x7C00 ? 65536.0 : HalfToFloat(high);
  if (magnitude - below < above - magnitude) return sign | low;
  if (magnitude - below > above - magnitude) return sign | high;
  return sign | (low % 2 == 0 ? low : high);
}

TEST(HalfTest, RoundsToNearestEven) {
  for (const float value : {0.0f, -0.0f, 65504.0f, 65519.99f, 65520.0f, 70000.0f, 0x1p-24f,
                            0x1p-25f, 0x1.8p-25f, 0x1.8p-24f, 0x1p-14f, 0x1.FFFp-15f,
                            1.0f + 0x1p-11f, 1.0f + 0x1.8p-10f, 1e-30f, 2049.0f, 2051.0f}) {
    EXPECT_EQ(FloatToHalf(value), NearestHalf(value)) << value;
    EXPECT_EQ(FloatToHalf(-value), NearestHalf(-value)) << -value;
  }
  std::mt19937 random(7);
  for (int i = 0; i < 200000; ++i) {
    // Exponents from far below the subnormals to just past the overflow.
    const uint32_t bits = (random() & 0x807FFFFF) | ((90 + random() % 54) << 23);
    const float value = std::bit_cast<float>(bits);
    ASSERT_EQ(FloatToHalf(value), NearestHalf(value)) << value;
  }
}

TEST(HalfTest, InfinityAndNan) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(FloatToHalf(kInf), 0x7C00);
  EXPECT_EQ(FloatToHalf(-kInf), 0xFC00);
  EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(std::nanf("")))));
  EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(std::bit_cast<float>(0x7F800001u)))));
}

TEST(Bfloat16Test, RoundsToNearestEvenAndKeepsNan) {
  EXPECT_EQ(FloatToBfloat16(1.0f), 0x3F80);
  EXPECT_EQ(FloatToBfloat16(std::bit_cast<float>(0x3F808000u)), 0x3F80);  // tie, even below
  EXPECT_EQ(FloatToBfloat16(std::bit_cast<float>(0x3F818000u)), 0x3F82);  // tie, even above
  EXPECT_EQ(FloatToBfloat16(std::bit_cast<float>(0x3F808001u)), 0x3F81);
  EXPECT_EQ(FloatToBfloat16(std::numeric_limits<float>::max()), 0x7F80);
  EXPECT_TRUE(std::isnan(Bfloat16ToFloat(FloatToBfloat16(std::bit_cast<float>(0x7F800001u)))));
}

}  // namespace
}  // namespace lathe::engine
