// ONNX sparse initializers.
#ifndef LATHE_WORKER_ENGINE_METHODS_SPARSE_STORAGE_H_
#define LATHE_WORKER_ENGINE_METHODS_SPARSE_STORAGE_H_

#include <optional>
#include <string>

#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

// The IR version that brought sparse initializers.
inline constexpr int64_t kSparseIrVersion = 6;

// `tensor` as a serialized SparseTensorProto: its non-zero values in their own type, and their flat
// int64 positions, rising, as the ONNX checker wants them. nullopt when that takes as many bytes as
// the serialized dense tensor or more, or more than a protobuf holds.
//
// A value costs its own bytes and 8 for its position: float32 breaks even at two thirds of zeros,
// float16 at four fifths.
std::optional<std::string> SerializeSparseIfSmaller(const Tensor& tensor);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_SPARSE_STORAGE_H_
