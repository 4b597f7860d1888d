#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> SelectionForwards() { return {}; }

}  // namespace lathe::engine
