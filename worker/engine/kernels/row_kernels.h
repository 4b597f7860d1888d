// Vector kernels over rows: softmax, normalization, the gates of recurrent layers. float32, y may
// be x. Sums of a row are kept in a fixed number of slots, so that they do not depend on the
// instruction set but for fused multiply-adds.
#ifndef LATHE_WORKER_ENGINE_KERNELS_ROW_KERNELS_H_
#define LATHE_WORKER_ENGINE_KERNELS_ROW_KERNELS_H_

#include <cstdint>

namespace lathe::engine {

// As Backend::Softmax and Backend::Normalize (kernels/backend.h).
void SoftmaxRows(int64_t rows, int64_t n, bool log, const float* x, float* y);
void NormalizeRows(int64_t rows, int64_t n, bool centered, float epsilon, const float* x,
                   const float* scale, const float* bias, float* y, float* mean, float* inverse);

// One step of an LSTM with its default activations: gates [4, hidden] in ONNX's order i, o, f, c,
// before their activations; c [hidden] is read and written, h [hidden] written. peephole: [3,
// hidden] (i, o, f), or nullptr.
void LstmCell(int64_t hidden, const float* gates, const float* peephole, float* c, float* h);

// y[i] := x[i] * scale + shift.
void ScaleShift(int64_t count, float scale, float shift, const float* x, float* y);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_ROW_KERNELS_H_
