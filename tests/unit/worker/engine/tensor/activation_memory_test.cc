#include "worker/engine/tensor/activation_memory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace lathe::engine {
namespace {

std::shared_ptr<Buffer> Take(ActivationMemory& memory, int64_t bytes) {
  auto buffer = memory.Allocate(bytes);
  EXPECT_TRUE(buffer.ok()) << buffer.status();
  return *std::move(buffer);
}

// a -> b -> c, each filled and checked before it goes. The data pointers, in order.
std::vector<char*> RunChain(ActivationMemory& memory, const std::vector<int64_t>& sizes) {
  memory.BeginRun("key");
  std::vector<char*> places;
  std::shared_ptr<Buffer> previous;
  char mark = 1;
  for (const int64_t bytes : sizes) {
    std::shared_ptr<Buffer> next = Take(memory, bytes);
    std::memset(next->data(), mark, static_cast<size_t>(bytes));
    if (previous != nullptr) {
      for (int64_t i = 0; i < previous->bytes(); ++i) EXPECT_EQ(previous->data()[i], mark - 1);
    }
    places.push_back(next->data());
    previous = std::move(next);
    ++mark;
  }
  memory.EndRun();
  return places;
}

TEST(ActivationMemoryTest, TheSecondRunFollowsThePlanOfTheFirst) {
  ActivationMemory memory(1 << 20);
  RunChain(memory, {1024, 1024, 1024, 1024});
  EXPECT_FALSE(memory.planned());
  EXPECT_EQ(memory.peak_bytes(), 2048);
  const std::vector<char*> second = RunChain(memory, {1024, 1024, 1024, 1024});
  EXPECT_TRUE(memory.planned());
  EXPECT_EQ(memory.peak_bytes(), 2048);
  EXPECT_EQ(second[0], second[2]);
  EXPECT_EQ(second, RunChain(memory, {1024, 1024, 1024, 1024}));
}

TEST(ActivationMemoryTest, ARunThatGoesAnotherWayIsServedAllTheSame) {
  ActivationMemory memory(1 << 20);
  RunChain(memory, {1024, 1024, 1024, 1024});
  RunChain(memory, {1024, 1024, 512, 4096, 64});  // checks its own contents
  EXPECT_FALSE(memory.planned());
  RunChain(memory, {1024, 1024, 1024, 1024});
  EXPECT_TRUE(memory.planned());
}

TEST(ActivationMemoryTest, ABlockKeptLongerThanPlannedIsNotHandedOutAgain) {
  ActivationMemory memory(1 << 20);
  RunChain(memory, {1024, 1024, 1024});
  memory.BeginRun("key");
  const std::shared_ptr<Buffer> a = Take(memory, 1024);
  std::memset(a->data(), 7, 1024);
  const std::shared_ptr<Buffer> b = Take(memory, 1024);
  const std::shared_ptr<Buffer> c = Take(memory, 1024);  // the plan puts it where `a` lies
  std::memset(b->data(), 8, 1024);
  std::memset(c->data(), 9, 1024);
  for (int i = 0; i < 1024; ++i) ASSERT_EQ(a->data()[i], 7);
  memory.EndRun();
  EXPECT_FALSE(memory.planned());
}

TEST(ActivationMemoryTest, PlansAreKeptByKey) {
  ActivationMemory memory(1 << 20);
  for (int i = 0; i < 2; ++i) {
    memory.BeginRun("small");
    Take(memory, 64);
    memory.EndRun();
    EXPECT_EQ(memory.planned(), i == 1);
    memory.BeginRun("large");
    Take(memory, 1 << 16);
    memory.EndRun();
    EXPECT_EQ(memory.planned(), i == 1);
    EXPECT_EQ(memory.peak_bytes(), 1 << 16);
  }
}

TEST(ActivationMemoryTest, PastTheLimitItRefuses) {
  ActivationMemory memory(4096);
  memory.BeginRun("key");
  const std::shared_ptr<Buffer> half = Take(memory, 2048);
  EXPECT_EQ(memory.Allocate(4096).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(memory.Allocate(-1).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(memory.Allocate(2048).ok());
  memory.EndRun();
}

TEST(ActivationMemoryTest, OutputsOutliveTheMemoryAndALargerPlan) {
  std::shared_ptr<Buffer> held;
  {
    ActivationMemory memory(64 << 20);
    for (int i = 0; i < 2; ++i) {
      memory.BeginRun("small");
      held = Take(memory, 64);
      memory.EndRun();
    }
    for (int i = 0; i < 2; ++i) {
      memory.BeginRun("large");
      Take(memory, 32 << 20);
      memory.EndRun();
    }
    std::memset(held->data(), 3, 64);
  }
  EXPECT_EQ(held->data()[63], 3);
}

}  // namespace
}  // namespace lathe::engine
