#ifndef LATHE_WORKER_ENGINE_KERNELS_REFERENCE_BACKEND_H_
#define LATHE_WORKER_ENGINE_KERNELS_REFERENCE_BACKEND_H_

#include <memory>

#include "worker/engine/kernels/backend.h"

namespace lathe::engine {

// Plain loops in the order of the definitions, products by OpenBLAS; plain layouts only.
std::unique_ptr<Backend> MakeReferenceBackend();

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_REFERENCE_BACKEND_H_
