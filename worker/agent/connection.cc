#include "worker/agent/connection.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <random>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "proto/grpc_status.h"

namespace lathe::worker {
namespace {

// The first token of a file as lathed takes it: one a line, lines with # are comments.
absl::StatusOr<std::string> ReadToken(const std::string& path) {
  std::ifstream in(path);
  if (!in) return absl::NotFoundError(absl::StrCat("cannot read the token file ", path));
  for (std::string line; std::getline(in, line);) {
    const absl::string_view token = absl::StripAsciiWhitespace(line);
    if (!token.empty() && token[0] != '#') return std::string(token);
  }
  return absl::InvalidArgumentError(absl::StrCat("the token file ", path, " holds no token"));
}

absl::StatusOr<std::string> ReadAuthorities(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(absl::StrCat("cannot read the CA file ", path));
  std::string pem(std::istreambuf_iterator<char>(in), {});
  if (pem.empty())
    return absl::InvalidArgumentError(absl::StrCat("the CA file ", path, " is empty"));
  return pem;
}

}  // namespace

ServerConnection::ServerConnection(std::shared_ptr<grpc::Channel> channel, std::string token)
    : channel_(std::move(channel)),
      workers_(lathe::v1::WorkerService::NewStub(channel_)),
      blobs_(lathe::v1::BlobService::NewStub(channel_)),
      token_(std::move(token)) {}

absl::StatusOr<std::unique_ptr<ServerConnection>> ServerConnection::Create(
    const ConnectionOptions& options) {
  std::string token;
  if (!options.token_file.empty()) {
    ASSIGN_OR_RETURN(token, ReadToken(options.token_file));
  }
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (!options.tls_ca_file.empty()) {
    grpc::SslCredentialsOptions tls;
    ASSIGN_OR_RETURN(tls.pem_root_certs, ReadAuthorities(options.tls_ca_file));
    credentials = grpc::SslCredentials(tls);
  }
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(limits::kMaxMessageBytes));
  // A server that restarts is found again soon; one whose machine vanished is noticed.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // In spite of its name this is how long one attempt may take, TLS handshake and all.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  return std::unique_ptr<ServerConnection>(new ServerConnection(
      grpc::CreateCustomChannel(options.server, credentials, arguments), std::move(token)));
}

void ServerConnection::AwaitConnection(const CancelScope& scope, absl::Duration duration) {
  if (channel_->GetState(/*try_to_connect=*/true) == GRPC_CHANNEL_READY) {
    scope.SleepFor(duration);  // it answers, but not as we wish
    return;
  }
  const absl::Time until = absl::Now() + duration;
  while (absl::Now() < until && !scope.cancelled()) {
    const absl::Time next = std::min(until, absl::Now() + absl::Milliseconds(100));
    if (channel_->WaitForConnected(absl::ToChronoTime(next))) return;
  }
}

ServerCall::ServerCall(const ServerConnection& connection, CancelScope* scope,
                       absl::Duration timeout)
    : scope_(scope) {
  context_.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  if (!connection.token().empty()) {
    context_.AddMetadata("authorization", absl::StrCat("Bearer ", connection.token()));
  }
  scope_->Add(&context_);
}

ServerCall::~ServerCall() { scope_->Remove(&context_); }

absl::Status FromGrpc(const grpc::Status& status) { return FromGrpcStatus(status); }

bool IsRetryable(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kInternal:  // what a cut stream looks like, now and then
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kCancelled:
      return true;
    default:
      return false;
  }
}

absl::Duration RetryDelay::Next() {
  const double share = std::uniform_real_distribution<double>(0.5, 1.0)(random_);
  const absl::Duration delay = next_ * share;
  next_ = std::min(next_ * 2, most_);
  return delay;
}

}  // namespace lathe::worker
