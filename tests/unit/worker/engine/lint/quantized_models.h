// Quantized models in the engine's IR: whole, or with one thing wrong that a test changes.
#ifndef LATHE_TESTS_UNIT_WORKER_ENGINE_LINT_QUANTIZED_MODELS_H_
#define LATHE_TESTS_UNIT_WORKER_ENGINE_LINT_QUANTIZED_MODELS_H_

#include <cstring>
#include <string>
#include <vector>

#include "tests/support/graph_builder.h"

namespace lathe::engine::testing {

template <typename T>
Tensor Raw(const std::string& name, DType dtype, const Shape& dims, const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return Tensor::Make(name, dtype, dims, std::move(bytes)).value();
}

// `value` everywhere, of an 8-bit, 16-bit or 32-bit integer type.
inline Tensor Filled(const std::string& name, DType dtype, const Shape& dims, int value) {
  const auto count = static_cast<size_t>(Elements(dims));
  switch (dtype) {
    case DType::kInt32:
      return Raw(name, dtype, dims, std::vector<int32_t>(count, value));
    case DType::kUint16:
      return Raw(name, dtype, dims, std::vector<uint16_t>(count, static_cast<uint16_t>(value)));
    default:
      return Raw(name, dtype, dims, std::vector<uint8_t>(count, static_cast<uint8_t>(value)));
  }
}

inline Tensor Scale(const std::string& name, float value) {
  return Tensor::FromFloats(name, {}, std::vector<float>{value});
}

inline Tensor Scales(const std::string& name, int64_t count, float value) {
  return Tensor::FromFloats(name, {count}, std::vector<float>(static_cast<size_t>(count), value));
}

// Replaces an initializer of the same name.
inline void Replace(Model& model, Tensor tensor) {
  AddInitializer(*model.graph, std::move(tensor));
}

inline ValueInfo Shaped(const std::string& name, const Shape& dims, DType dtype = DType::kFloat) {
  ValueInfo info = Info(name, dtype);
  info.dims.emplace();
  for (const int64_t extent : dims) info.dims->push_back({extent, ""});
  return info;
}

// QuantizeLinear -> DequantizeLinear: `value` becomes <prefix>_d with constants <prefix>_s and
// <prefix>_z.
inline void AddPair(Graph& graph, const std::string& value, const std::string& prefix, float scale,
                    int zero, DType dtype = DType::kUint8) {
  AddInitializer(graph, Scale(prefix + "_s", scale));
  AddInitializer(graph, Filled(prefix + "_z", dtype, {}, zero));
  AddNode(graph, "QuantizeLinear", {value, prefix + "_s", prefix + "_z"}, {prefix + "_q"},
          prefix + "_quantize");
  AddNode(graph, "DequantizeLinear", {prefix + "_q", prefix + "_s", prefix + "_z"}, {prefix + "_d"},
          prefix + "_dequantize");
}

// What a linear model is made of; tests change a field.
struct Linear {
  std::string op = "Conv";
  Shape weight_dims = {4, 4, 3, 3};
  DType weight = DType::kInt8;
  int weight_value = 50;
  int64_t axis = 0;
  int64_t channels = 4;
  DType data = DType::kUint8;
  int data_zero = 128;
  bool data_quantized = true;
  std::string bias = "int32";  // "float", "": none
  float bias_scale = 0.0002f;  // 0.02 x 0.01
  std::string activation;
  bool output_quantized = true;
  DType output = DType::kUint8;
  float output_scale = 0.05f;
  int output_zero = 128;
  int64_t opset = 21;
};

// x -> [Q -> DQ] -> op(DQ(w), DQ(b)) -> [activation] -> [Q -> DQ] -> y. The operator is called
// "layer"; its constants w_q, w_s, w_z, b_q, b_s, b_z.
inline Model LinearModel(const Linear& form = {}) {
  Model model = NewModel(form.opset, form.opset >= 21 ? 10 : 8);
  Graph& graph = *model.graph;
  const bool conv = form.op == "Conv" || form.op == "ConvTranspose";
  graph.inputs.push_back(
      Shaped("x", conv ? Shape{1, form.weight_dims[1], 6, 6} : Shape{2, form.weight_dims[0]}));
  if (form.data_quantized) AddPair(graph, "x", "x", 0.02f, form.data_zero, form.data);
  AddInitializer(graph, Filled("w_q", form.weight, form.weight_dims, form.weight_value));
  AddInitializer(graph, Scales("w_s", form.channels, 0.01f));
  AddInitializer(graph, Filled("w_z", form.weight, {form.channels}, 0));
  AddNode(graph, "DequantizeLinear", {"w_q", "w_s", "w_z"}, {"w_d"}).SetInt("axis", form.axis);
  std::string bias;
  if (form.bias == "float") {
    AddInitializer(graph, Scales("b", form.channels, 0.5f));
    bias = "b";
  } else if (form.bias == "int32") {
    AddInitializer(graph, Filled("b_q", DType::kInt32, {form.channels}, 1000));
    AddInitializer(graph, Scales("b_s", form.channels, form.bias_scale));
    AddInitializer(graph, Filled("b_z", DType::kInt32, {form.channels}, 0));
    AddNode(graph, "DequantizeLinear", {"b_q", "b_s", "b_z"}, {"b_d"}).SetInt("axis", 0);
    bias = "b_d";
  }
  std::vector<std::string> inputs = {form.data_quantized ? "x_d" : "x", "w_d"};
  if (form.op != "MatMul" && !bias.empty()) inputs.push_back(bias);
  AddNode(graph, form.op, inputs, {"h"}, "layer");
  std::string last = "h";
  if (form.op == "MatMul" && !bias.empty()) {
    AddNode(graph, "Add", {"h", bias}, {"sum"}, "add");
    last = "sum";
  }
  if (!form.activation.empty()) {
    std::vector<std::string> operands = {last};
    if (form.activation == "Clip") {
      AddInitializer(graph, Scale("low", 0));
      AddInitializer(graph, Scale("high", 6));
      operands = {last, "low", "high"};
    }
    AddNode(graph, form.activation, operands, {"a"}, "act");
    last = "a";
  }
  if (form.output_quantized) {
    AddPair(graph, last, "o", form.output_scale, form.output_zero, form.output);
    last = "o_d";
  }
  AddNode(graph, "Identity", {last}, {"y"});
  AddOutput(graph, "y");
  return model;
}

inline Linear Product(const std::string& op = "MatMul") {
  Linear form;
  form.op = op;
  form.weight_dims = {8, 4};
  form.axis = 1;
  return form;
}

// x [-> Q -> DQ] -> op -> [Q -> DQ] -> y.
inline Model UnaryModel(const std::string& op, bool quantized = true, float output_scale = 0.02f,
                        int output_zero = 128, DType dtype = DType::kUint8) {
  Model model = NewModel(21, 10);
  Graph& graph = *model.graph;
  graph.inputs.push_back(Shaped("x", {1, 4, 6, 6}));
  if (quantized) AddPair(graph, "x", "x", 0.02f, 128, dtype);
  AddNode(graph, op, {quantized ? "x_d" : "x"}, {"h"}, "layer");
  if (quantized) AddPair(graph, "h", "o", output_scale, output_zero, dtype);
  AddNode(graph, "Identity", {quantized ? "o_d" : "h"}, {"y"});
  AddOutput(graph, "y");
  return model;
}

// DQ(x), DQ(z) or z -> Add -> Q -> DQ.
inline Model AddModel(DType second, bool second_quantized = true) {
  Model model = NewModel(21, 10);
  Graph& graph = *model.graph;
  graph.inputs.push_back(Shaped("x", {1, 4}));
  graph.inputs.push_back(Shaped("z", {1, 4}));
  AddPair(graph, "x", "x", 0.02f, 128);
  if (second_quantized) AddPair(graph, "z", "z", 0.03f, 0, second);
  AddNode(graph, "Add", {"x_d", second_quantized ? "z_d" : "z"}, {"h"}, "layer");
  AddPair(graph, "h", "o", 0.05f, 128);
  AddNode(graph, "Identity", {"o_d"}, {"y"});
  AddOutput(graph, "y");
  return model;
}

// QLinearMatMul of the file's own.
inline Model IntegerModel(DType data, DType weight, int weight_value = 50) {
  Model model = NewModel(21, 10);
  Graph& graph = *model.graph;
  graph.inputs.push_back(Shaped("x", {2, 8}, data));
  AddInitializer(graph, Scale("s", 0.02f));
  AddInitializer(graph, Filled("x_z", data, {}, 0));
  AddInitializer(graph, Filled("w", weight, {8, 4}, weight_value));
  AddInitializer(graph, Filled("w_z", weight, {}, 0));
  AddNode(graph, "QLinearMatMul", {"x", "s", "x_z", "w", "s", "w_z", "s", "x_z"}, {"y"}, "layer");
  AddOutput(graph, "y", data);
  return model;
}

// MatMulNBits with an attribute or input too many or too few.
inline Model BlockModel(int64_t bits, int64_t level, bool float_zeros = false,
                        bool group_index = false) {
  Model model = NewModel(21, 10);
  Graph& graph = *model.graph;
  graph.inputs.push_back(Shaped("x", {1, 32}));
  AddInitializer(graph, Filled("b", DType::kUint8, {4, 1, 4 * bits}, 3));
  AddInitializer(graph, Scales("s", 4, 0.01f));
  AddInitializer(graph, Scales("z", 4, 8));
  AddInitializer(graph, Filled("g", DType::kInt32, {32}, 0));
  model.opset_imports["com.microsoft"] = 1;
  std::vector<std::string> inputs = {"x", "b", "s", float_zeros ? "z" : "", group_index ? "g" : ""};
  while (inputs.back().empty()) inputs.pop_back();
  Node& node = AddNode(graph, "MatMulNBits", inputs, {"y"}, "layer", "com.microsoft");
  node.SetInt("K", 32);
  node.SetInt("N", 4);
  node.SetInt("bits", bits);
  node.SetInt("block_size", 32);
  if (level != 0) node.SetInt("accuracy_level", level);
  AddOutput(graph, "y");
  return model;
}

// A float convolution of 4 channels to `channels`.
inline Model FloatConvModel(int64_t channels, DType dtype = DType::kFloat) {
  Model model = NewModel(21, 10);
  Graph& graph = *model.graph;
  graph.inputs.push_back(Shaped("x", {1, 4, 6, 6}, dtype));
  if (dtype == DType::kFloat) {
    AddWeight(graph, "w", {channels, 4, 3, 3});
  } else {
    AddInitializer(graph, Zeros("w", dtype, {channels, 4, 3, 3}));
  }
  AddNode(graph, "Conv", {"x", "w"}, {"y"}, "layer");
  AddOutput(graph, "y", dtype);
  return model;
}

// DynamicQuantizeLinear -> `op` -> Cast -> Mul.
inline Model DynamicModel(const std::string& op, int weight_value = 50) {
  Model model = NewModel(21, 10);
  Graph& graph = *model.graph;
  const bool conv = op == "ConvInteger";
  graph.inputs.push_back(Shaped("x", conv ? Shape{1, 4, 6, 6} : Shape{2, 4}));
  AddInitializer(graph,
                 Filled("w", DType::kInt8, conv ? Shape{4, 4, 3, 3} : Shape{4, 4}, weight_value));
  AddInitializer(graph, Scale("w_s", 0.01f));
  AddNode(graph, "DynamicQuantizeLinear", {"x"}, {"q", "s", "z"});
  AddNode(graph, op, {"q", "w", "z"}, {"i"}, "layer");
  AddNode(graph, "Cast", {"i"}, {"f"}).SetInt("to", static_cast<int64_t>(DType::kFloat));
  AddNode(graph, "Mul", {"s", "w_s"}, {"scale"});
  AddNode(graph, "Mul", {"f", "scale"}, {"y"});
  AddOutput(graph, "y");
  return model;
}

}  // namespace lathe::engine::testing

#endif  // LATHE_TESTS_UNIT_WORKER_ENGINE_LINT_QUANTIZED_MODELS_H_
