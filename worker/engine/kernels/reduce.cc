#include "worker/engine/kernels/reduce.h"

namespace lathe::engine {

ReduceAxes SplitAxes(std::span<const int64_t> dims, const std::vector<bool>& is_reduced) {
  ReduceAxes out;
  for (size_t i = 0; i < dims.size(); ++i) (is_reduced[i] ? out.inputs : out.outputs) *= dims[i];
  if (out.inputs == 0 || out.outputs == 0) return out;
  int64_t stride = 1;
  bool first = true;
  bool joined_kind = false;  // of the axis joined last
  for (size_t i = dims.size(); i-- > 0;) {
    const int64_t extent = dims[i];
    if (extent == 1) continue;
    std::vector<ReduceAxes::Axis>& side = is_reduced[i] ? out.reduced : out.kept;
    if (first) out.last_is_kept = !is_reduced[i];
    if (!first && is_reduced[i] == joined_kind) {
      side.back().extent *= extent;
    } else {
      side.push_back({extent, stride});
    }
    first = false;
    joined_kind = is_reduced[i];
    stride *= extent;
  }
  std::reverse(out.kept.begin(), out.kept.end());
  std::reverse(out.reduced.begin(), out.reduced.end());
  return out;
}

}  // namespace lathe::engine
