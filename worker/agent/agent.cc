#include "worker/agent/agent.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/build_info.h"
#include "common/log.h"

namespace lathe::worker {
namespace {

void SetDuration(absl::Duration from, google::protobuf::Duration* to) {
  const int64_t seconds = absl::IDivDuration(from, absl::Seconds(1), &from);
  to->set_seconds(seconds);
  to->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(from)));
}

bool IsRefusal(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kUnimplemented:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::string MakeWorkerId(absl::string_view name, absl::string_view unique) {
  std::string id;
  for (const char c : name.substr(0, 62 - std::min<size_t>(unique.size(), 62))) {
    id += absl::ascii_isalnum(static_cast<unsigned char>(c))
              ? absl::ascii_tolower(static_cast<unsigned char>(c))
              : '-';
  }
  return absl::StrCat(id, id.empty() ? "" : "-", unique);
}

Agent::Agent(AgentOptions options, AttemptServices services)
    : options_(std::move(options)), services_(services) {}

Agent::~Agent() {
  for (Running& r : running_) {
    r.runner->Stop(StopCause::kInterrupted);
    r.runner->Abandon();
    r.thread.join();
  }
}

void Agent::Drain() {
  absl::MutexLock lock(&mutex_);
  ++drain_requests_;
  const absl::Time now = absl::Now();
  drain_deadline_ = drain_requests_ > 1 ? now : now + options_.drain;
  if (idle_call_ != nullptr) idle_call_->Cancel();
}

bool Agent::draining() const {
  absl::MutexLock lock(&mutex_);
  return drain_requests_ > 0;
}

lathe::v1::SynchronizeRequest Agent::MakeRequest(bool draining) {
  lathe::v1::SynchronizeRequest request;
  request.set_worker_id(options_.worker_id);
  request.set_host(options_.host);
  request.set_build_id(BuildId());
  request.set_onnxruntime_version(options_.onnxruntime_version);
  request.set_slots(options_.slots);
  request.set_draining(draining);
  for (const Running& r : running_) {
    if (!r.runner->ended()) *request.add_running() = r.runner->Report();
  }
  SetDuration(request.running_size() > 0 || draining ? options_.busy_wait : options_.idle_wait,
              request.mutable_max_wait());
  return request;
}

void Agent::Begin(const lathe::v1::Attempt& attempt) {
  for (const Running& r : running_) {
    if (r.runner->lease_token() == attempt.lease_token()) return;  // told twice
  }
  Running r;
  r.runner = std::make_unique<AttemptRunner>(options_.attempt, services_, attempt);
  r.thread = std::thread([runner = r.runner.get()] { runner->Run(); });
  running_.push_back(std::move(r));
}

void Agent::Apply(const lathe::v1::SynchronizeResponse& response) {
  lease_duration_ = absl::Seconds(response.lease_duration().seconds()) +
                    absl::Nanoseconds(response.lease_duration().nanos());
  for (const lathe::v1::StopAttempt& stop : response.stop()) {
    for (const Running& r : running_) {
      if (r.runner->lease_token() != stop.lease_token() || r.runner->ended()) continue;
      LogInfo("told to stop an attempt", {{"job", stop.job()}, {"reason", stop.reason()}});
      r.runner->Stop(StopCause::kCancelled);
    }
  }
  for (const lathe::v1::Attempt& attempt : response.start()) Begin(attempt);
}

void Agent::StopAll(StopCause cause) {
  for (const Running& r : running_) r.runner->Stop(cause);
}

void Agent::Reap() {
  const auto ended = std::partition(running_.begin(), running_.end(),
                                    [](const Running& r) { return !r.runner->ended(); });
  for (auto it = ended; it != running_.end(); ++it) it->thread.join();
  running_.erase(ended, running_.end());
  services_.metrics->SetBusySlots(static_cast<int>(running_.size()));
}

// False: the leases are surely lost.
bool Agent::CheckLeases() {
  if (lease_duration_ <= absl::ZeroDuration()) return true;
  return absl::Now() - last_answered_send_ < lease_duration_;
}

absl::Status Agent::Run() {
  bool ever_accepted = false;
  bool connected = false;
  bool interrupted = false;
  absl::Time goodbye = absl::InfiniteFuture();
  RetryDelay delay(absl::Seconds(3));
  while (true) {
    Reap();
    const absl::Time now = absl::Now();
    const bool drain = draining();
    if (drain) {
      if (running_.empty()) break;
      absl::Time deadline;
      {
        absl::MutexLock lock(&mutex_);
        deadline = drain_deadline_;
      }
      if (now >= deadline && !interrupted) {
        LogWarning("interrupting what still runs", {{"attempts", running_.size()}});
        interrupted = true;
        goodbye = now + options_.goodbye;
        StopAll(StopCause::kInterrupted);
      }
      if (now >= goodbye) {
        for (const Running& r : running_) r.runner->Abandon();
      }
    }
    if (!running_.empty() && !CheckLeases()) {
      LogWarning("the server has not answered for a whole lease; stopping what runs",
                 {{"attempts", running_.size()}});
      StopAll(StopCause::kLeaseLost);
    }

    const lathe::v1::SynchronizeRequest request = MakeRequest(drain);
    CancelScope scope;
    if (request.running_size() == 0) {
      // Only a call that may be held for long: cancelling loses whatever the server answers.
      absl::MutexLock lock(&mutex_);
      idle_call_ = &scope;
      if (drain_requests_ > 0 && !drain) scope.Cancel();
    }
    const absl::Duration held =
        absl::Seconds(request.max_wait().seconds()) + absl::Nanoseconds(request.max_wait().nanos());
    // With attempts at stake the call must fail while there is time to try again.
    absl::Duration patience = absl::Seconds(10);
    if (request.running_size() > 0 && lease_duration_ > absl::ZeroDuration()) {
      patience = std::min(patience, lease_duration_ / 3);
    }
    absl::Status status;
    lathe::v1::SynchronizeResponse response;
    const absl::Time sent = absl::Now();
    {
      ServerCall call(*services_.connection, &scope, held + patience);
      status =
          FromGrpc(services_.connection->workers().Synchronize(call.context(), request, &response));
    }
    if (status.ok()) {
      last_answered_send_ = sent;
      ever_accepted = true;
      if (!connected) LogInfo("synchronized with the server", {{"worker_id", options_.worker_id}});
      connected = true;
      delay.Reset();
      for (const Running& r : running_) r.runner->Acknowledge();
      Apply(response);
    } else if (!(scope.cancelled() && draining())) {
      if (!ever_accepted && IsRefusal(status)) return status;
      services_.metrics->OnSynchronizeFailed();
      if (connected || !ever_accepted) {
        LogWarning("the server does not answer; trying again", {{"error", status.ToString()}});
      }
      connected = false;
      services_.connection->AwaitConnection(scope,
                                            interrupted ? absl::Milliseconds(100) : delay.Next());
    }
    absl::MutexLock lock(&mutex_);
    idle_call_ = nullptr;
  }
  SayGoodbye();
  return absl::OkStatus();
}

// Lets the server know at once that this worker has nothing left; not knowing costs nothing but a
// lease.
void Agent::SayGoodbye() {
  lathe::v1::SynchronizeRequest request = MakeRequest(/*draining=*/true);
  request.mutable_max_wait()->Clear();
  lathe::v1::SynchronizeResponse response;
  CancelScope scope;
  ServerCall call(*services_.connection, &scope, absl::Seconds(2));
  services_.connection->workers().Synchronize(call.context(), request, &response).ok();
}

}  // namespace lathe::worker
