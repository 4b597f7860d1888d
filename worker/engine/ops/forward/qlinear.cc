#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> QLinearForwards() { return {}; }

}  // namespace lathe::engine
