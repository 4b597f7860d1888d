// What running a node costs: arithmetic, and bytes that it moves.
#ifndef LATHE_WORKER_ENGINE_OPS_COST_H_
#define LATHE_WORKER_ENGINE_OPS_COST_H_

#include <cstdint>

namespace lathe::engine {

// The arithmetic of multiply-accumulates.
enum class MacType { kFloat32, kFloat16, kInt8 };

struct MacCount {
  int64_t count = 0;
  MacType type = MacType::kFloat32;
};

// All sums here saturate at the largest int64.

// Multiply-accumulates by their arithmetic.
struct MacCounts {
  int64_t float32 = 0;
  int64_t float16 = 0;
  int64_t int8 = 0;
  int64_t total() const;
  void Add(MacCount macs);
  void Add(const MacCounts& other, int64_t times);
};

// The compulsory traffic of a node: every byte that it needs read once, every byte that it makes
// written once, however small the caches.
struct BytesMoved {
  int64_t activations_read = 0;
  int64_t activations_written = 0;
  // Constants, as a runtime holds them once what depends on constants alone is folded.
  int64_t constants_read = 0;
  int64_t activations() const;
  int64_t total() const;
  void Add(const BytesMoved& other, int64_t times);
};

// Of one execution of a node, or of all nodes with the same operator in one run.
struct OperatorCost {
  int64_t runs = 0;  // executions
  MacCounts macs;
  BytesMoved moved;
  void Add(const OperatorCost& other, int64_t times);
};

// Operations a byte: 2 MACs / bytes, a multiplication and an addition each. 0 where nothing is
// moved.
double ArithmeticIntensity(const OperatorCost& cost);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_COST_H_
