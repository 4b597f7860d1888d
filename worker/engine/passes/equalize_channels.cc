#include "worker/engine/passes/equalize_channels.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/status_macros.h"
#include "worker/engine/graph/edit.h"

namespace lathe::engine {
namespace {

// Chains of layers settle after a few rounds.
constexpr int kRounds = 3;
constexpr double kMostFactor = 1e3;

// Elements of a weight along its output or its input channels.
struct Channels {
  int64_t count = 0;
  int64_t inner = 1;  // elements from one channel to the next
  int64_t Of(int64_t i) const { return i / inner % count; }
};

Channels Along(const Shape& dims, int axis) {
  Channels c;
  c.count = dims[static_cast<size_t>(axis)];
  for (size_t d = static_cast<size_t>(axis) + 1; d < dims.size(); ++d) c.inner *= dims[d];
  return c;
}

std::vector<float> Largest(const std::vector<float>& w, const Channels& channels) {
  std::vector<float> largest(static_cast<size_t>(channels.count), 0.0f);
  for (size_t i = 0; i < w.size(); ++i) {
    float& most = largest[static_cast<size_t>(channels.Of(static_cast<int64_t>(i)))];
    most = std::max(most, std::abs(w[i]));
  }
  return largest;
}

// Axis of the source along which the input channels lie; -1 where a group holds but some of them.
int InputAxis(const WeightUse& use) {
  if (use.groups == 1) return use.source_reduction_axis;
  const bool depthwise = use.role == WeightRole::kConv && use.dims[1] == 1 &&
                         use.dims[0] == use.groups && use.permutation.empty();
  return depthwise ? 0 : -1;
}

Tensor* OwnBias(Graph& graph, const std::string& name) {
  const auto found = graph.initializers.find(name);
  if (found == graph.initializers.end() || found->second.dtype != DType::kFloat ||
      graph.IsInput(name) || CountReaders(graph, name) != 1) {
    return nullptr;
  }
  return &found->second;
}

struct Pair {
  const IntegerUnit* first = nullptr;
  const IntegerUnit* second = nullptr;
};

bool Usable(const IntegerUnit& unit, const std::vector<Weight>& weights) {
  if (!unit.Linear() || !unit.not_static.empty()) return false;
  const Weight& weight = weights[static_cast<size_t>(unit.weight)];
  return weight.uses.size() == 1 && weight.uses[0].source_output_axis >= 0;
}

// Whether `f` between the layers keeps factors: nothing, or a Relu.
bool Homogeneous(const Model& model, const IntegerUnit& unit) {
  if (unit.absorbed.empty()) return true;
  return std::any_of(model.graph->nodes.begin(), model.graph->nodes.end(), [&](const auto& node) {
    return node->Is("Relu") && !node->outputs.empty() && node->outputs[0] == unit.absorbed;
  });
}

absl::StatusOr<bool> Equalize(Model& model, const std::vector<Weight>& weights, const Pair& pair) {
  const Weight& first = weights[static_cast<size_t>(pair.first->weight)];
  const Weight& second = weights[static_cast<size_t>(pair.second->weight)];
  const int input_axis = InputAxis(second.uses[0]);
  if (input_axis < 0) return false;
  const Channels out = Along(first.dims, first.uses[0].source_output_axis);
  const Channels in = Along(second.dims, input_axis);
  if (out.count != in.count) return false;
  Tensor* bias = nullptr;
  if (!pair.first->bias.empty()) {
    bias = OwnBias(*model.graph, pair.first->bias);
    if (bias == nullptr || bias->size() != out.count) return false;
  }
  ASSIGN_OR_RETURN(std::vector<float> w1, ReadWeight(first));
  ASSIGN_OR_RETURN(std::vector<float> w2, ReadWeight(second));
  const std::vector<float> r1 = Largest(w1, out);
  const std::vector<float> r2 = Largest(w2, in);
  std::vector<float> s(r1.size(), 1.0f);
  for (size_t c = 0; c < s.size(); ++c) {
    if (!(r1[c] > 1e-20f) || !(r2[c] > 1e-20f)) continue;
    const double factor = std::sqrt(static_cast<double>(r1[c]) / r2[c]);
    s[c] = static_cast<float>(std::clamp(factor, 1 / kMostFactor, kMostFactor));
  }
  for (size_t i = 0; i < w1.size(); ++i) {
    w1[i] /= s[static_cast<size_t>(out.Of(static_cast<int64_t>(i)))];
  }
  for (size_t i = 0; i < w2.size(); ++i) {
    w2[i] *= s[static_cast<size_t>(in.Of(static_cast<int64_t>(i)))];
  }
  RETURN_IF_ERROR(WriteWeight(first, std::move(w1)));
  RETURN_IF_ERROR(WriteWeight(second, std::move(w2)));
  if (bias != nullptr) {
    std::vector<float> b = *bias->ToFloats();
    for (size_t c = 0; c < b.size(); ++c) b[c] /= s[c];
    Tensor scaled = Tensor::FromFloats(bias->name, bias->dims, b);
    bias->data = std::move(scaled.data);
  }
  return true;
}

}  // namespace

absl::StatusOr<int64_t> EqualizeChannels(Model& model, const std::vector<Weight>& weights,
                                         const std::vector<IntegerUnit>& units) {
  std::vector<Pair> pairs;
  for (const IntegerUnit& first : units) {
    if (!Usable(first, weights) || !Homogeneous(model, first) ||
        CountReaders(*model.graph, first.result()) != 1) {
      continue;
    }
    for (const IntegerUnit& second : units) {
      if (Usable(second, weights) && second.inputs[0] == first.result()) {
        pairs.push_back({&first, &second});
      }
    }
  }
  int64_t done = 0;
  for (int round = 0; round < kRounds; ++round) {
    for (const Pair& pair : pairs) {
      ASSIGN_OR_RETURN(const bool equalized, Equalize(model, weights, pair));
      done += round == 0 && equalized;
    }
  }
  return done;
}

}  // namespace lathe::engine
