#ifndef LATHE_WORKER_ENGINE_KERNELS_ONEDNN_BACKEND_H_
#define LATHE_WORKER_ENGINE_KERNELS_ONEDNN_BACKEND_H_

#include <memory>

#include "worker/engine/kernels/backend.h"

namespace lathe::engine {

// oneDNN for convolutions and pools; packed_gemm and row_kernels, which are faster where weights
// are constant and rows few, for the rest. What oneDNN cannot do is done as the reference does.
std::unique_ptr<Backend> MakeOneDnnBackend();

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_ONEDNN_BACKEND_H_
