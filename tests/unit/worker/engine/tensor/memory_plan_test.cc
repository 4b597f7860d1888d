#include "worker/engine/tensor/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "worker/engine/tensor/activation_memory.h"

namespace lathe::engine {
namespace {

void ExpectNoOverlap(const std::vector<Lifetime>& blocks, const MemoryPlan& plan) {
  ASSERT_EQ(plan.offsets.size(), blocks.size());
  for (size_t i = 0; i < blocks.size(); ++i) {
    EXPECT_EQ(plan.offsets[i] % kBlockAlignment, 0);
    EXPECT_LE(plan.offsets[i] + blocks[i].bytes, plan.bytes);
    for (size_t j = 0; j < i; ++j) {
      if (blocks[i].end <= blocks[j].begin || blocks[j].end <= blocks[i].begin) continue;
      const bool apart = plan.offsets[i] + blocks[i].bytes <= plan.offsets[j] ||
                         plan.offsets[j] + blocks[j].bytes <= plan.offsets[i];
      EXPECT_TRUE(apart || blocks[i].bytes == 0 || blocks[j].bytes == 0) << i << " and " << j;
    }
  }
}

TEST(MemoryPlanTest, AChainNeedsTwoBlocksAtATime) {
  // a -> b -> c -> d: each block lives until the next is made.
  const std::vector<Lifetime> blocks = {{640, 0, 2}, {640, 1, 4}, {640, 3, 6}, {640, 5, 7}};
  const MemoryPlan plan = PlanMemory(blocks);
  ExpectNoOverlap(blocks, plan);
  EXPECT_EQ(plan.bytes, 2 * 640);
}

TEST(MemoryPlanTest, NothingTakesNothing) {
  EXPECT_EQ(PlanMemory({}).bytes, 0);
  EXPECT_EQ(PlanMemory({{0, 0, 5}, {0, 1, 2}}).bytes, 0);
}

TEST(MemoryPlanTest, AGapBetweenLiveBlocksIsUsed) {
  // The large block in the middle goes, and the two small ones fit into its place.
  const std::vector<Lifetime> blocks = {
      {1024, 0, 9}, {4096, 1, 3}, {1024, 2, 9}, {2048, 4, 8}, {2048, 5, 8}};
  const MemoryPlan plan = PlanMemory(blocks);
  ExpectNoOverlap(blocks, plan);
  EXPECT_EQ(plan.bytes, 1024 + 4096 + 1024);
}

TEST(MemoryPlanTest, RandomLifetimesNeverOverlapAndComeNearTheLowerBound) {
  std::mt19937 random(20);
  for (int round = 0; round < 20; ++round) {
    std::vector<Lifetime> blocks;
    for (int i = 0; i < 120; ++i) {
      const auto begin = static_cast<int64_t>(random() % 200);
      blocks.push_back({static_cast<int64_t>(random() % 100000), begin,
                        begin + 1 + static_cast<int64_t>(random() % 12)});
    }
    const MemoryPlan plan = PlanMemory(blocks);
    ExpectNoOverlap(blocks, plan);
    int64_t most = 0;  // alive at once: nothing can do with less
    for (int64_t at = 0; at < 220; ++at) {
      int64_t alive = 0;
      for (const Lifetime& b : blocks) alive += b.begin <= at && at < b.end ? b.bytes : 0;
      most = std::max(most, alive);
    }
    EXPECT_GE(plan.bytes, most);
    EXPECT_LE(plan.bytes, most * 5 / 4 + 120 * kBlockAlignment);
  }
}

}  // namespace
}  // namespace lathe::engine
