#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> CastForwards() { return {}; }

}  // namespace lathe::engine
