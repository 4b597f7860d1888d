#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> RandomForwards() { return {}; }

}  // namespace lathe::engine
