#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> NormForwards() { return {}; }

}  // namespace lathe::engine
