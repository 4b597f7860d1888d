// Which bytes of a model's constants one run reads, each once (internal to ops/shape_inference).
#ifndef LATHE_WORKER_ENGINE_OPS_CONSTANT_READS_H_
#define LATHE_WORKER_ENGINE_OPS_CONSTANT_READS_H_

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace lathe::engine {

// Constants are numbered from 1 on; 0 stands for one that is not known, which has no bytes.
class ConstantReads {
 public:
  // One that the model stores, known by an address of its own: the same number every time.
  int64_t Stored(const void* key, int64_t bytes);
  // One that is computed, at load, from others.
  int64_t Computed(std::vector<int64_t> from);

  // A node reads this share, in [0, 1], of a constant. The stored bytes that nobody has read
  // before. Cost: over all calls, linear in the constants and the calls.
  int64_t Read(int64_t id, double share);

 private:
  struct Constant {
    int64_t bytes = 0;          // as stored
    std::vector<int64_t> from;  // of a computed one
    double read = 0;            // share
  };
  std::vector<Constant> constants_ = std::vector<Constant>(1);
  std::unordered_map<const void*, int64_t> stored_;
  int64_t partial_reads_ = 0;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_CONSTANT_READS_H_
