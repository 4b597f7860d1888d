// Element types under the engine's name.
#ifndef LATHE_WORKER_ENGINE_TENSOR_DTYPE_H_
#define LATHE_WORKER_ENGINE_TENSOR_DTYPE_H_

#include "common/dtype.h"

namespace lathe::engine {

using lathe::DType;
using lathe::DTypeBits;
using lathe::DTypeBytes;
using lathe::DTypeName;
using lathe::IsFloat;

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TENSOR_DTYPE_H_
