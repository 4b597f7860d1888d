// Resampling along one axis: where the elements of the output lie on the input, and which elements
// of the input make them.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_RESAMPLE_AXIS_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_RESAMPLE_AXIS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace lathe::engine {

// One axis of a Resize. Attribute values are ONNX's; the caller has checked them.
struct ResampleAxis {
  int64_t in = 0;   // >= 1
  int64_t out = 0;  // >= 1
  float scale = 1;  // > 0
  float roi_start = 0;
  float roi_end = 1;
};

struct ResampleRule {
  std::string coordinates = "half_pixel";  // coordinate_transformation_mode
  std::string mode = "nearest";            // nearest, linear or cubic
  std::string nearest = "round_prefer_floor";  // nearest_mode; "simple": of opsets before 11
  float cubic_a = -0.75F;
  bool exclude_outside = false;
  bool antialias = false;
};

// Output element i is the sum over k of weights[i * taps + k] * input[indices[i * taps + k]].
// Nearest: one tap of weight 1.
struct ResampleTaps {
  int64_t taps = 1;
  std::vector<int64_t> indices;  // in [0, in)
  std::vector<float> weights;
  // tf_crop_and_resize: elements that lie outside of the input. Empty: none can.
  std::vector<bool> outside;
};

// Whether it is the identity.
bool IsIdentity(const ResampleAxis& axis, const ResampleRule& rule);

ResampleTaps MakeTaps(const ResampleAxis& axis, const ResampleRule& rule);

// The kernels of linear and cubic interpolation: the weight of a neighbour at distance `x` >= 0.
double LinearWeight(double x);
double CubicWeight(double x, double a);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_RESAMPLE_AXIS_H_
