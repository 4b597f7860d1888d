#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> ArithmeticForwards() { return {}; }

}  // namespace lathe::engine
