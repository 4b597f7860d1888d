#include "worker/agent/checkpoint_sender.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/digest.h"
#include "common/log.h"
#include "common/status_macros.h"

namespace lathe::worker {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(15);
constexpr absl::Duration kMaxRetryDelay = absl::Seconds(5);
// A state that the server says it lacks is uploaded again so often.
constexpr int kUploads = 3;

}  // namespace

CheckpointSender::CheckpointSender(ServerConnection* connection, RemoteBlobs* blobs,
                                   std::string job, int64_t lease_token,
                                   std::function<void(const std::string&)> log)
    : connection_(connection),
      blobs_(blobs),
      job_(std::move(job)),
      lease_token_(lease_token),
      log_(std::move(log)),
      thread_([this] { Run(); }) {}

CheckpointSender::~CheckpointSender() {
  calls_.Cancel();
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  thread_.join();
}

void CheckpointSender::Send(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  next_ = path;
}

bool CheckpointSender::Superseded() const {
  absl::MutexLock lock(&mutex_);
  return Wanted();
}

void CheckpointSender::Run() {
  while (true) {
    std::string path;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &CheckpointSender::Wanted));
      if (stop_) return;
      std::swap(path, next_);
    }
    const absl::Status sent = SendOne(path);
    // A newer one makes up for it; the end of the attempt makes it pointless.
    if (sent.ok() || Superseded()) continue;
    LogWarning("a state of the training was not kept by the server",
               {{"job", job_}, {"error", sent.message()}});
    log_(absl::StrCat("the state of the training could not be sent to the server: ",
                      sent.message()));
  }
}

absl::Status CheckpointSender::SendOne(const std::string& path) {
  ASSIGN_OR_RETURN(const FileDigest digest, Sha256File(path));
  absl::Status sent;
  for (int i = 0; i < kUploads; ++i) {
    RETURN_IF_ERROR(blobs_->Upload({{path, digest.sha256, digest.size_bytes}}, &calls_));
    sent = Name(digest.sha256);
    if (sent.code() != absl::StatusCode::kFailedPrecondition) break;  // it has gone meanwhile
  }
  return sent;
}

absl::Status CheckpointSender::Name(const std::string& digest) {
  lathe::v1::SaveCheckpointRequest request;
  request.set_job(job_);
  request.set_lease_token(lease_token_);
  request.set_digest(digest);
  RetryDelay delay(kMaxRetryDelay);
  while (true) {
    absl::Status told;
    {
      ServerCall call(*connection_, &calls_, kCallTimeout);
      lathe::v1::SaveCheckpointResponse response;
      told = FromGrpc(connection_->workers().SaveCheckpoint(call.context(), request, &response));
    }
    if (!IsRetryable(told) || Superseded() || !calls_.SleepFor(delay.Next())) return told;
  }
}

}  // namespace lathe::worker
