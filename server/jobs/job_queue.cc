#include "server/jobs/job_queue.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace lathe::server {

void JobQueue::Add(QueuedJob job) {
  Remove(job.job);
  levels_[job.priority][job.tenant][job.order] = job.job;
  std::string name = job.job;
  jobs_.emplace(std::move(name), std::move(job));
}

bool JobQueue::Remove(const std::string& job) {
  const auto found = jobs_.find(job);
  if (found == jobs_.end()) return false;
  const auto level = levels_.find(found->second.priority);
  const auto line = level->second.find(found->second.tenant);
  line->second.erase(found->second.order);
  if (line->second.empty()) level->second.erase(line);
  if (level->second.empty()) levels_.erase(level);
  jobs_.erase(found);
  return true;
}

std::optional<QueuedJob> JobQueue::Take(const std::function<bool(const QueuedJob&)>& can_run) {
  for (const auto& level : levels_) {
    // Tenants by when they were last served, then by the age of their oldest job.
    struct Turn {
      int64_t served;
      int64_t oldest;
      const Line* line;
    };
    std::vector<Turn> turns;
    for (const auto& entry : level.second) {
      const auto served = last_served_.find(entry.first);
      turns.push_back(Turn{served == last_served_.end() ? 0 : served->second,
                           entry.second.begin()->first, &entry.second});
    }
    std::sort(turns.begin(), turns.end(), [](const Turn& a, const Turn& b) {
      return std::pair(a.served, a.oldest) < std::pair(b.served, b.oldest);
    });
    for (const Turn& turn : turns) {
      for (const auto& waiting : *turn.line) {
        const QueuedJob& candidate = jobs_.at(waiting.second);
        if (!can_run(candidate)) continue;
        QueuedJob taken = candidate;
        last_served_[taken.tenant] = ++servings_;
        Remove(taken.job);
        return taken;
      }
    }
  }
  return std::nullopt;
}

absl::Time JobQueue::OldestRunnable() const {
  absl::Time oldest = absl::InfiniteFuture();
  for (const auto& entry : jobs_) oldest = std::min(oldest, entry.second.runnable_time);
  return oldest;
}

}  // namespace lathe::server
