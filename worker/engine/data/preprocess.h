// The recipe's `preprocess` section (common/data/preprocess.h), applied to one input.
#ifndef LATHE_WORKER_ENGINE_DATA_PREPROCESS_H_
#define LATHE_WORKER_ENGINE_DATA_PREPROCESS_H_

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "common/data/preprocess.h"
#include "worker/engine/data/convert.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

// What is done to each example of one array.
class Transform {
 public:
  // `shape`: of ShapeAfter with this `preprocess`.
  Transform(const Preprocess& preprocess, PreprocessShape shape)
      : preprocess_(preprocess), shape_(std::move(shape)) {}
  // Shape of an example afterwards.
  const Shape& out_shape() const { return shape_.out; }
  // One example of type `from` to floats of type `to`.
  ConvertError Apply(DType from, const char* in, DType to, char* out) const;

 private:
  Preprocess preprocess_;
  PreprocessShape shape_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_DATA_PREPROCESS_H_
