#include "worker/engine/ops/backward/broadcast_pair.h"

namespace lathe::engine {

std::vector<int64_t> BroadcastStrides(const Shape& from, const Shape& to) {
  const std::vector<int64_t> own = Strides(from);
  std::vector<int64_t> out(to.size(), 0);
  const size_t missing = to.size() - from.size();
  for (size_t i = 0; i < from.size(); ++i) {
    if (from[i] != 1) out[missing + i] = own[i];
  }
  return out;
}

}  // namespace lathe::engine
