#include "worker/engine/evaluate/diagnosis.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/graph/layers.h"

namespace lathe::engine {
namespace {

// Sums over all examples so far.
struct Noise {
  double signal = 0;
  double noise = 0;
  bool any = false;

  void Add(std::span<const float> wanted, std::span<const float> got) {
    any = true;
    for (size_t i = 0; i < wanted.size(); ++i) {
      const double y = wanted[i];
      const double d = y - static_cast<double>(got[i]);
      // A NaN or an infinity on one side alone is as far off as can be.
      if (!std::isfinite(y) || !std::isfinite(d)) {
        noise += std::isfinite(got[i]) == std::isfinite(wanted[i]) ? 0 : 1e30;
        continue;
      }
      signal += y * y;
      noise += d * d;
    }
  }
  std::optional<double> Db() const {
    if (!any || !(noise > 0)) return std::nullopt;
    return signal > 0 ? std::max(-300.0, 10 * std::log10(signal / noise)) : -300.0;
  }
};

bool IsComparable(const Value& value) {
  return value.IsTensor() && value.dtype == DType::kFloat && value.layout == Layout::kPlain;
}

// The nodes of `graph` that compute `output` from `inputs` and constants, as a model of its own;
// nullopt when it needs other values of the graph.
std::optional<Model> CutOut(const Model& model, const std::string& output,
                            const std::map<std::string, Value>& inputs,
                            const std::unordered_map<std::string, const Node*>& producers) {
  const Graph& graph = *model.graph;
  std::set<const Node*> needed;
  std::set<std::string> constants;
  std::vector<std::string> open = {output};
  std::set<std::string> seen;
  while (!open.empty()) {
    const std::string name = open.back();
    open.pop_back();
    if (name.empty() || inputs.count(name) != 0 || !seen.insert(name).second) continue;
    if (graph.initializers.count(name) != 0 || graph.sparse_initializers.count(name) != 0) {
      constants.insert(name);
      continue;
    }
    const auto producer = producers.find(name);
    if (producer == producers.end()) return std::nullopt;
    for (const Attribute& attribute : producer->second->attributes) {
      // What a subgraph reads cannot be seen from its inputs.
      if (!attribute.graphs.empty()) return std::nullopt;
    }
    needed.insert(producer->second);
    for (const std::string& input : producer->second->inputs) open.push_back(input);
  }
  Model cut;
  cut.ir_version = model.ir_version;
  cut.opset_imports = model.opset_imports;
  cut.graph = std::make_unique<Graph>();
  for (const auto& node : graph.nodes) {
    if (needed.count(node.get()) == 0) continue;
    std::unique_ptr<Node> copy = CloneShell(*node);
    for (const Attribute& attribute : node->attributes) {
      copy->attributes.push_back(CloneAttribute(attribute, cut.graph.get()));
    }
    cut.graph->nodes.push_back(std::move(copy));
  }
  for (const std::string& name : constants) {
    const auto dense = graph.initializers.find(name);
    if (dense != graph.initializers.end()) {
      cut.graph->initializers.emplace(name, dense->second);
    } else {
      cut.graph->sparse_initializers.emplace(name, graph.sparse_initializers.at(name));
    }
  }
  for (const auto& [name, value] : inputs) {
    ValueInfo info;
    info.name = name;
    info.dtype = value.dtype;
    cut.graph->inputs.push_back(std::move(info));
  }
  ValueInfo info;
  info.name = output;
  cut.graph->outputs.push_back(std::move(info));
  return cut;
}

}  // namespace

struct Diagnosis::Layer {
  LayerDiagnosis result;
  Noise cumulative;
  Noise isolated;
  // The original's output for the batch at hand.
  std::vector<float> kept;
  Shape kept_dims;
  size_t weight_input = 0;  // of the node
};

Diagnosis::~Diagnosis() = default;

absl::StatusOr<std::unique_ptr<Diagnosis>> Diagnosis::Make(Model& original, const Model& compressed,
                                                           std::function<bool()> cancelled) {
  std::unique_ptr<Diagnosis> diagnosis(new Diagnosis);
  Diagnosis* self = diagnosis.get();
  self->compressed_ = &compressed;
  self->cancelled_ = std::move(cancelled);
  for (const auto& node : compressed.graph->nodes) {
    for (const std::string& output : node->outputs) self->producers_[output] = node.get();
  }
  for (const Weight& weight : FindWeights(original)) {
    if (self->layers_.size() >= kMaxLayers) break;
    if (weight.uses.empty() || weight.uses.front().graph != original.graph.get()) continue;
    const Node& node = *weight.uses.front().node;
    const auto output = std::find_if(node.outputs.begin(), node.outputs.end(),
                                     [](const std::string& name) { return !name.empty(); });
    if (output == node.outputs.end()) continue;
    // Two weights of one node (W and R of an LSTM) share its output.
    if (self->by_node_.count(&node) != 0) continue;
    auto layer = std::make_unique<Layer>();
    layer->result.name = weight.name;
    layer->result.output = *output;
    layer->weight_input = static_cast<size_t>(weight.uses.front().input);
    if (self->producers_.count(*output) == 0) {
      layer->result.not_measured = "its output is not in the compressed model";
    } else {
      self->by_node_[&node] = layer.get();
      self->by_output_[*output] = layer.get();
    }
    self->layers_.push_back(std::move(layer));
  }
  ExecutorOptions options;
  options.optimize = false;
  options.cancelled = self->cancelled_;
  options.observe = [self](const Node& node, std::span<const Value> inputs,
                           std::span<const Value> outputs) {
    return self->SeeOriginal(node, inputs, outputs);
  };
  ASSIGN_OR_RETURN(self->run_original_, Executor::Make(original, options));
  options.observe = [self](const Node& node, std::span<const Value>,
                           std::span<const Value> outputs) {
    return self->SeeCompressed(node, outputs);
  };
  ASSIGN_OR_RETURN(self->run_compressed_, Executor::Make(compressed, options));
  return diagnosis;
}

absl::Status Diagnosis::SeeOriginal(const Node& node, std::span<const Value> inputs,
                                    std::span<const Value> outputs) {
  const auto found = by_node_.find(&node);
  if (found == by_node_.end()) return absl::OkStatus();
  Layer& layer = *found->second;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (node.outputs[i] != layer.result.output) continue;
    const Value& value = outputs[i];
    if (!IsComparable(value)) {
      layer.result.not_measured = "its output is not float32";
      return absl::OkStatus();
    }
    layer.result.before.Add(value.As<float>());
    RETURN_IF_ERROR(RunAlone(layer, node, inputs, value));
    if (kept_bytes_ + value.bytes() > kMaxKeptBytes) {
      layer.result.not_measured = "the layers' outputs take too much memory to be compared";
      return absl::OkStatus();
    }
    kept_bytes_ += value.bytes();
    const std::span<const float> elements = value.As<float>();
    layer.kept.assign(elements.begin(), elements.end());
    layer.kept_dims = value.dims;
  }
  return absl::OkStatus();
}

absl::Status Diagnosis::RunAlone(Layer& layer, const Node& node, std::span<const Value> inputs,
                                 const Value& wanted) {
  if (!layer.result.isolated_not_measured.empty()) return absl::OkStatus();
  std::map<std::string, Value> given;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::string& name = node.inputs[i];
    const bool constant = compressed_->graph->initializers.count(name) != 0 ||
                          compressed_->graph->sparse_initializers.count(name) != 0;
    // The weight is what is looked at.
    if (i == layer.weight_input || name.empty() || constant || inputs[i].buffer == nullptr)
      continue;
    given[name] = inputs[i];
  }
  // The model's own inputs have no buffer of the run.
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (i != layer.weight_input && compressed_->graph->IsInput(node.inputs[i]))
      given[node.inputs[i]] = inputs[i];
  }
  const std::optional<Model> cut = CutOut(*compressed_, layer.result.output, given, producers_);
  if (!cut) {
    layer.result.isolated_not_measured =
        "in the compressed model it also reads values that the original layer does not";
    return absl::OkStatus();
  }
  // Made anew for each batch: kept, all layers' weights would be held decoded.
  ExecutorOptions options;
  options.optimize = false;
  options.cancelled = cancelled_;
  ASSIGN_OR_RETURN(const std::unique_ptr<Executor> alone, Executor::Make(*cut, options));
  ASSIGN_OR_RETURN(const std::vector<Value> got, alone->Run(given));
  if (got.size() != 1 || !IsComparable(got[0]) || got[0].dims != wanted.dims) {
    layer.result.isolated_not_measured =
        "its output has another type or shape in the compressed model";
    return absl::OkStatus();
  }
  layer.isolated.Add(wanted.As<float>(), got[0].As<float>());
  return absl::OkStatus();
}

absl::Status Diagnosis::SeeCompressed(const Node& node, std::span<const Value> outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const auto found = by_output_.find(node.outputs[i]);
    if (found == by_output_.end()) continue;
    Layer& layer = *found->second;
    if (layer.kept_dims != outputs[i].dims || !IsComparable(outputs[i])) continue;
    if (layer.kept.size() != static_cast<size_t>(outputs[i].size())) continue;
    layer.result.after.Cover(layer.kept);
    layer.result.after.Add(outputs[i].As<float>());
    layer.cumulative.Add(layer.kept, outputs[i].As<float>());
    kept_bytes_ -= static_cast<int64_t>(layer.kept.size() * sizeof(float));
    layer.kept.clear();
  }
  return absl::OkStatus();
}

absl::Status Diagnosis::Add(const std::map<std::string, Value>& inputs) {
  kept_bytes_ = 0;
  for (const auto& layer : layers_) layer->kept.clear();
  RETURN_IF_ERROR(run_original_->Run(inputs).status());
  return run_compressed_->Run(inputs).status();
}

std::vector<LayerDiagnosis> Diagnosis::Result() const {
  std::vector<LayerDiagnosis> results;
  for (const auto& layer : layers_) {
    LayerDiagnosis result = layer->result;
    result.output_sqnr_db = layer->cumulative.Db();
    result.isolated_sqnr_db = layer->isolated.Db();
    if (result.not_measured.empty() && !layer->cumulative.any) {
      result.not_measured = "it did not run on these examples";
    }
    if (result.isolated_not_measured.empty() && !layer->isolated.any) {
      result.isolated_not_measured = result.not_measured;
    }
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace lathe::engine
