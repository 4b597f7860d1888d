#include "worker/engine/kernels/small_float.h"

#include <gtest/gtest.h>

#include <limits>

namespace lathe::engine {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Case {
  DType dtype;
  float value;
  bool saturate;
  uint8_t code;
};

class SmallFloatTest : public testing::TestWithParam<Case> {};

TEST_P(SmallFloatTest, HasTheCodeOfTheStandard) {
  const Case& c = GetParam();
  EXPECT_EQ(FloatToSmall(c.value, c.dtype, c.saturate), c.code) << c.value;
}

INSTANTIATE_TEST_SUITE_P(
    Float8E4M3FN, SmallFloatTest,
    testing::Values(Case{DType::kFloat8E4M3FN, 1, true, 0x38},
                    Case{DType::kFloat8E4M3FN, -1, true, 0xB8},
                    Case{DType::kFloat8E4M3FN, 448, false, 0x7E},
                    // Half way to the next number rounds to even, which is the largest itself.
                    Case{DType::kFloat8E4M3FN, 464, false, 0x7E},
                    Case{DType::kFloat8E4M3FN, 465, false, 0x7F},
                    Case{DType::kFloat8E4M3FN, 465, true, 0x7E},
                    Case{DType::kFloat8E4M3FN, -kInfinity, true, 0xFE},
                    // The smallest number, half of it (a tie), and a little more than half.
                    Case{DType::kFloat8E4M3FN, 0x1p-9F, true, 0x01},
                    Case{DType::kFloat8E4M3FN, 0x1p-10F, true, 0x00},
                    Case{DType::kFloat8E4M3FN, 0x1.1p-10F, true, 0x01},
                    // A subnormal number that rounds up to the smallest normal one.
                    Case{DType::kFloat8E4M3FN, 0x1.Fp-7F, true, 0x08},
                    Case{DType::kFloat8E4M3FN, -0.0F, true, 0x80}));

INSTANTIATE_TEST_SUITE_P(Others, SmallFloatTest,
                         testing::Values(Case{DType::kFloat8E5M2, 1e9F, false, 0x7C},
                                         Case{DType::kFloat8E5M2, 1e9F, true, 0x7B},
                                         Case{DType::kFloat8E5M2FNUZ, -1e9F, false, 0x80},
                                         Case{DType::kFloat8E5M2FNUZ, -0.0F, true, 0x00},
                                         Case{DType::kFloat8E4M3FNUZ, 1, true, 0x40},
                                         Case{DType::kFloat8E4M3FNUZ, -0x1p-12F, true, 0x00},
                                         Case{DType::kFloat4E2M1, 2.5F, true, 0x04},
                                         Case{DType::kFloat4E2M1, 5.1F, true, 0x07},
                                         Case{DType::kFloat4E2M1, -100, false, 0x0F}));

TEST(SmallFloatTest, NaNStaysNaNWhereThereIsOne) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(FloatToSmall(nan, DType::kFloat8E4M3FN, true), 0x7F);
  EXPECT_EQ(FloatToSmall(nan, DType::kFloat8E5M2FNUZ, true), 0x80);
}

}  // namespace
}  // namespace lathe::engine
