#include "worker/engine/ops/constant_reads.h"

#include <algorithm>
#include <utility>

#include "common/limits.h"
#include "worker/engine/ops/value_fact.h"

namespace lathe::engine {

int64_t ConstantReads::Stored(const void* key, int64_t bytes) {
  const auto [slot, fresh] = stored_.emplace(key, static_cast<int64_t>(constants_.size()));
  if (fresh) constants_.push_back({std::max<int64_t>(0, bytes), {}, 0});
  return slot->second;
}

int64_t ConstantReads::Computed(std::vector<int64_t> from) {
  constants_.push_back({0, std::move(from), 0});
  return static_cast<int64_t>(constants_.size()) - 1;
}

int64_t ConstantReads::Read(int64_t id, double share) {
  int64_t bytes = 0;
  std::vector<int64_t> open = {id};
  while (!open.empty()) {
    Constant& constant = constants_[static_cast<size_t>(open.back())];
    open.pop_back();
    // Every constant is gone through once in full; a chain that is read a little more each time
    // must not be gone through without end.
    if (share < 1 && ++partial_reads_ > limits::kMaxNodes) share = 1;
    if (share <= constant.read) continue;
    const auto upto = [&constant](double part) {
      return static_cast<int64_t>(part * static_cast<double>(constant.bytes));
    };
    bytes = SaturatingAdd(bytes, (share >= 1 ? constant.bytes : upto(share)) - upto(constant.read));
    constant.read = share;
    open.insert(open.end(), constant.from.begin(), constant.from.end());
  }
  return bytes;
}

}  // namespace lathe::engine
