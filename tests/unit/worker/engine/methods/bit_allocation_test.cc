#include "worker/engine/methods/bit_allocation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lathe::engine {
namespace {

using ::testing::ElementsAre;

const std::vector<BitChoice> kSensitive = {{4, 100, 1.0}, {8, 200, 0.01}};
const std::vector<BitChoice> kRobust = {{4, 100, 0.1}, {8, 200, 0.001}};

TEST(AllocateBits, SpendsWhereMostErrorIsSaved) {
  struct Case {
    int64_t budget;
    std::vector<size_t> expected;
  };
  for (const Case& c : {Case{200, {0, 0}}, Case{299, {0, 0}}, Case{300, {1, 0}}, Case{400, {1, 1}},
                        Case{10, {0, 0}}}) {
    EXPECT_EQ(AllocateBits({kSensitive, kRobust}, c.budget), c.expected) << c.budget;
  }
}

TEST(AllocateBits, TakesTheBestOfWhatCostsTheSame) {
  EXPECT_THAT(
      AllocateBits({{{2, 100, 3}, {3, 100, 2}, {4, 100, 1}, {5, 200, 0.5}, {8, 200, 0.1}}}, 199),
      ElementsAre(2));
  EXPECT_THAT(
      AllocateBits({{{2, 100, 3}, {3, 100, 2}, {4, 100, 1}, {5, 200, 0.5}, {8, 200, 0.1}}}, 200),
      ElementsAre(4));
}

TEST(AllocateBits, GivesTiesToTheEarlierLayer) {
  EXPECT_THAT(AllocateBits({kRobust, kRobust}, 300), ElementsAre(1, 0));
  EXPECT_TRUE(AllocateBits({}, 5).empty());
}

}  // namespace
}  // namespace lathe::engine
