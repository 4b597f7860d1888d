// What a job process sees of its worker's environment.
#ifndef LATHE_WORKER_AGENT_JOB_ENVIRONMENT_H_
#define LATHE_WORKER_AGENT_JOB_ENVIRONMENT_H_

#include <string>
#include <vector>

namespace lathe::worker {

// "NAME=value": nothing of the worker's environment but what tunes libraries and tools. No token,
// no proxy, no home.
std::vector<std::string> JobEnvironment();

}  // namespace lathe::worker

#endif  // LATHE_WORKER_AGENT_JOB_ENVIRONMENT_H_
