#include "worker/engine/graph/value_info.h"

#include <limits>
#include <utility>
#include <vector>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "onnx/onnx_pb.h"

namespace lathe::engine {
namespace {

Dim ToDim(const onnx::TensorShapeProto::Dimension& proto) {
  Dim dim;
  if (proto.has_dim_value()) dim.value = proto.dim_value();
  if (proto.has_dim_param()) dim.symbol = proto.dim_param();
  return dim;
}

void SetDim(const Dim& dim, onnx::TensorShapeProto::Dimension& proto) {
  if (dim.value.has_value()) {
    proto.set_dim_value(*dim.value);
  } else if (!dim.symbol.empty()) {
    proto.set_dim_param(dim.symbol);
  } else {
    proto.clear_dim_value();
    proto.clear_dim_param();
  }
}

}  // namespace

bool ParseValueInfo(absl::string_view serialized, ValueInfo& info) {
  if (serialized.size() > std::numeric_limits<int>::max()) return false;
  onnx::ValueInfoProto proto;
  if (!proto.ParseFromArray(serialized.data(), static_cast<int>(serialized.size()))) return false;
  info.name = proto.name();
  if (proto.type().has_tensor_type()) {
    const onnx::TypeProto::Tensor& tensor = proto.type().tensor_type();
    info.dtype = static_cast<DType>(tensor.elem_type());
    if (tensor.has_shape()) {
      info.dims.emplace();
      info.dims->reserve(tensor.shape().dim_size());
      for (const auto& dim : tensor.shape().dim()) info.dims->push_back(ToDim(dim));
    }
  }
  info.original.assign(serialized.data(), serialized.size());
  info.modified = false;
  return true;
}

std::string SerializeValueInfo(const ValueInfo& info) {
  if (!info.modified) return info.original;
  onnx::ValueInfoProto proto;
  // What does not parse was not read from a file; nothing to keep then.
  if (!proto.ParseFromString(info.original)) proto.Clear();
  proto.set_name(info.name);
  if (info.dtype != DType::kUndefined) {
    onnx::TypeProto::Tensor& tensor = *proto.mutable_type()->mutable_tensor_type();
    tensor.set_elem_type(static_cast<int32_t>(info.dtype));
    if (!info.dims.has_value()) {
      tensor.clear_shape();
    } else {
      auto& dims = *tensor.mutable_shape()->mutable_dim();
      while (dims.size() > static_cast<int>(info.dims->size())) dims.RemoveLast();
      while (dims.size() < static_cast<int>(info.dims->size())) dims.Add();
      for (int i = 0; i < dims.size(); ++i) SetDim((*info.dims)[i], dims[i]);
    }
  }
  std::string out;
  {
    google::protobuf::io::StringOutputStream stream(&out);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    proto.SerializeToCodedStream(&coded);
  }
  return out;
}

}  // namespace lathe::engine
