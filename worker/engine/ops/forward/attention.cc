#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> AttentionForwards() { return {}; }

}  // namespace lathe::engine
