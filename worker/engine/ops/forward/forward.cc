#include "worker/engine/ops/forward/forward.h"

#include <map>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace lathe::engine {
namespace {

using Table = std::span<const OpForward> (*)();
constexpr Table kTables[] = {
    ArithmeticForwards,
    UnaryForwards,
    ActivationForwards,
    LogicForwards,
    CastForwards,
    GeneratorForwards,
    RandomForwards,
    TextForwards,
    LayoutForwards,
    PieceForwards,
    GatherForwards,
    SelectionForwards,
    ReductionForwards,
    SequenceForwards,
    SignalForwards,
    ResizeForwards,
    RegionForwards,
    ConvForwards,
    PoolForwards,
    ProductForwards,
    EinsumForwards,
    NormForwards,
    SoftmaxForwards,
    RecurrentForwards,
    AttentionForwards,
    QuantizeForwards,
    QLinearForwards,
    LossForwards,
    RecurrentQuantizedForwards,
};

}  // namespace

std::span<const OpForward* const> AllForwards() {
  static const auto* const all = [] {
    auto* list = new std::vector<const OpForward*>;
    for (const Table table : kTables) {
      for (const OpForward& forward : table()) list->push_back(&forward);
    }
    return list;
  }();
  return *all;
}

const OpForward* FindForward(const std::string& domain, const std::string& op) {
  using Key = std::pair<absl::string_view, absl::string_view>;
  static const auto* const index = [] {
    auto* map = new std::map<Key, const OpForward*>;
    for (const OpForward* forward : AllForwards()) {
      map->emplace(Key(forward->domain, forward->op), forward);
    }
    return map;
  }();
  const bool onnx = domain == "ai.onnx";
  const auto found = index->find(Key(onnx ? absl::string_view() : absl::string_view(domain), op));
  return found == index->end() ? nullptr : found->second;
}

}  // namespace lathe::engine
