#include "server/jobs/job_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace lathe::server {
namespace {

using ::testing::ElementsAre;

bool Any(const QueuedJob&) { return true; }

std::vector<std::string> TakeAll(JobQueue& queue) {
  std::vector<std::string> jobs;
  while (auto job = queue.Take(Any)) jobs.push_back(job->job);
  return jobs;
}

QueuedJob Job(const std::string& name, const std::string& tenant, int priority, int64_t order) {
  return QueuedJob{name, tenant, priority, order, absl::FromUnixSeconds(order)};
}

TEST(JobQueue, HigherPriorityFirstThenOlder) {
  JobQueue queue;
  queue.Add(Job("young", "", 0, 3));
  queue.Add(Job("low", "", -5, 1));
  queue.Add(Job("old", "", 0, 2));
  queue.Add(Job("high", "", 5, 4));
  EXPECT_THAT(TakeAll(queue), ElementsAre("high", "old", "young", "low"));
}

TEST(JobQueue, ATenantWithOneJobGetsTheNextSlotAgainstAThousand) {
  JobQueue queue;
  for (int i = 0; i < 1000; ++i) queue.Add(Job(absl::StrCat("a", i), "A", 0, i));
  ASSERT_EQ(queue.Take(Any)->tenant, "A");
  queue.Add(Job("b", "B", 0, 2000));
  EXPECT_EQ(queue.Take(Any)->job, "b");
  EXPECT_EQ(queue.Take(Any)->tenant, "A");
  EXPECT_EQ(queue.size(), 998u);
}

TEST(JobQueue, TenantsTakeTurnsAndComingBackGivesNoAdvantage) {
  JobQueue queue;
  for (int i = 0; i < 3; ++i) {
    queue.Add(Job(absl::StrCat("a", i), "A", 0, 3 * i));
    queue.Add(Job(absl::StrCat("b", i), "B", 0, 3 * i + 1));
    queue.Add(Job(absl::StrCat("c", i), "C", 0, 3 * i + 2));
  }
  std::string order;
  for (int i = 0; i < 4; ++i) order += queue.Take(Any)->tenant;
  EXPECT_EQ(order, "ABCA");
  queue.Add(Job("a9", "A", 0, 9));  // A was just served
  order.clear();
  for (int i = 0; i < 3; ++i) order += queue.Take(Any)->tenant;
  EXPECT_EQ(order, "BCA");
}

TEST(JobQueue, PriorityGoesBeforeFairness) {
  JobQueue queue;
  queue.Add(Job("a1", "A", 1, 1));
  queue.Add(Job("a2", "A", 1, 2));
  queue.Add(Job("b", "B", 0, 3));
  EXPECT_THAT(TakeAll(queue), ElementsAre("a1", "a2", "b"));
}

TEST(JobQueue, AJobThatCannotRunNeverBlocksThoseBehindIt) {
  JobQueue queue;
  queue.Add(Job("impossible", "A", 100, 1));
  queue.Add(Job("behind in its line", "A", 100, 2));
  queue.Add(Job("lower", "B", 0, 3));
  const auto possible = [](const QueuedJob& job) { return job.job != "impossible"; };
  EXPECT_EQ(queue.Take(possible)->job, "behind in its line");
  EXPECT_EQ(queue.Take(possible)->job, "lower");
  EXPECT_FALSE(queue.Take(possible).has_value());
  EXPECT_EQ(queue.size(), 1u);
}

TEST(JobQueue, RemovedAndReplacedJobsAreNotServedTwice) {
  JobQueue queue;
  queue.Add(Job("x", "A", 0, 1));
  queue.Add(Job("x", "A", 7, 1));
  queue.Add(Job("y", "A", 0, 2));
  EXPECT_TRUE(queue.Remove("y"));
  EXPECT_FALSE(queue.Remove("y"));
  EXPECT_THAT(TakeAll(queue), ElementsAre("x"));
}

TEST(JobQueue, TellsTheOldestRunnable) {
  JobQueue queue;
  EXPECT_EQ(queue.OldestRunnable(), absl::InfiniteFuture());
  queue.Add(Job("x", "A", 0, 10));
  queue.Add(Job("y", "B", 5, 4));
  EXPECT_EQ(queue.OldestRunnable(), absl::FromUnixSeconds(4));
}

}  // namespace
}  // namespace lathe::server
