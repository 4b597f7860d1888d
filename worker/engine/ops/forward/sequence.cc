#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> SequenceForwards() { return {}; }

}  // namespace lathe::engine
