#include "worker/engine/ops/backward/backward.h"

#include <map>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace lathe::engine {
namespace {

using Table = std::span<const OpBackward> (*)();
constexpr Table kTables[] = {
    ProductBackwards,   ArithmeticBackwards, UnaryBackwards,  ActivationBackwards,
    ReductionBackwards, LayoutBackwards,     PieceBackwards,  GatherBackwards,
    SoftmaxBackwards,   NormBackwards,       ResizeBackwards, EinsumBackwards,
    AttentionBackwards, QuantizeBackwards,   ConvBackwards,   PoolBackwards,
    RecurrentBackwards, NoGradientBackwards,
};

}  // namespace

std::span<const OpBackward* const> AllBackwards() {
  static const auto* const all = [] {
    auto* list = new std::vector<const OpBackward*>;
    for (const Table table : kTables) {
      for (const OpBackward& backward : table()) list->push_back(&backward);
    }
    return list;
  }();
  return *all;
}

const OpBackward* FindBackward(const std::string& domain, const std::string& op) {
  using Key = std::pair<absl::string_view, absl::string_view>;
  static const auto* const index = [] {
    auto* map = new std::map<Key, const OpBackward*>;
    for (const OpBackward* backward : AllBackwards()) {
      map->emplace(Key(backward->domain, backward->op), backward);
    }
    return map;
  }();
  const bool onnx = domain == "ai.onnx";
  const auto found = index->find(Key(onnx ? absl::string_view() : absl::string_view(domain), op));
  return found == index->end() ? nullptr : found->second;
}

}  // namespace lathe::engine
