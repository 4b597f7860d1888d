#include "worker/engine/data/permutation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace lathe::engine {
namespace {

TEST(Permutation, IsOneToOneAndKnowsItsInverse) {
  for (const int64_t size : {1, 2, 3, 4, 5, 16, 17, 100, 1000}) {
    const Permutation order(size, 7);
    std::vector<bool> seen(size);
    for (int64_t i = 0; i < size; ++i) {
      const int64_t place = order.PlaceOf(i);
      ASSERT_TRUE(place >= 0 && place < size);
      EXPECT_FALSE(seen[place]);
      seen[place] = true;
      EXPECT_EQ(order.ValueAt(place), i);
    }
  }
}

TEST(Permutation, HoldsForVeryLargeSizes) {
  const Permutation order(int64_t{1} << 50, 3);
  for (const int64_t value : {int64_t{0}, int64_t{1}, (int64_t{1} << 50) - 1}) {
    EXPECT_EQ(order.ValueAt(order.PlaceOf(value)), value);
  }
}

// Splits of finished jobs are told by the seed: these must never change.
TEST(Permutation, IsTheSameEverywhere) {
  std::vector<int64_t> zero, one;
  for (int64_t i = 0; i < 10; ++i) {
    zero.push_back(Permutation(10, 0).PlaceOf(i));
    one.push_back(Permutation(10, 1).PlaceOf(i));
  }
  EXPECT_THAT(zero, ::testing::ElementsAre(7, 4, 6, 3, 9, 5, 8, 2, 1, 0));
  EXPECT_THAT(one, ::testing::ElementsAre(7, 2, 6, 8, 1, 3, 5, 9, 4, 0));
  EXPECT_EQ(SplitMix64(0), 0xE220A8397B1DCDAF);  // the published first value of seed 0
}

// Of 1000 examples in ten blocks of 100, each half takes about 50 a block: hypergeometric with a
// standard deviation of 4.8; 25 is more than five of them.
TEST(Permutation, MixesBlocks) {
  const Permutation order(1000, 0);
  for (int64_t block = 0; block < 10; ++block) {
    int taken = 0;
    for (int64_t i = 0; i < 100; ++i) taken += order.PlaceOf(block * 100 + i) < 500 ? 1 : 0;
    EXPECT_NEAR(taken, 50, 25);
  }
}

}  // namespace
}  // namespace lathe::engine
