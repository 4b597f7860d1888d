// Statuses that leave the engine (internal to it).
#ifndef LATHE_WORKER_ENGINE_ENGINE_STATUS_H_
#define LATHE_WORKER_ENGINE_ENGINE_STATUS_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace lathe::engine {

// Names a reason (common/status_reason.h), unless the status has one.
absl::Status WithDefaultReason(absl::Status status, absl::string_view reason);

// Whose fault an error is: what a model makes fail is the model's, whichever part found it.
absl::Status ModelError(absl::Status status);

// Runs `body`; memory that runs out and exceptions of libraries become a Status.
absl::Status CatchExceptions(const std::function<absl::Status()>& body);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_ENGINE_STATUS_H_
