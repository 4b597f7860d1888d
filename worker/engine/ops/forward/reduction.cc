#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> ReductionForwards() { return {}; }

}  // namespace lathe::engine
