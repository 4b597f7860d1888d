#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> RecurrentForwards() { return {}; }

}  // namespace lathe::engine
