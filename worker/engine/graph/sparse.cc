#include "worker/engine/graph/sparse.h"

#include <onnx/onnx_pb.h>

namespace lathe::engine {

SparseShape ReadSparseShape(const std::string& serialized) {
  SparseShape shape;
  onnx::SparseTensorProto proto;
  if (!proto.ParseFromString(serialized)) return shape;
  shape.dtype = static_cast<DType>(proto.values().data_type());
  shape.dims.assign(proto.dims().begin(), proto.dims().end());
  return shape;
}

}  // namespace lathe::engine
