// How lathed starts its local workers: its own configuration as flags of lathe-worker.
#ifndef LATHE_SERVER_WORKER_ARGUMENTS_H_
#define LATHE_SERVER_WORKER_ARGUMENTS_H_

#include <string>
#include <vector>

#include "server/config.h"

namespace lathe::server {

// `address`: HOST:PORT of the loopback port without TLS that is for them.
std::vector<std::string> WorkerArguments(const Config& config, const std::string& address);

}  // namespace lathe::server

#endif  // LATHE_SERVER_WORKER_ARGUMENTS_H_
