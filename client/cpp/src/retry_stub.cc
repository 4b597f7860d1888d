#include <algorithm>
#include <random>

#include "absl/time/clock.h"
#include "client/cpp/src/stub.h"

namespace lathe::client {
namespace {

constexpr absl::Duration kFirstWait = absl::Milliseconds(100);
constexpr absl::Duration kLongestWait = absl::Seconds(5);

class RetryStub : public Stub {
 public:
  RetryStub(std::unique_ptr<Stub> inner, const ClientOptions& options)
      : inner_(std::move(inner)), options_(options) {}

#define LATHE_DEFINE(service, method, request, response)                       \
  absl::StatusOr<v1::response> method(const v1::request& req) override {       \
    Backoff backoff(options_, inner_.get());                                   \
    while (true) {                                                             \
      absl::StatusOr<v1::response> answer = inner_->method(req);               \
      if (answer.ok() || !IsTransient(answer.status())) return answer;         \
      if (!backoff.Wait(#method, answer.status())) {                           \
        if (Cancelled()) return absl::CancelledError("stopped by the caller"); \
        return answer;                                                         \
      }                                                                        \
    }                                                                          \
  }
  LATHE_CLIENT_UNARY_METHODS(LATHE_DEFINE)
#undef LATHE_DEFINE

  absl::StatusOr<v1::Blob> UploadBlob(const v1::UploadHeader& header,
                                      const ChunkSource& chunks) override {
    return inner_->UploadBlob(header, chunks);
  }
  absl::Status DownloadBlob(const v1::DownloadBlobRequest& request,
                            const std::function<bool(absl::string_view)>& on_chunk) override {
    return inner_->DownloadBlob(request, on_chunk);
  }
  absl::Status WatchJob(const v1::WatchJobRequest& request,
                        const std::function<bool(const v1::JobEvent&)>& on_event) override {
    return inner_->WatchJob(request, on_event);
  }
  absl::Status StreamLogs(const v1::StreamLogsRequest& request,
                          const std::function<bool(const v1::JobLog&)>& on_line) override {
    return inner_->StreamLogs(request, on_line);
  }

  bool AwaitConnection(absl::Duration duration) override {
    return inner_->AwaitConnection(duration);
  }

 private:
  bool Cancelled() const { return options_.cancelled && options_.cancelled(); }

  const std::unique_ptr<Stub> inner_;
  const ClientOptions options_;
};

}  // namespace

bool IsTransient(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable;
}

bool Stub::AwaitConnection(absl::Duration duration) {
  absl::SleepFor(duration);
  return false;
}

Backoff::Backoff(const ClientOptions& options, Stub* stub)
    : options_(options),
      stub_(stub),
      give_up_(absl::Now() + options.retry_for),
      next_(kFirstWait) {}

void Backoff::Reset() {
  give_up_ = absl::Now() + options_.retry_for;
  next_ = kFirstWait;
}

bool Backoff::Wait(const std::string& call, const absl::Status& error) {
  thread_local std::minstd_rand random(std::random_device{}());
  const absl::Duration left = give_up_ - absl::Now();
  if (left <= absl::ZeroDuration()) return false;
  // The last wait is shorter: all of the time is used.
  const absl::Duration wait =
      std::min(left, next_ * std::uniform_real_distribution<double>(0.5, 1.0)(random));
  next_ = std::min(next_ * 2, kLongestWait);
  const absl::Time until = absl::Now() + wait;
  if (options_.on_retry) options_.on_retry(call, error, wait);
  while (absl::Now() < until) {
    if (options_.cancelled && options_.cancelled()) return false;
    if (stub_->AwaitConnection(std::min(absl::Milliseconds(100), until - absl::Now()))) break;
  }
  return true;
}

std::unique_ptr<Stub> MakeRetryStub(std::unique_ptr<Stub> inner, const ClientOptions& options) {
  return std::make_unique<RetryStub>(std::move(inner), options);
}

}  // namespace lathe::client
