// Memory of one run of a model: a plan by liveness and one arena.
//
// The first run with given input shapes records every allocation and release, in order; when it
// ends, each allocation is given a fixed place in one arena, such that those alive at the same time
// do not overlap. Later runs with the same shapes get those places, and touch no memory that was
// not touched before. As soon as such a run allocates or releases anything else than what was
// recorded (its data led another way), the rest of it is served from the heap, so that a plan can
// be stale, never wrong.
//
// Invariants: (1) while a run follows its plan, the sequence of allocations and releases so far is
// the recorded one; (2) blocks are aligned to kBlockAlignment; (3) a run's buffers are valid until
// the next BeginRun.
#ifndef LATHE_WORKER_ENGINE_TENSOR_ACTIVATION_MEMORY_H_
#define LATHE_WORKER_ENGINE_TENSOR_ACTIVATION_MEMORY_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace lathe::engine {

// A cache line, and the widest vector.
inline constexpr int64_t kBlockAlignment = 64;

class ActivationCore;

// A block of memory, given back when the last reference goes.
class Buffer {
 public:
  Buffer(std::shared_ptr<ActivationCore> core, char* data, int64_t bytes, int64_t run,
         int64_t index, bool in_arena);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  char* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  friend class ActivationCore;
  std::shared_ptr<ActivationCore> core_;
  char* data_;
  int64_t bytes_;
  int64_t run_;    // the run that made it
  int64_t index_;  // among that run's allocations; -1: not recorded
  bool in_arena_;
};

// Not thread-safe: one run at a time.
class ActivationMemory {
 public:
  // At most `limit_bytes` alive at once.
  explicit ActivationMemory(int64_t limit_bytes);
  ~ActivationMemory();

  // `key` names the shapes of the run's inputs.
  void BeginRun(const std::string& key);
  void EndRun();
  // RESOURCE_EXHAUSTED past the limit or when the system has no more.
  absl::StatusOr<std::shared_ptr<Buffer>> Allocate(int64_t bytes);

  // Bytes that the last run's activations took at most: the size of its plan's arena, or, without a
  // plan, the most that was alive at once.
  int64_t peak_bytes() const;
  // Whether the last run followed a plan to its end.
  bool planned() const;

 private:
  std::shared_ptr<ActivationCore> core_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TENSOR_ACTIVATION_MEMORY_H_
