#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> LayoutForwards() { return {}; }

}  // namespace lathe::engine
