// Whether jobs will be able to use ONNX Runtime's library.
#ifndef LATHE_WORKER_AGENT_ORT_CHECK_H_
#define LATHE_WORKER_AGENT_ORT_CHECK_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace lathe::worker {

// Lets `job_binary` load the library as a job does, in a locked-in process of its own, and gives
// the version it tells: "1.32.0". Errors: FAILED_PRECONDITION with what the process says is wrong;
// DEADLINE_EXCEEDED when it says nothing within `patience`; UNAVAILABLE when it cannot be started.
absl::StatusOr<std::string> CheckOrtLibrary(const std::string& job_binary,
                                            const std::string& library,
                                            absl::Duration patience = absl::Minutes(1));

}  // namespace lathe::worker

#endif  // LATHE_WORKER_AGENT_ORT_CHECK_H_
