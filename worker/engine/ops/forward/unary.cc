#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> UnaryForwards() { return {}; }

}  // namespace lathe::engine
