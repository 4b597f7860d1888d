#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> RegionForwards() { return {}; }

}  // namespace lathe::engine
