// What can be told of a serialized SparseTensorProto without making it dense.
#ifndef LATHE_WORKER_ENGINE_GRAPH_SPARSE_H_
#define LATHE_WORKER_ENGINE_GRAPH_SPARSE_H_

#include <string>

#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

struct SparseShape {
  DType dtype = DType::kUndefined;
  Shape dims;  // of the dense tensor; empty when the bytes do not parse
};

SparseShape ReadSparseShape(const std::string& serialized);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_SPARSE_H_
