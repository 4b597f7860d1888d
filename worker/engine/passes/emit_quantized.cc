#include "worker/engine/passes/emit_quantized.h"

#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/engine/graph/function_parameters.h"

namespace lathe::engine {
namespace {

using Nodes = std::vector<std::unique_ptr<Node>>;

Node* Add(Nodes& nodes, const Weight& weight, NameScope& names, const std::string& op,
          std::vector<std::string> inputs, std::string output) {
  auto node = std::make_unique<Node>();
  node->name = names.Fresh(absl::StrCat(output, "/", op));
  node->op_type = op;
  node->inputs = std::move(inputs);
  node->outputs = {std::move(output)};
  node->provenance = {weight.name, "quantize_weights"};
  nodes.push_back(std::move(node));
  return nodes.back().get();
}

void SetCast(Node* node, DType to) { node->SetInt("to", static_cast<int64_t>(to)); }

Tensor MakeTensor(std::string name, DType dtype, Shape dims, std::string data) {
  auto tensor = Tensor::Make(std::move(name), dtype, std::move(dims), std::move(data));
  return *std::move(tensor);  // sizes are ours: a mismatch is a bug, and dies here
}

Tensor ScaleTensor(const std::string& name, const QuantizedConstants& c) {
  if (!c.half_scales) return Tensor::FromFloats(name, c.scale_dims, c.scales);
  std::string data(c.scales.size() * 2, '\0');
  for (size_t i = 0; i < c.scales.size(); ++i) {
    const uint16_t half = FloatToHalf(c.scales[i]);
    std::memcpy(data.data() + i * 2, &half, 2);
  }
  return MakeTensor(name, DType::kFloat16, c.scale_dims, std::move(data));
}

// The constants of a weight, added beside where its source was.
class Constants {
 public:
  Constants(Model& model, Graph& graph) : model_(model), graph_(graph) {}
  std::string Put(Tensor tensor) {
    bytes_ += tensor.byte_size();
    std::string name = tensor.name;
    AddConstant(model_, graph_, std::move(tensor));
    return name;
  }
  int64_t bytes() const { return bytes_; }

 private:
  Model& model_;
  Graph& graph_;
  int64_t bytes_ = 0;
};

Function* FunctionOf(Model& model, const Graph& graph) {
  const Graph* root = &graph;
  while (root->parent != nullptr) root = root->parent;
  for (Function& function : model.functions) {
    if (function.body.get() == root) return &function;
  }
  return nullptr;
}

}  // namespace

int64_t OpsetAt(const Model& model, const Graph& graph) {
  const Graph* root = &graph;
  while (root->parent != nullptr) root = root->parent;
  if (const Function* function = FunctionOfBody(model, root); function != nullptr) {
    const auto it = function->opset_imports.find("");
    return it == function->opset_imports.end() ? 0 : it->second;
  }
  return model.OpsetVersion("");
}

bool IsPureLookup(const Weight& weight) {
  for (const WeightUse& use : weight.uses) {
    if (use.role != WeightRole::kEmbedding || !use.permutation.empty() ||
        use.node->inputs.size() != 2 || use.node->inputs[0] != weight.source.value ||
        use.node->outputs.size() != 1) {
      return false;
    }
  }
  return weight.dtype == DType::kFloat;
}

int64_t EmitFolded(Model& model, const Weight& weight, QuantizedConstants c, NameScope& names) {
  Graph& graph = *weight.source.graph;
  const std::string value = weight.source.value;
  const int64_t opset = OpsetAt(model, graph);
  RemoveSource(weight);
  Constants constants(model, graph);
  Nodes nodes;
  const auto next = [&](absl::string_view what) {
    return names.Fresh(absl::StrCat(value, "_", what));
  };
  std::string at =
      constants.Put(MakeTensor(next("q"), c.dtype, c.stored_dims, std::move(c.integers)));
  const auto step = [&](const std::string& op, std::vector<std::string> more,
                        absl::string_view what) {
    std::vector<std::string> inputs = {at};
    inputs.insert(inputs.end(), more.begin(), more.end());
    std::string output = next(what);
    Node* node = Add(nodes, weight, names, op, std::move(inputs), output);
    at = output;
    return node;
  };
  SetCast(step("Cast", {}, "float"), DType::kFloat);
  if (!c.zero_points.empty()) {
    const std::string zero =
        constants.Put(MakeTensor(next("zero_point"), DType::kUint8, c.scale_dims, c.zero_points));
    const std::string zero_float = next("zero_point_float");
    SetCast(Add(nodes, weight, names, "Cast", {zero}, zero_float), DType::kFloat);
    step("Sub", {zero_float}, "centred");
  }
  std::string scale = constants.Put(ScaleTensor(next("scale"), c));
  if (c.half_scales) {
    const std::string wide = next("scale_float");
    SetCast(Add(nodes, weight, names, "Cast", {scale}, wide), DType::kFloat);
    scale = wide;
  }
  step("Mul", {scale}, "scaled");
  const auto ints = [&](absl::string_view what, std::vector<int64_t> values) {
    return constants.Put(
        Tensor::FromInt64s(next(what), {static_cast<int64_t>(values.size())}, values));
  };
  if (c.reshaped) {
    if (c.padded) {
      step("Reshape", {ints("rows_shape", {c.outer, -1, c.inner})}, "rows");
      if (opset >= 10) {
        step("Slice", {ints("from", {0}), ints("to", {c.length}), ints("axis", {1})}, "cut");
      } else {
        Node* slice = step("Slice", {}, "cut");
        slice->SetInts("starts", {0});
        slice->SetInts("ends", {c.length});
        slice->SetInts("axes", {1});
      }
    }
    step("Reshape", {ints("shape", weight.dims)}, "shaped");
  }
  if (!c.input_scales.empty()) {
    Shape dims(weight.dims.size(), 1);
    dims[static_cast<size_t>(c.input_axis)] = static_cast<int64_t>(c.input_scales.size());
    step("Mul", {constants.Put(Tensor::FromFloats(next("input_scale"), dims, c.input_scales))},
         "rescaled");
  }
  if (weight.dtype != DType::kFloat) SetCast(step("Cast", {}, "cast"), weight.dtype);
  nodes.back()->outputs[0] = value;
  PrependNodes(graph, std::move(nodes));
  return constants.bytes();
}

int64_t EmitLookup(Model& model, const Weight& weight, QuantizedConstants c, NameScope& names) {
  Graph& graph = *weight.source.graph;
  const std::string value = weight.source.value;
  RemoveSource(weight);
  Constants constants(model, graph);
  const auto next = [&](absl::string_view what) {
    return names.Fresh(absl::StrCat(value, "_", what));
  };
  const bool one_scale = c.scales.size() == 1;
  const std::string q =
      constants.Put(MakeTensor(next("q"), c.dtype, c.stored_dims, std::move(c.integers)));
  const std::string scale = constants.Put(ScaleTensor(next("scale"), c));
  std::string zero;
  if (!c.zero_points.empty()) {
    zero =
        constants.Put(MakeTensor(next("zero_point"), DType::kUint8, c.scale_dims, c.zero_points));
  }
  std::string input_scale;  // along the last axis of what is looked up
  if (!c.input_scales.empty()) {
    input_scale = constants.Put(Tensor::FromFloats(
        next("input_scale"), {static_cast<int64_t>(c.input_scales.size())}, c.input_scales));
  }
  for (const WeightUse& use : weight.uses) {
    Node& gather = *use.node;
    const std::string rows = gather.outputs[0];
    const std::string indices = gather.inputs[1];
    gather.inputs[0] = q;
    gather.outputs[0] = names.Fresh(absl::StrCat(rows, "_q"));
    Nodes nodes;
    const auto looked_up = [&](const std::string& table, absl::string_view what, bool cast) {
      std::string at = table;
      if (!one_scale) {
        at = names.Fresh(absl::StrCat(rows, "_", what));
        Add(nodes, weight, names, "Gather", {table, indices}, at)->SetInt("axis", 0);
      }
      if (cast) {
        const std::string wide = names.Fresh(absl::StrCat(rows, "_", what, "_float"));
        SetCast(Add(nodes, weight, names, "Cast", {at}, wide), DType::kFloat);
        at = wide;
      }
      return at;
    };
    std::string at = names.Fresh(absl::StrCat(rows, "_float"));
    SetCast(Add(nodes, weight, names, "Cast", {gather.outputs[0]}, at), DType::kFloat);
    if (!zero.empty()) {
      const std::string z = looked_up(zero, "zero_point", true);
      const std::string centred = names.Fresh(absl::StrCat(rows, "_centred"));
      Add(nodes, weight, names, "Sub", {at, z}, centred);
      at = centred;
    }
    const std::string s = looked_up(scale, "scale", c.half_scales);
    if (input_scale.empty()) {
      Add(nodes, weight, names, "Mul", {at, s}, rows);
    } else {
      const std::string scaled = names.Fresh(absl::StrCat(rows, "_scaled"));
      Add(nodes, weight, names, "Mul", {at, s}, scaled);
      Add(nodes, weight, names, "Mul", {scaled, input_scale}, rows);
    }
    InsertAfter(*use.graph, &gather, std::move(nodes));
  }
  return constants.bytes();
}

int64_t EmitBlockLookup(Model& model, const Weight& weight, QuantizedConstants c,
                        int64_t group_size, NameScope& names) {
  Graph& graph = *weight.source.graph;
  const std::string value = weight.source.value;
  RemoveSource(weight);
  Constants constants(model, graph);
  const auto next = [&](absl::string_view what) {
    return names.Fresh(absl::StrCat(value, "_", what));
  };
  const std::string q =
      constants.Put(MakeTensor(next("q"), c.dtype, weight.dims, std::move(c.integers)));
  c.scale_dims = {c.stored_dims[0], c.stored_dims[1]};
  const std::string scale = constants.Put(ScaleTensor(next("scale"), c));
  for (const WeightUse& use : weight.uses) {
    Node& gather = *use.node;
    gather.op_type = "GatherBlockQuantized";
    gather.domain = "com.microsoft";
    gather.inputs = {q, gather.inputs[1], scale};
    gather.RemoveAttribute("axis");
    gather.SetInt("gather_axis", 0);
    gather.SetInt("quantize_axis", 1);
    gather.SetInt("block_size", group_size);
    gather.provenance = {weight.name, "quantize_weights"};
    if (c.half_scales) {  // the operator answers in the type of its scales
      const std::string rows = gather.outputs[0];
      gather.outputs[0] = names.Fresh(absl::StrCat(rows, "_fp16"));
      Nodes nodes;
      SetCast(Add(nodes, weight, names, "Cast", {gather.outputs[0]}, rows), DType::kFloat);
      InsertAfter(*use.graph, &gather, std::move(nodes));
    }
    if (Function* function = FunctionOf(model, *use.graph); function != nullptr) {
      function->opset_imports.emplace("com.microsoft", 1);
    }
  }
  model.opset_imports.emplace("com.microsoft", 1);
  return constants.bytes();
}

}  // namespace lathe::engine
