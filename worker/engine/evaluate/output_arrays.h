// A model's outputs as the arrays that metrics look at.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_OUTPUT_ARRAYS_H_
#define LATHE_WORKER_ENGINE_EVALUATE_OUTPUT_ARRAYS_H_

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "worker/engine/evaluate/metrics/arrays.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

// Borrows float32 outputs, and converts other numbers to it; strings and sequences are left out.
// The examples come first: an output [T, N, ...] of N examples, as recurrent networks give it, is
// turned to [N, T, ...], and a single number gets an axis. Of a batch that was filled up to `rows`
// the first `examples` are shown.
class OutputArrays {
 public:
  // `values` must outlive it.
  OutputArrays(const std::vector<std::string>& names, const std::vector<Value>& values,
               int64_t examples, int64_t rows);
  OutputArrays(const OutputArrays&) = delete;
  OutputArrays& operator=(const OutputArrays&) = delete;

  const OutputBatch& batch() const { return batch_; }

 private:
  OutputBatch batch_;
  std::deque<std::vector<float>> converted_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_OUTPUT_ARRAYS_H_
