// What a locked-in process must be able to read to load ONNX Runtime.
#ifndef LATHE_WORKER_JOB_ORT_ACCESS_H_
#define LATHE_WORKER_JOB_ORT_ACCESS_H_

#include <string>

#include "worker/job/sandbox/sandbox.h"

namespace lathe::worker {

// Lets the process read the library at `path` and the shared libraries beside it, those of the
// system, and what the system tells of the processor, by which the library chooses its kernels.
// Files and folders that do not exist are left out.
void AllowOrtLibrary(const std::string& path, SandboxOptions* options);

}  // namespace lathe::worker

#endif  // LATHE_WORKER_JOB_ORT_ACCESS_H_
