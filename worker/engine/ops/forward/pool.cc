#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> PoolForwards() { return {}; }

}  // namespace lathe::engine
