#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> TextForwards() { return {}; }

}  // namespace lathe::engine
