// One attempt of one job, from its lease to its completion.
#ifndef LATHE_WORKER_AGENT_ATTEMPT_H_
#define LATHE_WORKER_AGENT_ATTEMPT_H_

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "lathe/v1/workers.pb.h"
#include "worker/agent/blob_cache.h"
#include "worker/agent/connection.h"
#include "worker/agent/exit_cause.h"
#include "worker/agent/job_process.h"
#include "worker/agent/kept_states.h"
#include "worker/agent/remote_blobs.h"
#include "worker/agent/work_folder.h"
#include "worker/agent/worker_metrics.h"

namespace lathe::worker {

struct AttemptOptions {
  std::string worker_id;
  std::string job_binary;
  std::string work_root;  // attempts make their folders here
  JobLimits limits;
  int threads = 1;
  std::string ort_library;          // absolute; "": none
  int64_t checkpoint_seconds = 60;  // between states of a training; 0: none are saved
  absl::Duration hang_after = absl::Minutes(10);
  absl::Duration kill_grace = absl::Seconds(5);
  bool share_inputs =
      false;  // hard-link inputs: only when the sandbox keeps jobs from writing to them
  // How long to go on telling a server that does not answer how the attempt ended.
  absl::Duration completion_patience = absl::Minutes(10);
};

// What the attempts of a worker share. All outlive them; all are thread-safe.
struct AttemptServices {
  ServerConnection* connection = nullptr;
  RemoteBlobs* blobs = nullptr;
  BlobCache* cache = nullptr;
  WorkerMetrics* metrics = nullptr;
  KeptStates* states = nullptr;
};

// fetch inputs -> job process -> send results -> complete. Run() does it all on its thread; the
// other methods are thread-safe.
class AttemptRunner {
 public:
  AttemptRunner(AttemptOptions options, AttemptServices services, lathe::v1::Attempt attempt);

  // Returns once the server knows the end, or nobody needs to know it any more. Never throws. Call
  // once.
  void Run();

  // Ends the attempt early; the first cause counts. A result that is already computed is still sent
  // after kLeaseLost: the server's fencing decides whether it counts.
  void Stop(StopCause cause) ABSL_LOCKS_EXCLUDED(mutex_);
  // Also gives up telling the server. For the end of a drain.
  void Abandon();

  // Its state for Synchronize: progress and log lines that are new since the last acknowledged
  // report.
  lathe::v1::RunningAttempt Report() ABSL_LOCKS_EXCLUDED(mutex_);
  // The server has the last report.
  void Acknowledge() ABSL_LOCKS_EXCLUDED(mutex_);
  // The server knows the end: the attempt must not be named any more.
  bool ended() const ABSL_LOCKS_EXCLUDED(mutex_);

  const std::string& job() const { return attempt_.job(); }
  int64_t lease_token() const { return attempt_.lease_token(); }

 private:
  // What was computed, ready to be told.
  struct Outcome {
    AttemptEnd end;
    lathe::v1::AttemptSuccess success;
    int64_t peak_rss_bytes = 0;
  };

  Outcome Execute();
  absl::StatusOr<JobSpec> Prepare(const WorkFolder& folder);
  // Puts the model of `files` into `target`.
  absl::Status PlaceModel(const google::protobuf::RepeatedPtrField<lathe::v1::ModelFile>& files,
                          const WorkFolder& folder, const std::string& target);
  // Puts what an earlier attempt's training left, here or on the server, beside the job. CANCELLED
  // alone is an error: without a state training starts over.
  absl::Status PlaceState(const WorkFolder& folder, JobSpec* spec);
  JobExit RunProcess(const JobProcessOptions& options, const WorkFolder& folder);
  absl::StatusOr<lathe::v1::AttemptSuccess> SendResult(const WorkFolder& folder,
                                                       const ResultEvent& result);
  // The outcome of a failure outside the process, unless a stop caused it.
  Outcome FailedTransfer(const absl::Status& status);
  void Complete(Outcome outcome);

  void SetProgress(lathe::v1::JobProgress progress) ABSL_LOCKS_EXCLUDED(mutex_);
  void AddLogLine(const std::string& line) ABSL_LOCKS_EXCLUDED(mutex_);
  void NoteDroppedLines() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Lines from index `first` on, as many as fit.
  void CopyLogLines(size_t first, size_t most_bytes,
                    google::protobuf::RepeatedPtrField<std::string>* out) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const AttemptOptions options_;
  const AttemptServices services_;
  const lathe::v1::Attempt attempt_;
  std::vector<std::unique_ptr<BlobCache::Pin>> pins_;  // only touched by Run()
  absl::Time start_;
  CancelScope transfers_;   // fetching and sending
  CancelScope completion_;  // telling the server

  mutable absl::Mutex mutex_;
  StopCause stop_cause_ ABSL_GUARDED_BY(mutex_) = StopCause::kNone;
  JobProcess* process_ ABSL_GUARDED_BY(mutex_) = nullptr;  // while it runs
  bool computed_ ABSL_GUARDED_BY(mutex_) = false;          // a result is there and being sent
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  lathe::v1::JobProgress progress_ ABSL_GUARDED_BY(mutex_);
  int64_t peak_rss_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  // Numbers of versions of progress_: set, in the last report, acknowledged.
  int64_t progress_version_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t progress_reported_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t progress_acknowledged_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<std::string> log_lines_ ABSL_GUARDED_BY(mutex_);  // not acknowledged yet
  size_t lines_reported_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t lines_dropped_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace lathe::worker

#endif  // LATHE_WORKER_AGENT_ATTEMPT_H_
