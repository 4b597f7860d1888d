#include "worker/engine/ops/backward/backward.h"
namespace lathe::engine {
std::span<const OpBackward> PoolBackwards() { return {}; }
}  // namespace lathe::engine
