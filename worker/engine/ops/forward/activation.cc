#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> ActivationForwards() { return {}; }

}  // namespace lathe::engine
