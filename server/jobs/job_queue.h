// Which job is next: priority, then fairness between tenants, then age.
#ifndef LATHE_SERVER_JOBS_JOB_QUEUE_H_
#define LATHE_SERVER_JOBS_JOB_QUEUE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"

namespace lathe::server {

struct QueuedJob {
  std::string job;
  std::string tenant;
  // Higher is served first.
  int priority = 0;
  // Order of creation; lower is older.
  int64_t order = 0;
  // When it could first run: for the oldest-age gauge and the queue-duration histogram.
  absl::Time runnable_time;
};

// Jobs that could run now. Pure; not thread-safe. A tenant that was just served comes after all
// tenants that wait at the same priority, so one with a thousand jobs costs one with a single job
// at most one slot.
class JobQueue {
 public:
  // A job that is already queued is replaced.
  void Add(QueuedJob job);
  // False when it was not queued.
  bool Remove(const std::string& job);
  size_t size() const { return jobs_.size(); }

  // Takes the first job that satisfies `can_run`; those that do not are passed over, never waited
  // for. nullopt: none does. Cost: logarithmic in the queue, plus one call of `can_run` for each
  // job passed over.
  std::optional<QueuedJob> Take(const std::function<bool(const QueuedJob&)>& can_run);

  // InfiniteFuture when empty. Linear.
  absl::Time OldestRunnable() const;

 private:
  // Jobs of one tenant at one priority, by age.
  using Line = std::map<int64_t, std::string>;
  // Lines of one priority, by tenant.
  using Level = std::map<std::string, Line>;

  absl::flat_hash_map<std::string, QueuedJob> jobs_;
  std::map<int, Level, std::greater<int>> levels_;
  // When a tenant was last served, in a count of servings. Tenants never served: 0.
  absl::flat_hash_map<std::string, int64_t> last_served_;
  int64_t servings_ = 0;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_JOBS_JOB_QUEUE_H_
