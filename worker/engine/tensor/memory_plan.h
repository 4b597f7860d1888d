// Places for blocks that live over spans of time (internal to tensor/activation_memory).
#ifndef LATHE_WORKER_ENGINE_TENSOR_MEMORY_PLAN_H_
#define LATHE_WORKER_ENGINE_TENSOR_MEMORY_PLAN_H_

#include <cstdint>
#include <vector>

namespace lathe::engine {

// A block alive in [begin, end), in the order of events.
struct Lifetime {
  int64_t bytes = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

struct MemoryPlan {
  std::vector<int64_t> offsets;  // one a block, multiples of kBlockAlignment
  int64_t bytes = 0;             // of the arena
};

// Largest blocks first, each at the lowest place where nothing that lives at the same time lies
// (Pisarchyk & Lee 2020, "Efficient Memory Management for Deep Neural Net Inference", section 5,
// greedy by size). Quadratic in the number of blocks at worst.
MemoryPlan PlanMemory(const std::vector<Lifetime>& blocks);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TENSOR_MEMORY_PLAN_H_
