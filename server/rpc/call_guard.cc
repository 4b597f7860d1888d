#include "server/rpc/call_guard.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <exception>
#include <new>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status_reason.h"
#include "proto/grpc_status.h"
#include "server/telemetry/metrics.h"

namespace lathe::server {
namespace {

absl::Status Caught(const std::function<absl::Status()>& work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("the server is out of memory");
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("unexpected: ", e.what()));
  }
}

}  // namespace

CallGuard::CallGuard(std::vector<std::string> tokens, Metrics* metrics)
    : tokens_(std::move(tokens)), metrics_(metrics) {}

absl::Status CallGuard::Authenticate(const grpc::ServerContext& context) const {
  if (tokens_.empty()) return absl::OkStatus();
  const auto header = context.client_metadata().find("authorization");
  if (header == context.client_metadata().end()) {
    return WithReason(absl::UnauthenticatedError(
                          "this server wants a bearer token (lathe --token-file, LATHE_TOKEN)"),
                      "TOKEN_MISSING");
  }
  const absl::string_view value(header->second.data(), header->second.size());
  static constexpr absl::string_view kBearer = "Bearer ";
  if (absl::StartsWith(value, kBearer)) {
    const absl::string_view given = value.substr(kBearer.size());
    bool known = false;
    for (const std::string& token : tokens_) {  // all of them, so that time tells nothing
      known |= token.size() == given.size() &&
               CRYPTO_memcmp(token.data(), given.data(), given.size()) == 0;
    }
    if (known) return absl::OkStatus();
  }
  return WithReason(absl::UnauthenticatedError("the bearer token is not one of this server's"),
                    "TOKEN_REFUSED");
}

grpc::Status CallGuard::Run(grpc::ServerContext* context, absl::string_view method,
                            const std::function<absl::Status()>& work) const {
  const absl::Time start = absl::Now();
  if (metrics_ != nullptr) metrics_->RpcStarted(method);
  absl::Status status = Authenticate(*context);
  if (status.ok()) status = Caught(work);
  if (metrics_ != nullptr) metrics_->RpcEnded(method, status.code(), absl::Now() - start);
  if (status.code() == absl::StatusCode::kInternal ||
      status.code() == absl::StatusCode::kDataLoss) {
    LogError("call failed", {{"method", method}, {"error", status.message()}});
  } else {
    LogDebug("call", {{"method", method},
                      {"code", absl::StatusCodeToString(status.code())},
                      {"us", absl::ToInt64Microseconds(absl::Now() - start)}});
  }
  return ToWire(status);
}

grpc::Status ToWire(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string field = FieldOf(status);
  absl::Status out = status;
  if (!field.empty() && status.code() == absl::StatusCode::kInvalidArgument) {
    out = BadRequestError({{field, std::string(status.message())}});
  } else if (!field.empty()) {
    out = absl::Status(status.code(), absl::StrCat(field, ": ", status.message()));
  }
  if (const std::string reason = ReasonOf(status); !reason.empty())
    out = WithReason(std::move(out), reason);
  return ToGrpcStatus(out);
}

WaitOptions WaitFor(grpc::ServerContext* context, absl::Duration timeout) {
  // An answer must still reach the caller before its deadline.
  const absl::Duration left =
      absl::FromChrono(context->deadline()) - absl::Now() - absl::Milliseconds(200);
  WaitOptions wait;
  wait.timeout = std::max(absl::ZeroDuration(), std::min(timeout, left));
  wait.cancelled = [context] { return context->IsCancelled(); };
  return wait;
}

}  // namespace lathe::server
