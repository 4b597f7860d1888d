#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> SoftmaxForwards() { return {}; }

}  // namespace lathe::engine
