#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> EinsumForwards() { return {}; }

}  // namespace lathe::engine
