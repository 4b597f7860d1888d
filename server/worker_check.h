// Whether local workers will be able to start as configured.
#ifndef LATHE_SERVER_WORKER_CHECK_H_
#define LATHE_SERVER_WORKER_CHECK_H_

#include <string>

#include "absl/status/status.h"
#include "server/config.h"

namespace lathe::server {

// The program of the local workers: what --worker-binary says, or lathe-worker beside this one.
std::string WorkerBinary(const Config& config);

// Lets a worker check what --ort-library names, where there is such a flag and there are local
// workers. A worker that ends at once would otherwise be started again and again while jobs wait.
// INVALID_ARGUMENT when it refuses; it has told why on standard error.
absl::Status CheckWorkers(const Config& config);

}  // namespace lathe::server

#endif  // LATHE_SERVER_WORKER_CHECK_H_
