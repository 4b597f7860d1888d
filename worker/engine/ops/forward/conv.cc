#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> ConvForwards() { return {}; }

}  // namespace lathe::engine
