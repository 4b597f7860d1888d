// Threads are handed in. Work is cut into fixed pieces whose bounds do not depend on the number of
// threads, so that results do not either.
#ifndef LATHE_WORKER_ENGINE_TENSOR_PARALLEL_H_
#define LATHE_WORKER_ENGINE_TENSOR_PARALLEL_H_

#include <cstdint>
#include <functional>
#include <memory>

namespace lathe::engine {

class Parallel {
 public:
  virtual ~Parallel() = default;
  virtual int threads() const = 0;
  // Calls fn(i) for every i in [0, pieces), in any order, on up to threads() threads; returns when
  // all are done. `fn` must write only to memory that belongs to its piece. Not reentrant: fn must
  // not call Run.
  virtual void Run(int64_t pieces, const std::function<void(int64_t)>& fn) = 0;
};

// Runs on the calling thread.
std::unique_ptr<Parallel> MakeSerial();
// A pool of `threads` threads, the calling one included. threads >= 1.
std::unique_ptr<Parallel> MakeThreadPool(int threads);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TENSOR_PARALLEL_H_
