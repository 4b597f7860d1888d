#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {

std::span<const OpForward> PieceForwards() { return {}; }

}  // namespace lathe::engine
