// A layer's input as rows of what one row of its weight is multiplied with.
#ifndef LATHE_WORKER_ENGINE_METHODS_INPUT_ROWS_H_
#define LATHE_WORKER_ENGINE_METHODS_INPUT_ROWS_H_

#include <cstdint>
#include <vector>

#include "worker/engine/graph/layers.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

enum class InputForm {
  kNone,     // not known, or none that a weight's rows could be fitted to
  kRows,     // [..., K]: MatMul, Gemm, the inputs of LSTM, GRU and RNN
  kColumns,  // [..., K, N]; of ConvTranspose [N, K, ...]
  kPatches,  // [N, C, ...] of a convolution: a patch [C / groups, k...] for each output and group
  kIndices,  // of Gather
};

// How the weight's operator reads its other operand, and which of its inputs that is.
struct InputUse {
  InputForm form = InputForm::kNone;
  int input = 0;
  int64_t parts = 1;   // groups of a convolution
  int64_t length = 0;  // of a row; of kIndices the table's rows
};
InputUse InputUseOf(const WeightUse& use);

// At most `most` rows, every `step`-th from `first` on, each `how.length` long, of each part after
// the other: [parts, rows, length]. `x` is a float32 tensor in plain layout that the node ran on,
// `out_dims` the shape of what it gave. Empty where x has another shape than the weight says.
std::vector<float> ReadInputRows(const WeightUse& use, const InputUse& how, const Value& x,
                                 const Shape& out_dims, int64_t first, int64_t step, int64_t most);
// All rows that there are.
int64_t CountInputRows(const InputUse& how, const Value& x, const Shape& out_dims);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_INPUT_ROWS_H_
