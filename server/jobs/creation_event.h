// The first event of a job, which is not stored.
#ifndef LATHE_SERVER_JOBS_CREATION_EVENT_H_
#define LATHE_SERVER_JOBS_CREATION_EVENT_H_

#include <cstdint>
#include <vector>

#include "lathe/v1/jobs.pb.h"

namespace lathe::server {

// Puts event 1, "the job is PENDING", before the events of `job` after sequence number `after`,
// when it belongs there and the store does not have it. It would hold the job once more in every
// creation that waits for the disk, and it follows from what never changes of a job. The store has
// event 1 of jobs that ended as they were made (result cache), of inspections, and of jobs of older
// servers.
void AddCreationEvent(const v1::Job& job, int64_t after, std::vector<v1::JobEvent>* events);

}  // namespace lathe::server

#endif  // LATHE_SERVER_JOBS_CREATION_EVENT_H_
