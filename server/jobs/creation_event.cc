#include "server/jobs/creation_event.h"

namespace lathe::server {
namespace {

// The job as it was when it was made: without what has become of it since.
v1::Job AsCreated(const v1::Job& job) {
  v1::Job created = job;
  created.set_state(v1::JOB_STATE_PENDING);
  created.set_event_sequence(1);
  created.set_attempt_count(0);
  created.clear_error();
  created.clear_progress();
  created.clear_start_time();
  created.clear_end_time();
  created.clear_next_attempt_time();
  created.clear_result();
  created.clear_worker();
  return created;
}

}  // namespace

void AddCreationEvent(const v1::Job& job, int64_t after, std::vector<v1::JobEvent>* events) {
  if (after >= 1 || job.event_sequence() < 1) return;
  if (!events->empty() && events->front().sequence() == 1) return;
  v1::JobEvent event;
  event.set_sequence(1);
  *event.mutable_time() = job.create_time();
  *event.mutable_state_change() = AsCreated(job);
  events->insert(events->begin(), std::move(event));
}

}  // namespace lathe::server
