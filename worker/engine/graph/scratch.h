// Constants that a run makes, kept in files instead of memory.
#ifndef LATHE_WORKER_ENGINE_GRAPH_SCRATCH_H_
#define LATHE_WORKER_ENGINE_GRAPH_SCRATCH_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

// A model of which all weights were replaced would take its own size of memory until it is written.
// What passes `in_memory_bytes` lies in files without a name instead, each mapped read-only: their
// pages are in memory while somebody looks at them, and disk space is given back with the last
// reference.
class Scratch {
 public:
  // Files are made in `folder`, which must exist.
  Scratch(std::string folder, int64_t in_memory_bytes)
      : folder_(std::move(folder)), in_memory_bytes_(in_memory_bytes) {}
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // The same bytes, in memory or in a file. They stay in memory when they are few, or when the file
  // cannot be made (a full disk). Not thread-safe; the bytes may be let go on any thread.
  Bytes Keep(Bytes bytes);

 private:
  const std::string folder_;
  const int64_t in_memory_bytes_;
  // Of large constants that live; shared with them.
  std::shared_ptr<std::atomic<int64_t>> held_bytes_ = std::make_shared<std::atomic<int64_t>>(0);
  int64_t files_ = 0;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_SCRATCH_H_
