// Turns stored constants back into the values they stand for.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_DECODE_H_
#define LATHE_WORKER_ENGINE_EVALUATE_DECODE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

// Elements [begin, begin + count) of a tensor as float32: floats of 16 to 64 bits, integers of 2 to
// 64 bits, bool. UNIMPLEMENTED for other types.
absl::StatusOr<std::vector<float>> DecodeElements(const Tensor& tensor, int64_t begin,
                                                  int64_t count);

// A serialized SparseTensorProto as a dense float tensor's values. INVALID_ARGUMENT when it is
// malformed.
struct DenseValues {
  Shape dims;
  std::vector<float> values;
};
absl::StatusOr<DenseValues> DecodeSparse(const Bytes& serialized);

// One row's worth of values packed `bits` wide from the low end of each byte, as in com.microsoft's
// block formats: value i lies in bits [i bits, (i + 1) bits) of `bytes`.
int UnpackBits(absl::string_view bytes, int64_t index, int bits);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_DECODE_H_
