#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> LogicForwards() { return {}; }

}  // namespace lathe::engine
