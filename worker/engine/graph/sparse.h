// Serialized SparseTensorProtos.
#ifndef LATHE_WORKER_ENGINE_GRAPH_SPARSE_H_
#define LATHE_WORKER_ENGINE_GRAPH_SPARSE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

// A dense tensor of zeros but for `values`, at `indices`: flat positions [count], or coordinates
// [count, rank].
struct SparseTensor {
  Shape dims;  // of the dense tensor
  Tensor values;
  Tensor indices;
};

// The parts point into `serialized` where they can, and live no longer than it. INVALID_ARGUMENT
// when it does not parse or a part is malformed; whether the parts fit together is not checked.
absl::StatusOr<SparseTensor> ReadSparse(const Bytes& serialized);

// The same as a dense tensor called `name`, of a numeric type of whole bytes. INVALID_ARGUMENT when
// the parts do not fit together or the dense tensor would take more than kMaxDenseBytes.
absl::StatusOr<Tensor> Densify(const std::string& name, const Bytes& serialized);
inline constexpr int64_t kMaxDenseBytes = int64_t{4} << 30;

// What can be told without looking at the elements.
struct SparseShape {
  DType dtype = DType::kUndefined;
  Shape dims;  // of the dense tensor; empty when the bytes do not parse
};

SparseShape ReadSparseShape(const Bytes& serialized);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_SPARSE_H_
