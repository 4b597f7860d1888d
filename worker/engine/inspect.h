// What is in a model, and which methods apply to which of its layers (internal to engine.h).
#ifndef LATHE_WORKER_ENGINE_INSPECT_H_
#define LATHE_WORKER_ENGINE_INSPECT_H_

#include <string>

#include "absl/status/status.h"
#include "worker/engine/engine.h"
#include "worker/engine/ops/shape_inference.h"

namespace lathe::engine {

absl::Status InspectModel(const std::string& folder, const std::string& main_file,
                          const Bindings& bindings, const InspectRuntime& runtime,
                          InspectResult* result);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_INSPECT_H_
