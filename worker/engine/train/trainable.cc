#include "worker/engine/train/trainable.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/scopes.h"
#include "worker/engine/kernels/sub_byte.h"
#include "worker/engine/ops/forward/value_read.h"
#include "worker/engine/ops/op_context.h"
#include "worker/engine/passes/upgrade_opset.h"
#include "worker/engine/train/trained_inputs.h"

namespace lathe::engine {
namespace {

// Additive masks are written as large numbers: not something to train.
constexpr float kMaskMagnitude = 1e3f;
// The first opset whose BatchNormalization says that it trains.
constexpr int64_t kTrainingOpset = 14;

bool IsFloatType(DType dtype) {
  return dtype == DType::kFloat || dtype == DType::kFloat16 || dtype == DType::kBfloat16;
}

// The constants of a graph by name: initializers, and tensors of Constant nodes.
std::map<std::string, const Tensor*> ConstantsOf(const Graph& graph) {
  std::map<std::string, const Tensor*> out;
  for (const auto& [name, tensor] : graph.initializers) out[name] = &tensor;
  for (const auto& node : graph.nodes) {
    if (!node->Is("Constant") || node->outputs.size() != 1) continue;
    const Attribute* value = node->FindAttribute("value");
    if (value != nullptr && value->tensors.size() == 1) out[node->outputs[0]] = &value->tensors[0];
  }
  return out;
}

Tensor* MutableConstant(Graph& graph, const std::string& name) {
  const auto found = graph.initializers.find(name);
  if (found != graph.initializers.end()) return &found->second;
  for (const auto& node : graph.nodes) {
    if (!node->Is("Constant") || node->outputs.size() != 1 || node->outputs[0] != name) continue;
    Attribute* value = node->FindAttribute("value");
    if (value != nullptr && value->tensors.size() == 1) return &value->tensors[0];
  }
  return nullptr;
}

std::vector<int64_t> Integers(const Tensor& tensor) {
  const Value value = Value::FromTensor(tensor);
  std::vector<int64_t> out(static_cast<size_t>(tensor.size()));
  for (size_t i = 0; i < out.size(); ++i) out[i] = ReadInteger(value, static_cast<int64_t>(i));
  return out;
}

// The least range of b bits, of the integers' type, that holds all of `codes`.
void RangeOf(DType dtype, const std::vector<int64_t>& codes, Grid* grid) {
  const auto [least, most] = std::minmax_element(codes.begin(), codes.end());
  if (dtype == DType::kInt32) {
    grid->lo = -(int64_t{1} << 30);
    grid->hi = int64_t{1} << 30;
    return;
  }
  const bool is_unsigned = dtype == DType::kUint8 || dtype == DType::kUint4;
  for (int bits = 2; bits <= 8; ++bits) {
    const int64_t lo = is_unsigned ? 0 : -(int64_t{1} << (bits - 1));
    const int64_t hi = is_unsigned ? (int64_t{1} << bits) - 1 : (int64_t{1} << (bits - 1)) - 1;
    grid->lo = lo;
    grid->hi = hi;
    if (*least >= lo && *most <= hi) break;
  }
  // Eight bits are used symmetrically, as runtimes like it.
  if (!is_unsigned && grid->lo == -128 && *least > -128) grid->lo = -127;
}

Shape BroadcastTo(const Shape& a, const Shape& b) {
  const std::optional<Shape> both = Broadcast(a, b);
  return both ? *both : Shape();
}

}  // namespace

class TrainableBuilder {
 public:
  TrainableBuilder(const Model& model, const TrainableOptions& options) : options_(options) {
    out_.model_ = CloneModel(model);
  }

  absl::StatusOr<Trainable> Build() {
    if (options_.batch_statistics) RETURN_IF_ERROR(UseBatchStatistics());
    constants_ = ConstantsOf(graph());
    Link();
    FindQuantized();
    FindFloats();
    RETURN_IF_ERROR(MoveOut());
    if (!out_.parameters_.empty()) return std::move(out_);
    std::vector<std::string> why;
    for (const Untrained& one : out_.untrained_) {
      if (why.size() < 10) why.push_back(absl::StrCat(one.name, ": ", one.reason));
    }
    return absl::InvalidArgumentError(absl::StrCat(
        "the model has nothing to train", why.empty() ? "" : "; ", absl::StrJoin(why, "; ")));
  }

 private:
  Graph& graph() { return *out_.model_.graph; }

  void Link() {
    for (const auto& node : graph().nodes) {
      for (const std::string& output : node->outputs) producers_[output] = node.get();
      for (size_t i = 0; i < node->inputs.size(); ++i) {
        readers_[node->inputs[i]].push_back({node.get(), i});
      }
      // What subgraphs capture counts as read by something that is not known.
      for (const Attribute& attribute : node->attributes) {
        for (const auto& sub : attribute.graphs) Capture(*sub);
      }
    }
  }
  void Capture(const Graph& sub) {
    for (const auto& node : sub.nodes) {
      for (const std::string& input : node->inputs) captured_.insert(input);
      for (const Attribute& attribute : node->attributes) {
        for (const auto& inner : attribute.graphs) Capture(*inner);
      }
    }
    for (const ValueInfo& output : sub.outputs) captured_.insert(output.name);
  }
  // The only reader of a value; nullptr when there are others, or it leaves the graph.
  Node* OnlyReader(const std::string& value) {
    const auto found = readers_.find(value);
    if (found == readers_.end() || found->second.size() != 1 || captured_.count(value) != 0 ||
        graph().IsOutput(value)) {
      return nullptr;
    }
    return found->second[0].node;
  }
  const Tensor* Constant(const std::string& value) const {
    const auto found = constants_.find(value);
    return found == constants_.end() ? nullptr : found->second;
  }
  // A constant, also behind a Cast; the constant's own name to `name`.
  const Tensor* ConstantBehindCast(const std::string& value, std::string* name) {
    const Tensor* tensor = Constant(value);
    *name = value;
    const auto producer = producers_.find(value);
    if (tensor == nullptr && producer != producers_.end() && producer->second->Is("Cast")) {
      *name = producer->second->inputs[0];
      tensor = Constant(*name);
    }
    return tensor;
  }
  bool Selected(const std::string& name, const Node& node) {
    return !options_.selected || options_.selected(name, node.name);
  }
  void Leave(const std::string& name, const std::string& reason) {
    out_.untrained_.push_back({name, reason});
  }

  absl::Status UseBatchStatistics();
  void FindQuantized();
  void TryQuantized(const std::string& codes_name, const Tensor& codes);
  void StartLatent(const std::string& output, const std::vector<int64_t>& codes,
                   Parameter* parameter);
  void FindFloats();
  void AddFloat(const std::string& name, const Tensor& tensor, const Node& reader, bool matrix);
  absl::Status MoveOut();

  struct Use {
    Node* node;
    size_t input;
  };

  const TrainableOptions& options_;
  Trainable out_;
  std::map<std::string, const Tensor*> constants_;
  std::map<std::string, Node*> producers_;
  std::map<std::string, std::vector<Use>> readers_;
  std::set<std::string> captured_;
  std::set<std::string> taken_;     // constants that are parameters, or parts of one
  std::set<const Node*> replaced_;  // nodes whose output a parameter replaces
};

// Every inference-mode BatchNormalization becomes one in training mode, whose next running
// statistics are outputs.
absl::Status TrainableBuilder::UseBatchStatistics() {
  bool any = false;
  for (const auto& node : graph().nodes) any |= node->Is("BatchNormalization");
  if (!any) return absl::OkStatus();
  if (out_.model_.OpsetVersion("") < kTrainingOpset) {
    const absl::Status lifted = UpgradeOpset(out_.model_, kTrainingOpset, nullptr);
    if (!lifted.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("batch_norm: update needs opset 14, and the model cannot be lifted to it: ",
                       lifted.message()));
    }
  }
  NameScope names(out_.model_);
  const std::map<std::string, const Tensor*> constants = ConstantsOf(graph());
  for (const auto& node : graph().nodes) {
    if (!node->Is("BatchNormalization") || node->inputs.size() != 5 ||
        node->IntAttribute("training_mode", 0) != 0) {
      continue;
    }
    const auto mean = constants.find(node->inputs[3]);
    const auto variance = constants.find(node->inputs[4]);
    if (mean == constants.end() || variance == constants.end()) continue;
    node->SetInt("training_mode", 1);
    node->outputs.resize(1);
    for (const auto& found : {mean, variance}) {
      Trainable::Statistic statistic;
      statistic.name = found->first;
      statistic.input = found->first;
      statistic.dims = found->second->dims;
      ASSIGN_OR_RETURN(statistic.values, found->second->ToFloats());
      statistic.output = names.Fresh(absl::StrCat(found->first, "_next"));
      node->outputs.push_back(statistic.output);
      ValueInfo info;
      info.name = statistic.output;
      info.dtype = found->second->dtype;
      graph().outputs.push_back(info);
      out_.statistics_.push_back(std::move(statistic));
    }
  }
  return absl::OkStatus();
}

void TrainableBuilder::FindQuantized() {
  for (const auto& [name, tensor] : constants_) {
    switch (tensor->dtype) {
      case DType::kInt8:
      case DType::kUint8:
      case DType::kInt4:
      case DType::kUint4:
      case DType::kInt32:
        if (tensor->size() > 0) TryQuantized(name, *tensor);
        break;
      default:
        break;
    }
  }
}

void TrainableBuilder::TryQuantized(const std::string& codes_name, const Tensor& codes) {
  Node* decode = OnlyReader(codes_name);
  if (decode == nullptr || decode->inputs[0] != codes_name) return;
  Parameter parameter;
  Grid grid;
  const Tensor* scale = nullptr;
  const Tensor* zero = nullptr;
  std::string zero_name;
  std::string output;
  int64_t block = 0;
  Shape scale_dims;
  if (decode->Is("DequantizeLinear")) {
    if (decode->inputs.size() < 2) return;
    scale = ConstantBehindCast(decode->inputs[1], &parameter.scale_name);
    if (scale == nullptr) return;
    if (decode->inputs.size() > 2 && !decode->inputs[2].empty()) {
      zero = Constant(decode->inputs[2]);
      if (zero == nullptr) return;
    }
    block = decode->IntAttribute("block_size", 0);
    scale_dims = scale->dims;
    if (block == 0 && scale->size() > 1) {  // per axis
      const auto rank = static_cast<int64_t>(codes.dims.size());
      int64_t axis = decode->IntAttribute("axis", 1);
      if (axis < 0) axis += rank;
      if (axis < 0 || axis >= rank) return;
      scale_dims.assign(static_cast<size_t>(rank), 1);
      scale_dims[static_cast<size_t>(axis)] = scale->size();
    }
    output = decode->outputs[0];
    parameter.dims = codes.dims;
  } else if (decode->Is("Cast") && codes.dtype != DType::kInt32) {
    Node* next = OnlyReader(decode->outputs[0]);
    std::string at = decode->outputs[0];
    if (next != nullptr && next->Is("Sub") && next->inputs[0] == at) {
      zero = ConstantBehindCast(next->inputs[1], &zero_name);
      if (zero == nullptr || IsFloatType(zero->dtype)) return;
      at = next->outputs[0];
      next = OnlyReader(at);
    }
    if (next == nullptr || !next->Is("Mul") || next->inputs[0] != at) return;
    scale = ConstantBehindCast(next->inputs[1], &parameter.scale_name);
    if (scale == nullptr) return;
    scale_dims = scale->dims;
    output = next->outputs[0];
    parameter.dims = BroadcastTo(codes.dims, scale_dims);
    if (parameter.dims != codes.dims) return;
  } else {
    return;
  }
  if (options_.quantized == QuantizedWeights::kFrozen || !Selected(codes_name, *decode)) {
    Leave(codes_name,
          options_.quantized == QuantizedWeights::kFrozen ? "stored as integers" : "not selected");
    taken_.insert({codes_name, parameter.scale_name});
    return;
  }
  absl::StatusOr<std::vector<float>> scales = scale->ToFloats();
  if (!scales.ok()) return;
  grid.scales = *std::move(scales);
  grid.half_scales = scale->dtype == DType::kFloat16;
  grid.learn_scales = options_.quantized == QuantizedWeights::kLearnedSteps &&
                      codes.dtype != DType::kInt32 && readers_[parameter.scale_name].size() == 1;
  for (const float s : grid.scales) {
    if (!(s > 0) || !std::isfinite(s)) return;
  }
  grid.set_of = SetsOf(parameter.dims, scale_dims, block);
  if (grid.set_of.empty()) return;
  if (zero != nullptr) {
    grid.zero_points = Integers(*zero);
    if (grid.zero_points.size() == 1)
      grid.zero_points.resize(grid.scales.size(), grid.zero_points[0]);
    if (grid.zero_points.size() != grid.scales.size()) return;
  }
  const std::vector<int64_t> integers = Integers(codes);
  RangeOf(codes.dtype, integers, &grid);
  parameter.input = output;
  parameter.name = codes_name;
  parameter.code_dtype = codes.dtype;
  parameter.decays = codes.dtype != DType::kInt32;
  const auto reader = readers_.find(output);
  parameter.layer = reader == readers_.end() ? decode->name : reader->second[0].node->name;
  parameter.grid = std::move(grid);
  StartLatent(output, integers, &parameter);
  taken_.insert({codes_name, parameter.scale_name});
  replaced_.insert(producers_[output]);
  out_.parameters_.push_back(std::move(parameter));
}

// Latent values: what the integers stand for, or the weight before it was rounded where that is
// known by its name and lies within a step of it.
void TrainableBuilder::StartLatent(const std::string& output, const std::vector<int64_t>& codes,
                                   Parameter* parameter) {
  const Grid& grid = *parameter->grid;
  parameter->values.resize(codes.size());
  for (size_t i = 0; i < codes.size(); ++i) {
    const int32_t set = grid.set_of[i];
    parameter->values[i] = static_cast<float>(codes[i] - grid.ZeroOf(set)) * grid.scales[set];
  }
  if (options_.before == nullptr) return;
  // The chain behind the product only gives the weight its shape again.
  std::string value = output;
  while (true) {
    const Node* next = OnlyReader(value);
    if (next == nullptr || !(next->Is("Reshape") || next->Is("Cast"))) break;
    value = next->outputs[0];
  }
  const std::map<std::string, const Tensor*> before = ConstantsOf(*options_.before->graph);
  for (const std::string& name : {value, output}) {
    const auto found = before.find(name);
    if (found == before.end() || !IsFloatType(found->second->dtype) ||
        found->second->size() != parameter->size()) {
      continue;
    }
    const absl::StatusOr<std::vector<float>> original = found->second->ToFloats();
    if (!original.ok()) continue;
    // Clipped weights lie further off: most must fit.
    size_t near = 0;
    for (size_t i = 0; i < codes.size(); ++i) {
      const float step = grid.scales[grid.set_of[i]];
      near += std::abs((*original)[i] - parameter->values[i]) <= step;
    }
    if (near * 10 < codes.size() * 8) continue;
    parameter->values = *original;
    return;
  }
}

void TrainableBuilder::FindFloats() {
  // Values that come from a layer with weights.
  std::set<std::string> learned;
  const auto node_order = [this]() {
    std::vector<Node*> out;
    for (const auto& node : graph().nodes) out.push_back(node.get());
    return out;
  }();
  for (const Parameter& parameter : out_.parameters_) learned.insert(parameter.input);
  for (Node* node : node_order) {
    bool from_layer = false;
    for (const std::string& input : node->inputs) from_layer |= learned.count(input) != 0;
    for (size_t i = 0; i < node->inputs.size(); ++i) {
      const TrainedInput role = TrainedInputOf(*node, i);
      if (role == TrainedInput::kNo) continue;
      // Back through what only hands a constant on.
      std::string name = node->inputs[i];
      while (Constant(name) == nullptr) {
        const auto producer = producers_.find(name);
        if (producer == producers_.end() || !PassesConstantOn(*producer->second)) break;
        name = producer->second->inputs[0];
      }
      const Tensor* tensor = Constant(name);
      if (tensor == nullptr || !IsFloatType(tensor->dtype) || tensor->size() == 0 ||
          taken_.count(name) != 0) {
        continue;
      }
      if (role == TrainedInput::kElementwise) {
        if (!from_layer || tensor->size() < 2) continue;
        const absl::StatusOr<std::vector<float>> values = tensor->ToFloats();
        if (!values.ok() || std::any_of(values->begin(), values->end(),
                                        [](float v) { return !(std::abs(v) <= kMaskMagnitude); })) {
          continue;
        }
      }
      AddFloat(name, *tensor, *node, role == TrainedInput::kMatrix);
      from_layer = true;
    }
    if (!from_layer) continue;
    for (const std::string& output : node->outputs) learned.insert(output);
  }
}

void TrainableBuilder::AddFloat(const std::string& name, const Tensor& tensor, const Node& reader,
                                bool matrix) {
  taken_.insert(name);
  if (captured_.count(name) != 0) return Leave(name, "a subgraph reads it");
  if (graph().IsOutput(name)) return Leave(name, "it is an output of the model");
  if (!Selected(name, reader)) return Leave(name, "not selected");
  absl::StatusOr<std::vector<float>> values = tensor.ToFloats();
  if (!values.ok()) return Leave(name, std::string(values.status().message()));
  if (std::any_of(values->begin(), values->end(), [](float v) { return !std::isfinite(v); })) {
    return Leave(name, "it holds NaN or infinity");
  }
  Parameter parameter;
  parameter.input = name;
  parameter.name = name;
  parameter.layer = reader.name;
  parameter.dims = tensor.dims;
  parameter.dtype = tensor.dtype;
  parameter.decays = matrix && tensor.dims.size() >= 2;
  parameter.values = *std::move(values);
  const auto zeros =
      static_cast<double>(std::count(parameter.values.begin(), parameter.values.end(), 0.0f));
  if (parameter.decays && zeros >= kPrunedShare * static_cast<double>(parameter.size())) {
    for (const float v : parameter.values) parameter.mask.push_back(v != 0);
  }
  out_.parameters_.push_back(std::move(parameter));
}

// Parameters and running statistics become inputs of the graph.
absl::Status TrainableBuilder::MoveOut() {
  Graph& to = graph();
  std::set<std::string> names;
  for (const Parameter& parameter : out_.parameters_) names.insert(parameter.input);
  for (const Trainable::Statistic& statistic : out_.statistics_) names.insert(statistic.input);
  const auto is_moved = [&](const Node& node) {
    if (replaced_.count(&node) != 0) return true;
    return node.Is("Constant") && node.outputs.size() == 1 && names.count(node.outputs[0]) != 0;
  };
  // Types first: the tensors go with their constants.
  std::map<std::string, DType> types;
  for (const Trainable::Statistic& statistic : out_.statistics_) {
    types[statistic.input] = constants_[statistic.input]->dtype;
  }
  for (const std::string& name : names) to.initializers.erase(name);
  std::erase_if(to.nodes, [&](const std::unique_ptr<Node>& node) { return is_moved(*node); });
  std::erase_if(to.inputs, [&](const ValueInfo& info) { return names.count(info.name) != 0; });
  const auto add = [&to](const std::string& name, DType dtype, const Shape& dims) {
    ValueInfo info;
    info.name = name;
    info.dtype = dtype;
    info.dims.emplace();
    for (const int64_t extent : dims) info.dims->push_back({extent, ""});
    to.inputs.push_back(std::move(info));
    to.value_infos.erase(name);
  };
  for (const Parameter& parameter : out_.parameters_) {
    add(parameter.input, parameter.dtype, parameter.dims);
  }
  for (const Trainable::Statistic& statistic : out_.statistics_) {
    add(statistic.input, types[statistic.input], statistic.dims);
  }
  // What computed a replaced value from constants has no readers now.
  std::set<std::string> read;
  const auto mark = [&read](const Graph& from, const auto& self) -> void {
    for (const auto& node : from.nodes) {
      read.insert(node->inputs.begin(), node->inputs.end());
      for (const Attribute& attribute : node->attributes) {
        for (const auto& sub : attribute.graphs) self(*sub, self);
      }
    }
    for (const ValueInfo& output : from.outputs) read.insert(output.name);
  };
  for (bool more = true; more;) {
    read.clear();
    mark(to, mark);
    more = std::erase_if(to.nodes, [&](const std::unique_ptr<Node>& node) {
             return std::none_of(node->outputs.begin(), node->outputs.end(),
                                 [&](const std::string& o) { return read.count(o) != 0; });
           }) > 0;
  }
  return absl::OkStatus();
}

absl::StatusOr<Trainable> Trainable::Make(const Model& model, const TrainableOptions& options) {
  return TrainableBuilder(model, options).Build();
}

namespace {

absl::Status Missing(const std::string& name) {
  return absl::InternalError(absl::StrCat("no constant '", name, "' to write to"));
}

// `values` in the type of `to`.
Bytes FloatBytes(DType dtype, const std::vector<float>& values) {
  if (dtype == DType::kFloat) {
    std::string data(values.size() * sizeof(float), '\0');
    std::memcpy(data.data(), values.data(), data.size());
    return Bytes::Own(std::move(data));
  }
  std::string data(values.size() * 2, '\0');
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t bits =
        dtype == DType::kFloat16 ? FloatToHalf(values[i]) : FloatToBfloat16(values[i]);
    std::memcpy(data.data() + i * 2, &bits, 2);
  }
  return Bytes::Own(std::move(data));
}

Bytes CodeBytes(DType dtype, const std::vector<int64_t>& codes) {
  std::string data;
  if (dtype == DType::kInt32) {
    data.resize(codes.size() * 4);
    for (size_t i = 0; i < codes.size(); ++i) {
      const auto code = static_cast<int32_t>(codes[i]);
      std::memcpy(data.data() + i * 4, &code, 4);
    }
    return Bytes::Own(std::move(data));
  }
  std::string bytes(codes.size(), '\0');
  for (size_t i = 0; i < codes.size(); ++i) {
    bytes[i] = static_cast<char>(static_cast<uint8_t>(codes[i]));
  }
  if (dtype == DType::kInt8 || dtype == DType::kUint8) return Bytes::Own(std::move(bytes));
  data.resize((codes.size() + 1) / 2);
  PackBits(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int64_t>(bytes.size()), 4,
           reinterpret_cast<uint8_t*>(data.data()));
  return Bytes::Own(std::move(data));
}

}  // namespace

absl::Status Trainable::WriteTo(Model& model) const {
  for (const Parameter& parameter : parameters_) {
    Tensor* tensor = MutableConstant(*model.graph, parameter.name);
    if (tensor == nullptr) return Missing(parameter.name);
    if (!parameter.grid) {
      tensor->data = FloatBytes(tensor->dtype, parameter.values);
      continue;
    }
    tensor->data = CodeBytes(tensor->dtype, RoundToGrid(*parameter.grid, parameter.values));
    if (!parameter.grid->learn_scales) continue;
    Tensor* scale = MutableConstant(*model.graph, parameter.scale_name);
    if (scale == nullptr) return Missing(parameter.scale_name);
    scale->data = FloatBytes(scale->dtype, parameter.grid->scales);
  }
  for (const Statistic& statistic : statistics_) {
    Tensor* tensor = MutableConstant(*model.graph, statistic.name);
    if (tensor == nullptr) return Missing(statistic.name);
    tensor->data = FloatBytes(tensor->dtype, statistic.values);
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
