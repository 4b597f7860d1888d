#include "server/jobs/backoff.h"

#include <gtest/gtest.h>

namespace lathe::server {
namespace {

BackoffOptions Options() {
  BackoffOptions options;
  options.initial = absl::Seconds(1);
  options.multiplier = 2;
  options.maximum = absl::Seconds(60);
  options.jitter = 0.25;
  return options;
}

TEST(Backoff, DoublesFromFailureToFailureUpToTheMaximum) {
  // Uniform 0.5 is the middle of the jitter: none.
  const absl::Duration expected[] = {absl::Seconds(1),  absl::Seconds(2),  absl::Seconds(4),
                                     absl::Seconds(8),  absl::Seconds(16), absl::Seconds(32),
                                     absl::Seconds(60), absl::Seconds(60)};
  for (int failures = 1; failures <= 8; ++failures) {
    EXPECT_EQ(BackoffDelay(Options(), failures, 0.5), expected[failures - 1]) << failures;
  }
}

TEST(Backoff, JitterSpreadsTheDelayAroundIt) {
  EXPECT_EQ(BackoffDelay(Options(), 3, 0.0), absl::Seconds(3));
  EXPECT_EQ(BackoffDelay(Options(), 3, 0.75), absl::Milliseconds(4500));
  EXPECT_LT(BackoffDelay(Options(), 3, 0.999999), absl::Seconds(5));
}

TEST(Backoff, HugeCountsAndNoneStayWithinTheBounds) {
  EXPECT_EQ(BackoffDelay(Options(), 1'000'000'000, 0.5), absl::Seconds(60));
  EXPECT_EQ(BackoffDelay(Options(), 0, 0.5), absl::Seconds(1));
}

TEST(Backoff, SystemRandomStaysInItsRangeAndVaries) {
  SystemRandom random;
  const double first = random.Uniform();
  bool varied = false;
  for (int i = 0; i < 1000; ++i) {
    const double value = random.Uniform();
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    varied |= value != first;
  }
  EXPECT_TRUE(varied);
}

}  // namespace
}  // namespace lathe::server
