// Small models as onnx protos: what the reader is fed with in tests.
#ifndef LATHE_TESTS_SUPPORT_ONNX_MODELS_H_
#define LATHE_TESTS_SUPPORT_ONNX_MODELS_H_

#include <onnx/onnx_pb.h>

#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <sstream>
#include <string>

namespace lathe::engine::testing {

inline void SetType(onnx::ValueInfoProto& info, const std::string& name, int64_t width) {
  info.set_name(name);
  onnx::TypeProto::Tensor& type = *info.mutable_type()->mutable_tensor_type();
  type.set_elem_type(onnx::TensorProto::FLOAT);
  type.mutable_shape()->add_dim()->set_dim_param("batch");
  type.mutable_shape()->add_dim()->set_dim_value(width);
}

inline onnx::NodeProto& AddProtoNode(onnx::GraphProto& graph, const std::string& op,
                                     std::initializer_list<const char*> inputs,
                                     std::initializer_list<const char*> outputs) {
  onnx::NodeProto& node = *graph.add_node();
  node.set_op_type(op);
  for (const char* input : inputs) node.add_input(input);
  for (const char* output : outputs) node.add_output(output);
  return node;
}

// float32 zeros in raw_data.
inline onnx::TensorProto& AddProtoWeight(onnx::GraphProto& graph, const std::string& name,
                                         std::initializer_list<int64_t> dims) {
  onnx::TensorProto& tensor = *graph.add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  int64_t count = 1;
  for (const int64_t dim : dims) {
    tensor.add_dims(dim);
    count *= dim;
  }
  tensor.set_raw_data(std::string(count * 4, '\0'));
  return tensor;
}

// y = Relu(x W), W: [4, 3].
inline onnx::ModelProto MatMulModel() {
  onnx::ModelProto model;
  model.set_ir_version(8);
  model.set_producer_name("tests");
  onnx::GraphProto& graph = *model.mutable_graph();
  graph.set_name("main");
  AddProtoNode(graph, "MatMul", {"x", "W"}, {"h"}).set_name("fc");
  AddProtoNode(graph, "Relu", {"h"}, {"y"});
  std::string data;
  for (int i = 0; i < 12; ++i) {
    const float value = 0.25f * static_cast<float>(i) - 1;
    data.append(reinterpret_cast<const char*>(&value), 4);
  }
  AddProtoWeight(graph, "W", {4, 3}).set_raw_data(data);
  SetType(*graph.add_input(), "x", 4);
  SetType(*graph.add_output(), "y", 3);
  onnx::OperatorSetIdProto& opset = *model.add_opset_import();
  opset.set_domain("");
  opset.set_version(17);
  return model;
}

// An empty folder of the test's own, removed with the object.
class TempFolder {
 public:
  explicit TempFolder(const std::string& parent, const std::string& name)
      : path_(std::filesystem::path(parent) / name) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string path() const { return path_.string(); }
  std::filesystem::path operator/(const std::string& file) const { return path_ / file; }
  void Write(const std::string& file, const std::string& bytes) const {
    std::ofstream(path_ / file, std::ios::binary) << bytes;
  }
  std::string Read(const std::string& file) const {
    std::ostringstream out;
    out << std::ifstream(path_ / file, std::ios::binary).rdbuf();
    return out.str();
  }

 private:
  const std::filesystem::path path_;
};

}  // namespace lathe::engine::testing

#endif  // LATHE_TESTS_SUPPORT_ONNX_MODELS_H_
