#include "worker/engine/kernels/integer_product.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace lathe::engine {
namespace {

struct Extents {
  int64_t m, n, k;
};

class IntegerProductTest : public testing::TestWithParam<Extents> {};

// Every pair of extents around the sizes of a tile, and odd depths.
TEST_P(IntegerProductTest, IsThatOfANaiveLoop) {
  const auto [m, n, k] = GetParam();
  std::mt19937 random(7);
  std::uniform_int_distribution<int> byte(0, 255);
  std::vector<uint8_t> a(static_cast<size_t>(m * k));
  std::vector<int8_t> b(static_cast<size_t>(k * n));
  for (uint8_t& value : a) value = static_cast<uint8_t>(byte(random));
  for (int8_t& value : b) value = static_cast<int8_t>(byte(random) - 128);
  std::vector<int32_t> a_zeros(static_cast<size_t>(m));
  std::vector<int32_t> b_zeros(static_cast<size_t>(n));
  for (int32_t& zero : a_zeros) zero = byte(random);
  for (int32_t& zero : b_zeros) zero = byte(random) - 128;

  std::vector<int16_t> left(static_cast<size_t>(m * LeftStride(k)), 99);
  std::vector<int16_t> right(static_cast<size_t>(PackedElements(k, n)), 99);
  PackLeft(a.data(), m, k, k, 1, a_zeros.data(), 1, left.data());
  PackRight(b.data(), k, n, n, 1, b_zeros.data(), 1, right.data());
  const int64_t stride = n + 3;
  std::vector<int32_t> c(static_cast<size_t>(m * stride), -1);
  IntegerProduct(m, n, k, left.data(), right.data(), c.data(), stride);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      int32_t sum = 0;
      for (int64_t p = 0; p < k; ++p) {
        sum += (a[i * k + p] - a_zeros[i]) * (b[p * n + j] - b_zeros[j]);
      }
      ASSERT_EQ(c[i * stride + j], sum) << i << ", " << j;
    }
    for (int64_t j = n; j < stride; ++j) EXPECT_EQ(c[i * stride + j], -1) << "written past the row";
  }
}

INSTANTIATE_TEST_SUITE_P(Extents, IntegerProductTest,
                         testing::Values(Extents{1, 1, 1}, Extents{4, 16, 2}, Extents{5, 17, 3},
                                         Extents{3, 15, 64}, Extents{9, 33, 31},
                                         Extents{2, 40, 0}));

}  // namespace
}  // namespace lathe::engine
