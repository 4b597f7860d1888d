#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> ProductForwards() { return {}; }

}  // namespace lathe::engine
