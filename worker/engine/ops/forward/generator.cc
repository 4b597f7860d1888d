#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> GeneratorForwards() { return {}; }

}  // namespace lathe::engine
