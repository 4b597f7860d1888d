// Elements of one type as elements of another, without loss.
#ifndef LATHE_WORKER_ENGINE_DATA_CONVERT_H_
#define LATHE_WORKER_ENGINE_DATA_CONVERT_H_

#include <cstdint>
#include <string>

#include "worker/engine/tensor/dtype.h"

namespace lathe::engine {

// What stood in the way of a conversion; ok() when nothing did.
struct ConvertError {
  int64_t index = -1;  // of the first element that cannot be converted
  std::string what;    // "is NaN", "is 300, which uint8 cannot hold"
  bool ok() const { return index < 0; }
};

// Converts `count` elements; the types are convertible. Refused are NaN, integers that the target
// does not hold exactly, and finite floats past its range. Floats are rounded to nearest.
ConvertError Convert(DType from, const char* in, int64_t count, DType to, char* out);

// Any numbers as doubles (integers past 2^53 are rounded); NaN is refused.
ConvertError ToDoubles(DType from, const char* in, int64_t count, double* out);
// The same, NaN kept.
void ToDoublesOrNan(DType from, const char* in, int64_t count, double* out);
// Doubles as floats of type `to`; what is past its range is refused.
ConvertError FromDoubles(const double* in, int64_t count, DType to, char* out);
// Integers and booleans as int64; past 2^63 is refused.
ConvertError ToInts(DType from, const char* in, int64_t count, int64_t* out);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_DATA_CONVERT_H_
