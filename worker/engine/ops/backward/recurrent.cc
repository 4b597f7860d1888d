#include "worker/engine/ops/backward/backward.h"
namespace lathe::engine {
std::span<const OpBackward> RecurrentBackwards() { return {}; }
}  // namespace lathe::engine
