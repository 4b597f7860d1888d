#include "worker/engine/kernels/backend.h"

#include "worker/engine/kernels/onednn_backend.h"
#include "worker/engine/kernels/reference_backend.h"

namespace lathe::engine {

std::unique_ptr<Backend> MakeBackend(BackendKind kind) {
  if (kind == BackendKind::kReference) return MakeReferenceBackend();
  return MakeOneDnnBackend();
}

}  // namespace lathe::engine
