#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> SignalForwards() { return {}; }

}  // namespace lathe::engine
