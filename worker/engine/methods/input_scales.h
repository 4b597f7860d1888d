// A second scale for each input of a layer, so that a few large inputs do not cost all others their
// precision.
//
//   W[k, n] ~ r[k] s[n] q[k, n],  r[k] = (rms(W[k, :]) / median rms)^a
//
// with a of {1/4, 1/2, 3/4, 1} (or no r at all) of least squared error, found with plain scales.
// The idea of scaling both sides is known from matrix equilibration, and for quantization from SINQ
// (arXiv 2509.22944); this is the one-pass form of it.
#ifndef LATHE_WORKER_ENGINE_METHODS_INPUT_SCALES_H_
#define LATHE_WORKER_ENGINE_METHODS_INPUT_SCALES_H_

#include <vector>

#include "worker/engine/kernels/quantize.h"
#include "worker/engine/methods/quantized_tensor.h"
#include "worker/engine/tensor/parallel.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

// The scales along `axis` of `w` that are worth their bytes (at least 0.3 dB better), or none.
// `layout` is per channel; `w` has a float type and finite values. `row_weights`: how much the
// error of each row of the layout counts (how often an embedding's row is read); empty: all the
// same.
std::vector<float> FindInputScales(const Tensor& w, int axis, const QuantizedLayout& layout,
                                   const RoundingRule& rule, const std::vector<double>& row_weights,
                                   Parallel& parallel);

// The scale of each element of a row of the layout, for QuantizeTensor; empty without scales.
std::vector<float> InputDivisors(const Shape& dims, const QuantizedLayout& layout, int axis,
                                 const std::vector<float>& input_scales);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_INPUT_SCALES_H_
