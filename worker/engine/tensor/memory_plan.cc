#include "worker/engine/tensor/memory_plan.h"

#include <algorithm>
#include <numeric>

#include "worker/engine/tensor/activation_memory.h"

namespace lathe::engine {
namespace {

int64_t RoundUp(int64_t bytes) {
  return (bytes + kBlockAlignment - 1) / kBlockAlignment * kBlockAlignment;
}

}  // namespace

MemoryPlan PlanMemory(const std::vector<Lifetime>& blocks) {
  MemoryPlan plan;
  plan.offsets.assign(blocks.size(), 0);
  std::vector<size_t> order(blocks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return blocks[a].bytes > blocks[b].bytes; });
  std::vector<size_t> placed;  // by offset
  for (const size_t block : order) {
    const Lifetime& life = blocks[block];
    const int64_t bytes = RoundUp(life.bytes);
    if (bytes == 0) continue;
    int64_t at = 0;
    for (const size_t other : placed) {
      const Lifetime& taken = blocks[other];
      if (taken.end <= life.begin || life.end <= taken.begin) continue;
      if (plan.offsets[other] - at >= bytes) break;
      at = std::max(at, plan.offsets[other] + RoundUp(taken.bytes));
    }
    plan.offsets[block] = at;
    plan.bytes = std::max(plan.bytes, at + bytes);
    const auto place =
        std::upper_bound(placed.begin(), placed.end(), block,
                         [&](size_t a, size_t b) { return plan.offsets[a] < plan.offsets[b]; });
    placed.insert(place, block);
  }
  return plan;
}

}  // namespace lathe::engine
