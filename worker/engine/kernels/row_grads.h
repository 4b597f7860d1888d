// Vector kernels of gradients over rows: of softmax, normalization, Gelu. float32. Sums are kept in
// a fixed number of slots, so that they do not depend on the instruction set but for fused
// multiply-adds.
#ifndef LATHE_WORKER_ENGINE_KERNELS_ROW_GRADS_H_
#define LATHE_WORKER_ENGINE_KERNELS_ROW_GRADS_H_

#include <cstdint>

namespace lathe::engine {

// For y = softmax(x), or its logarithm, over rows [rows, n]: dx := y (g - sum(g y)), or g - e^y
// sum(g). `dx` may be `g`.
void SoftmaxGradRows(int64_t rows, int64_t n, bool log, const float* y, const float* g, float* dx);

// One row of NormalizeRows (kernels/row_kernels.h) backwards: of
//   y = scale (x - mean) inverse + bias,
// g being the gradient of y [n], mean_grad and inverse_grad those of the two statistics.
struct NormalizeGradArgs {
  int64_t n = 0;
  bool centered = true;  // otherwise the mean counts as 0
  float epsilon = 0;
  const float* x = nullptr;      // [n]
  const float* scale = nullptr;  // [n]; nullptr: 1
  const float* g = nullptr;      // [n]
  float mean_grad = 0;
  float inverse_grad = 0;
  float* dx = nullptr;      // [n], written; nullptr: not wanted. May be `g`.
  float* dscale = nullptr;  // [n], added to; nullptr: not wanted
  float* dbias = nullptr;   // [n], added to; nullptr: not wanted
};
void NormalizeGradRow(const NormalizeGradArgs& args);

// Sums over a run of elements of x and of the gradient g beside it, d being x - center.
struct CenteredSums {
  double d = 0;
  double squares = 0;  // of d
  double g = 0;
  double products = 0;  // g d
};
// Adds those of `count` elements to `sums`.
void AddCenteredSums(int64_t count, float center, const float* x, const float* g,
                     CenteredSums& sums);

// dx[i] := a g[i] + b (x[i] - center) + c. `dx` may be `g`.
void CombineCentered(int64_t count, float a, float b, float center, float c, const float* g,
                     const float* x, float* dx);

// dx[i] := g[i] f'(x[i]), f being Gelu, or its approximation with tanh. `dx` may be `g` or `x`.
void GeluGradRun(int64_t count, bool tanh, const float* x, const float* g, float* dx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_ROW_GRADS_H_
