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

// The scales along `axis` of `dims` that are worth their bytes (at least 0.3 dB better), or none.
// `layout` is per channel.
std::vector<float> FindInputScales(const std::vector<float>& w, const Shape& dims, int axis,
                                   const QuantizedLayout& layout, const RoundingRule& rule,
                                   Parallel& parallel);

// Divides (or multiplies) each slice along `axis` by its scale.
void ScaleInputs(std::vector<float>& w, const Shape& dims, int axis,
                 const std::vector<float>& scales, bool divide);

// Squared error and norm of w against its rounded form; `q` holds one byte an element.
SquaredSums ErrorWithInputScales(const std::vector<float>& w, const Shape& dims, int axis,
                                 const std::vector<float>& input_scales, const QuantizedTensor& q,
                                 const QuantizedLayout& layout, bool symmetric);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_INPUT_SCALES_H_
