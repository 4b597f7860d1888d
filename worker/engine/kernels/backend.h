// Who does the heavy arithmetic: convolutions, products, pools, normalizations, recurrent layers.
#ifndef LATHE_WORKER_ENGINE_KERNELS_BACKEND_H_
#define LATHE_WORKER_ENGINE_KERNELS_BACKEND_H_

#include <memory>

#include "absl/strings/string_view.h"

namespace lathe::engine {

enum class BackendKind {
  kReference,  // Eigen and OpenBLAS: plain, and what the other is held against
  kOneDnn,     // oneDNN's primitives; what it lacks is done as kReference does
};

// One thread; not thread-safe.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual absl::string_view name() const = 0;
};

std::unique_ptr<Backend> MakeBackend(BackendKind kind);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_BACKEND_H_
