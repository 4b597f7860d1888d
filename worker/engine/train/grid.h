// Weights that are stored as integers with scales, and are trained all the same.
//
// The optimizer moves *latent* values w. What the model computes with, and what is stored, is
//   q  = clip(round(w / s) + z, lo, hi)       round: to nearest, halves to even
//   w' = (q - z) s
// Backwards, G' being the gradient of w':
//   G_w = G'                       where lo <= w / s + z <= hi, otherwise 0
//         (straight-through estimation: Bengio, Leonard and Courville 2013, section 4)
//   G_s = g sum G' (q - z - w / s) where inside, G' (q - z) where outside
//         g = 1 / sqrt(n hi'), n weights share s, hi' = the largest magnitude of q - z
//         (learned step size: Esser et al. 2020, 1902.08153, equation 3 and section 2.2)
// The arithmetic of w' is that of DequantizeLinear, and of Cast, Sub and Mul, so that the exported
// integers give what the last forward run computed, bit for bit.
#ifndef LATHE_WORKER_ENGINE_TRAIN_GRID_H_
#define LATHE_WORKER_ENGINE_TRAIN_GRID_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "worker/engine/tensor/dtype.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

struct Grid {
  // The range of q.
  int64_t lo = -128;
  int64_t hi = 127;
  std::vector<float> scales;         // one a set, > 0
  std::vector<int64_t> zero_points;  // one a set; empty: 0
  // By element of the weight, the set that it belongs to.
  std::vector<int32_t> set_of;
  bool half_scales = false;  // stored as float16
  bool learn_scales = false;

  int64_t ZeroOf(int32_t set) const { return zero_points.empty() ? 0 : zero_points[set]; }
};

// Of latent values `w` the integers q.
std::vector<int64_t> RoundToGrid(const Grid& grid, std::span<const float> w);
// And w', to `out`.
void Project(const Grid& grid, std::span<const float> w, std::span<float> out);
// Turns `grad`, of w', into that of w, in place; adds nothing to `scale_grad` (one a scale) but
// sets it.
void ProjectBackward(const Grid& grid, std::span<const float> w, std::span<float> grad,
                     std::span<float> scale_grad);
// Scales as they are stored: rounded to float16 where they are kept so, and never below the
// smallest positive normal number of their type.
void SettleScales(Grid& grid);

// The set of every element of a tensor of shape `dims` whose scales have the shape `scale_dims`:
// along each axis the scale has the tensor's extent, 1, or ceil(extent / block). scale_dims may
// have fewer axes, as numpy broadcasts. Empty when they do not fit.
std::vector<int32_t> SetsOf(const Shape& dims, Shape scale_dims, int64_t block);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TRAIN_GRID_H_
