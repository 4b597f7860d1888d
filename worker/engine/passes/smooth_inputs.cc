#include "worker/engine/passes/smooth_inputs.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/graph/edit.h"

namespace lathe::engine {
namespace {

// Factors past these would trade one outlier for another.
constexpr double kMostFactor = 1e3;

struct Group {
  std::vector<const IntegerUnit*> units;
  std::set<int> weights;
};

// Element i of `w` (dims row-major) lies at index j of `axis`.
int64_t IndexAlong(const Shape& dims, int axis, int64_t i) {
  int64_t inner = 1;
  for (size_t d = static_cast<size_t>(axis) + 1; d < dims.size(); ++d) inner *= dims[d];
  return i / inner % dims[static_cast<size_t>(axis)];
}

class Smoother {
 public:
  Smoother(Model& model, const std::vector<Weight>& weights, const std::vector<IntegerUnit>& units,
           const std::map<std::string, std::vector<float>>& largest, double alpha)
      : model_(model),
        graph_(*model.graph),
        weights_(weights),
        units_(units),
        largest_(largest),
        alpha_(alpha),
        names_(model) {}

  absl::StatusOr<Smoothed> Run() {
    std::map<std::string, Group> groups;
    for (const IntegerUnit& unit : units_) {
      const bool product = unit.kind == UnitKind::kMatMul || unit.kind == UnitKind::kGemm;
      if (!product || !unit.not_static.empty()) continue;
      Group& group = groups[unit.inputs[0]];
      group.units.push_back(&unit);
      group.weights.insert(unit.weight);
    }
    for (const auto& [input, group] : groups) RETURN_IF_ERROR(Smooth(input, group));
    return done_;
  }

 private:
  absl::Status Smooth(const std::string& input, const Group& group) {
    const auto seen = largest_.find(input);
    if (seen == largest_.end()) return absl::OkStatus();
    const size_t channels = seen->second.size();
    std::vector<float> largest_weight(channels, 0.0f);
    std::map<int, std::vector<float>> values;
    size_t uses = 0;
    for (const int index : group.weights) {
      const Weight& weight = weights_[static_cast<size_t>(index)];
      uses += weight.uses.size();
      const int axis = weight.uses[0].source_reduction_axis;
      if (axis < 0 || weight.dims[static_cast<size_t>(axis)] != static_cast<int64_t>(channels)) {
        return absl::OkStatus();
      }
      ASSIGN_OR_RETURN(std::vector<float> w, ReadWeight(weight));
      for (size_t i = 0; i < w.size(); ++i) {
        float& most = largest_weight[static_cast<size_t>(
            IndexAlong(weight.dims, axis, static_cast<int64_t>(i)))];
        most = std::max(most, std::abs(w[i]));
      }
      values[index] = std::move(w);
    }
    // Each weight must be read by this group's units and by nothing else.
    if (uses != group.units.size()) return absl::OkStatus();
    std::vector<double> factors(channels, 1.0);
    double logs = 0;
    int64_t counted = 0;
    for (size_t j = 0; j < channels; ++j) {
      const double x = seen->second[j];
      const double w = largest_weight[j];
      if (!(x > 1e-12) || !(w > 1e-12)) continue;
      factors[j] = std::pow(x, alpha_) / std::pow(w, 1 - alpha_);
      logs += std::log(factors[j]);
      ++counted;
    }
    if (counted == 0) return absl::OkStatus();
    // Around 1, so that neither side leaves float32's comfortable range.
    const double middle = std::exp(logs / static_cast<double>(counted));
    std::vector<float> inverse(channels);
    for (size_t j = 0; j < channels; ++j) {
      const bool moved = seen->second[j] > 1e-12f && largest_weight[j] > 1e-12f;
      if (moved) factors[j] = std::clamp(factors[j] / middle, 1 / kMostFactor, kMostFactor);
      inverse[j] = static_cast<float>(1 / factors[j]);
    }
    for (auto& [index, w] : values) {
      const Weight& weight = weights_[static_cast<size_t>(index)];
      const int axis = weight.uses[0].source_reduction_axis;
      for (size_t i = 0; i < w.size(); ++i) {
        w[i] /=
            inverse[static_cast<size_t>(IndexAlong(weight.dims, axis, static_cast<int64_t>(i)))];
      }
      RETURN_IF_ERROR(WriteWeight(weight, std::move(w)));
    }
    ++done_.inputs;
    if (FoldBehind(input, group.units.size(), inverse)) {
      ++done_.folded;
    } else {
      InsertMul(input, group, inverse);
    }
    return absl::OkStatus();
  }

  Node* Producer(const std::string& value) const {
    for (const auto& node : graph_.nodes) {
      if (std::find(node->outputs.begin(), node->outputs.end(), value) != node->outputs.end()) {
        return node.get();
      }
    }
    return nullptr;
  }

  // A float32 initializer of `count` elements that nothing else reads.
  Tensor* OwnVector(const std::string& name, size_t count) const {
    const auto found = graph_.initializers.find(name);
    if (found == graph_.initializers.end() || found->second.dtype != DType::kFloat ||
        found->second.size() != static_cast<int64_t>(count) || graph_.IsInput(name) ||
        CountReaders(graph_, name) != 1) {
      return nullptr;
    }
    return &found->second;
  }

  static void Scale(Tensor& tensor, const std::vector<float>& by) {
    std::vector<float> values = *tensor.ToFloats();
    for (size_t i = 0; i < values.size(); ++i) values[i] *= by[i];
    Tensor scaled = Tensor::FromFloats(tensor.name, tensor.dims, values);
    tensor.data = std::move(scaled.data);
  }

  // LayerNormalization(.., scale, shift), or Add(Mul(.., scale), shift).
  bool FoldBehind(const std::string& input, size_t readers, const std::vector<float>& inverse) {
    if (CountReaders(graph_, input) != static_cast<int>(readers)) return false;
    Node* node = Producer(input);
    if (node == nullptr) return false;
    if (node->Is("LayerNormalization") && node->inputs.size() >= 2) {
      const bool shifted = node->inputs.size() > 2 && !node->inputs[2].empty();
      Tensor* scale = OwnVector(node->inputs[1], inverse.size());
      Tensor* shift = shifted ? OwnVector(node->inputs[2], inverse.size()) : nullptr;
      if (scale == nullptr || (shifted && shift == nullptr)) return false;
      Scale(*scale, inverse);
      if (shift != nullptr) Scale(*shift, inverse);
      return true;
    }
    if (!node->Is("Add") || node->inputs.size() != 2) return false;
    for (const size_t constant : {size_t{1}, size_t{0}}) {
      Tensor* shift = OwnVector(node->inputs[constant], inverse.size());
      const std::string& product = node->inputs[1 - constant];
      Node* mul = Producer(product);
      if (shift == nullptr || mul == nullptr || !mul->Is("Mul") ||
          CountReaders(graph_, product) != 1) {
        continue;
      }
      for (const size_t side : {size_t{1}, size_t{0}}) {
        Tensor* scale = OwnVector(mul->inputs[side], inverse.size());
        if (scale == nullptr) continue;
        Scale(*scale, inverse);
        Scale(*shift, inverse);
        return true;
      }
    }
    return false;
  }

  void InsertMul(const std::string& input, const Group& group, const std::vector<float>& inverse) {
    const std::string factor = names_.Fresh(absl::StrCat(input, "_smooth"));
    const std::string smoothed = names_.Fresh(absl::StrCat(input, "_smoothed"));
    AddConstant(model_, graph_,
                Tensor::FromFloats(factor, {static_cast<int64_t>(inverse.size())}, inverse));
    auto mul = std::make_unique<Node>();
    mul->name = names_.Fresh(absl::StrCat(smoothed, "/Mul"));
    mul->op_type = "Mul";
    mul->inputs = {input, factor};
    mul->outputs = {smoothed};
    mul->provenance = {group.units[0]->name, "quantize_activations"};
    // Before the first of its readers; the nodes stand in order.
    const Node* first = nullptr;
    for (const auto& node : graph_.nodes) {
      for (const IntegerUnit* unit : group.units) {
        if (node->outputs.empty() || node->outputs[0] != unit->node_output) continue;
        if (first == nullptr) first = node.get();
        node->inputs[0] = smoothed;
      }
    }
    std::vector<std::unique_ptr<Node>> nodes;
    nodes.push_back(std::move(mul));
    InsertBefore(graph_, first, std::move(nodes));
  }

  Model& model_;
  Graph& graph_;
  const std::vector<Weight>& weights_;
  const std::vector<IntegerUnit>& units_;
  const std::map<std::string, std::vector<float>>& largest_;
  const double alpha_;
  NameScope names_;
  Smoothed done_;
};

}  // namespace

absl::StatusOr<Smoothed> SmoothInputs(Model& model, const std::vector<Weight>& weights,
                                      const std::vector<IntegerUnit>& units,
                                      const std::map<std::string, std::vector<float>>& largest,
                                      double alpha) {
  return Smoother(model, weights, units, largest, alpha).Run();
}

}  // namespace lathe::engine
