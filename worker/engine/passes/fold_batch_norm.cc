#include "worker/engine/passes/fold_batch_norm.h"

#include <cmath>
#include <optional>
#include <utility>
#include <vector>

namespace lathe::engine {
namespace {

// y = x * factor + shift, one each a channel.
struct Affine {
  std::vector<float> factor;
  std::vector<float> shift;
};

std::optional<std::vector<float>> Vector(const GraphView& view, const std::string& name,
                                         int64_t size) {
  const Tensor* tensor = view.Constant(name);
  if (tensor == nullptr || tensor->dtype != DType::kFloat || tensor->dims != Shape{size}) {
    return std::nullopt;
  }
  auto floats = tensor->ToFloats();
  if (!floats.ok()) return std::nullopt;
  return *std::move(floats);
}

bool Inference(const Node& norm) {
  if (norm.inputs.size() != 5 || norm.outputs.empty() ||
      norm.IntAttribute("training_mode", 0) != 0 || norm.IntAttribute("spatial", 1) == 0) {
    return false;
  }
  for (size_t i = 1; i < norm.outputs.size(); ++i) {
    if (!norm.outputs[i].empty()) return false;
  }
  return true;
}

std::optional<Affine> ReadAffine(const GraphView& view, const Node& norm, int64_t channels) {
  const auto scale = Vector(view, norm.inputs[1], channels);
  const auto bias = Vector(view, norm.inputs[2], channels);
  const auto mean = Vector(view, norm.inputs[3], channels);
  const auto var = Vector(view, norm.inputs[4], channels);
  if (!scale || !bias || !mean || !var) return std::nullopt;
  const float epsilon = norm.FloatAttribute("epsilon", 1e-5f);
  Affine affine;
  for (size_t c = 0; c < scale->size(); ++c) {
    const double factor = (*scale)[c] / std::sqrt(static_cast<double>((*var)[c]) + epsilon);
    affine.factor.push_back(static_cast<float>(factor));
    affine.shift.push_back(static_cast<float>((*bias)[c] - (*mean)[c] * factor));
  }
  return affine;
}

// Where output channels lie among the weights of `layer`: channel of element i.
struct WeightForm {
  int64_t channels = 0;
  int64_t inner = 1;     // elements a channel, where they lie together
  int64_t period = 0;    // ConvTranspose: O / groups; 0 otherwise
  int64_t in_group = 0;  // ConvTranspose: I / groups
  int64_t ChannelOf(int64_t i) const {
    if (period == 0) return i / inner % channels;
    const int64_t row = i / inner / period;  // input channel
    return row / in_group * period + i / inner % period;
  }
};

std::optional<WeightForm> FormOf(const Node& layer, const Tensor& w) {
  WeightForm form;
  for (size_t i = 2; i < w.dims.size(); ++i) form.inner *= w.dims[i];
  if (layer.Is("Conv") && w.dims.size() >= 3) {
    form.channels = w.dims[0];
    form.inner *= w.dims[1];
    return form;
  }
  if (layer.Is("ConvTranspose") && w.dims.size() >= 3) {
    const int64_t groups = layer.IntAttribute("group", 1);
    if (groups < 1 || w.dims[0] % groups != 0) return std::nullopt;
    form.period = w.dims[1];
    form.in_group = w.dims[0] / groups;
    form.channels = w.dims[1] * groups;
    return form.in_group > 0 ? std::optional(form) : std::nullopt;
  }
  if (layer.Is("Gemm") && w.dims.size() == 2 && layer.IntAttribute("transA", 0) == 0 &&
      layer.FloatAttribute("alpha", 1) == 1 && layer.FloatAttribute("beta", 1) == 1) {
    const bool rows = layer.IntAttribute("transB", 0) != 0;
    form.channels = w.dims[rows ? 0 : 1];
    form.inner = rows ? w.dims[1] : 1;
    return form;
  }
  return std::nullopt;
}

void TryFold(GraphView& view, Node* norm) {
  if (!norm->Is("BatchNormalization") || !Inference(*norm)) return;
  Node* layer = view.Producer(norm->inputs[0]);
  if (layer == nullptr || layer->inputs.size() < 2 || layer->outputs.size() != 1 ||
      layer->inputs.size() > 3 || !view.ReadOnly(norm->inputs[0], 1)) {
    return;
  }
  const Tensor* w = view.Constant(layer->inputs[1]);
  if (w == nullptr || w->dtype != DType::kFloat || w->size() == 0) return;
  const std::optional<WeightForm> form = FormOf(*layer, *w);
  if (!form) return;
  const std::optional<Affine> affine = ReadAffine(view, *norm, form->channels);
  if (!affine) return;
  std::vector<float> bias(static_cast<size_t>(form->channels), 0.0f);
  if (layer->inputs.size() > 2 && !layer->inputs[2].empty()) {
    const auto given = Vector(view, layer->inputs[2], form->channels);
    if (!given) return;
    bias = *given;
  }
  const auto weights = w->ToFloats();
  if (!weights.ok()) return;
  std::vector<float> scaled = *weights;
  for (size_t i = 0; i < scaled.size(); ++i) {
    const int64_t channel = form->ChannelOf(static_cast<int64_t>(i));
    scaled[i] *= affine->factor[static_cast<size_t>(channel)];
  }
  for (size_t c = 0; c < bias.size(); ++c) bias[c] = bias[c] * affine->factor[c] + affine->shift[c];
  const std::string stem = layer->inputs[1];
  std::vector<std::string> inputs = {
      layer->inputs[0],
      view.AddInitializer(stem + "/normalized", Tensor::FromFloats("", w->dims, scaled)),
      view.AddInitializer(stem + "/shift", Tensor::FromFloats("", {form->channels}, bias))};
  const std::string output = norm->outputs[0];
  view.SetInputs(layer, std::move(inputs));
  view.Drop(norm);
  view.Rename(layer, 0, output);
}

}  // namespace

void FoldBatchNorm(GraphView& view) {
  for (Node* node : view.Nodes()) TryFold(view, node);
}

}  // namespace lathe::engine
