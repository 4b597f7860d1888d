// Weights of an LSTM as int8, in the layout of com.microsoft's DynamicQuantizeLSTM.
#ifndef LATHE_WORKER_ENGINE_PASSES_LSTM_WEIGHT_H_
#define LATHE_WORKER_ENGINE_PASSES_LSTM_WEIGHT_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "worker/engine/passes/integer_weight.h"
#include "worker/engine/tensor/parallel.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

struct LstmWeight {
  std::string integers;  // int8, as the weight
  Shape set_dims;        // of the scales: [directions, 4 H], or [directions] per tensor
  std::vector<float> scales;
  double squared_error = 0;
  double squared_norm = 0;
  int64_t repaired_channels = 0;
};

// `w`: `dims` [directions, rows, 4 H], row-major, finite. Each direction as RoundIntegerWeight does
// a [rows, 4 H] matrix. Same result for any number of threads.
LstmWeight RoundLstmWeight(std::span<const float> w, const Shape& dims,
                           const IntegerWeightRule& rule, Parallel& parallel);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_LSTM_WEIGHT_H_
