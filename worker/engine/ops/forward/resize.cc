#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> ResizeForwards() { return {}; }

}  // namespace lathe::engine
