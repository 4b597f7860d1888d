#include "worker/engine/evaluate/metrics/significance.h"

#include <gtest/gtest.h>

#include "worker/engine/evaluate/metrics/mcnemar.h"

namespace lathe::engine {
namespace {

TEST(McNemar, ValuesByHand) {
  // 1 against 4 of 5: P(X <= 1) = 6/32, P(X = 1) = 5/32.
  const McNemar test = McNemarTest(4, 1);
  EXPECT_DOUBLE_EQ(test.p_exact, 12.0 / 32);
  EXPECT_DOUBLE_EQ(test.p_value, 7.0 / 32);
  EXPECT_FALSE(test.chi_square);
  EXPECT_EQ(McNemarTest(1, 4).p_value, test.p_value);
  EXPECT_EQ(McNemarTest(0, 0).p_value, 1);
  EXPECT_EQ(McNemarTest(7, 7).p_value, 1);
}

TEST(McNemar, TheTwoFormsMeetWhereTheyTakeOver) {
  const McNemar exact = McNemarTest(540, 460);
  const McNemar approximate = McNemarTest(540, 461);
  EXPECT_FALSE(exact.chi_square);
  EXPECT_TRUE(approximate.chi_square);
  EXPECT_NEAR(approximate.p_value, exact.p_exact, 0.1 * exact.p_exact);
  EXPECT_EQ(McNemarTest(600, 601).p_value, 1) << "the continuity correction leaves nothing";
}

TEST(Sentences, SayWhetherAChangeIsReal) {
  EXPECT_EQ(ShareSentence(-0.002, 500, 0.754),
            "0.2 % lower on 500 examples: within noise (p = 0.75)");
  EXPECT_EQ(ShareSentence(-0.031, 500, 0.0002),
            "3.1 % lower on 500 examples: a real change (p = 0.0002)");
  EXPECT_EQ(ShareSentence(0.5, 1, 1e-9), "50.0 % higher on 1 example: a real change (p < 0.0001)");
  EXPECT_EQ(ShareSentence(-0.00012, 100000, 0.4),
            "0.012 % lower on 100000 examples: within noise (p = 0.4)");
  EXPECT_EQ(ShareSentence(0, 500, 1), "no change on 500 examples");
  EXPECT_EQ(FigureSentence("mae", 0.01323, 500, 0.31),
            "mae 0.0132 higher on 500 examples: within noise (p = 0.31)");
}

}  // namespace
}  // namespace lathe::engine
