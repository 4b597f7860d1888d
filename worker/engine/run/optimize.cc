#include "worker/engine/run/optimize.h"

namespace lathe::engine {

absl::Status OptimizeForRun(Model&, Backend&) { return absl::OkStatus(); }

}  // namespace lathe::engine
