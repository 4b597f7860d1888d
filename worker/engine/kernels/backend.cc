#include "worker/engine/kernels/backend.h"

namespace lathe::engine {
namespace {

class ReferenceBackend : public Backend {
 public:
  absl::string_view name() const override { return "reference"; }
};

}  // namespace

std::unique_ptr<Backend> MakeBackend(BackendKind) { return std::make_unique<ReferenceBackend>(); }

}  // namespace lathe::engine
