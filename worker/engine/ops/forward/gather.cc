#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> GatherForwards() { return {}; }

}  // namespace lathe::engine
