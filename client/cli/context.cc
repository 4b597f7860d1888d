#include "client/cli/context.h"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/interrupt.h"

namespace lathe::cli {

absl::StatusOr<std::unique_ptr<client::Client>> Context::Connect() const {
  return ConnectTo(server.empty() ? "127.0.0.1:50051" : server);
}

absl::StatusOr<std::unique_ptr<client::Client>> Context::ConnectTo(
    const std::string& address) const {
  client::ClientOptions options;
  options.server = address;
  options.tls_ca_file = tls_ca;
  options.retry_for = absl::Seconds(connect_timeout_s);
  options.cancelled = [] { return InterruptCount() > 0; };
  if (!quiet) {
    options.on_retry = [](const std::string& call, const absl::Status& error, absl::Duration wait) {
      if (wait >= absl::Seconds(1)) {
        std::cerr << "lathe: " << error.message() << "; trying again in "
                  << absl::FormatDuration(absl::Trunc(wait, absl::Milliseconds(100))) << "\n";
      }
    };
  }
  if (!token_file.empty()) {
    // As lathed takes it: the first line that is neither empty nor a comment.
    std::ifstream in(token_file);
    for (std::string line; options.token.empty() && std::getline(in, line);) {
      const absl::string_view token = absl::StripAsciiWhitespace(line);
      if (!token.empty() && token[0] != '#') options.token = std::string(token);
    }
    if (options.token.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("cannot read a token from ", token_file));
    }
  } else if (const char* token = std::getenv("LATHE_TOKEN"); token != nullptr) {
    options.token = token;
  }
  return client::Client::Connect(options);
}

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kOk;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:  // as a proxy in front of the server may answer
      return kUnreachable;
    case absl::StatusCode::kInvalidArgument:
      return kUsage;
    case absl::StatusCode::kCancelled:
      return kInterrupted;
    default:
      return kFailed;
  }
}

std::string ErrorJson(const absl::Status& status, int exit_code) {
  nlohmann::json error = {{"code", absl::StatusCodeToString(status.code())},
                          {"reason", client::ErrorReason(status)},
                          {"message", std::string(status.message())},
                          {"fields", nlohmann::json::array()},
                          {"exit_code", exit_code}};
  for (const client::FieldError& field : client::FieldErrors(status))
    error["fields"].push_back({{"field", field.field}, {"description", field.description}});
  // Text from outside may not be UTF-8.
  return nlohmann::json{{"error", std::move(error)}}.dump(-1, ' ', false,
                                                          nlohmann::json::error_handler_t::replace);
}

int Context::Fail(const absl::Status& status) {
  exit_code = ExitCodeOf(status);
  if (json) std::cout << ErrorJson(status, exit_code) << std::endl;
  std::cerr << "lathe: " << status.message() << std::endl;
  return exit_code;
}

int Context::FailUsage(const std::string& message) {
  return Fail(absl::InvalidArgumentError(message));
}

std::string ResourceName(const std::string& collection, const std::string& given) {
  return absl::StartsWith(given, collection + "/") ? given : absl::StrCat(collection, "/", given);
}

absl::StatusOr<std::map<std::string, int64_t>> ParseBindings(
    const std::vector<std::string>& pairs) {
  std::map<std::string, int64_t> bindings;
  for (const std::string& pair : pairs) {
    const size_t equals = pair.rfind('=');
    int64_t value = 0;
    if (equals == std::string::npos || equals == 0 ||
        !absl::SimpleAtoi(pair.substr(equals + 1), &value) || value < 1 ||
        value > std::numeric_limits<int32_t>::max()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--bind ", pair, ": expected NAME=SIZE with SIZE in [1, 2147483647], such as batch=8"));
    }
    if (!bindings.emplace(pair.substr(0, equals), value).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("--bind ", pair, ": this name is bound twice"));
    }
  }
  return bindings;
}

absl::StatusOr<absl::Duration> ParseDurationFlag(const std::string& flag, const std::string& text) {
  absl::Duration duration;
  double seconds = 0;
  if (absl::SimpleAtod(text, &seconds) && !std::isnan(seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &duration)) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " ", text, ": expected a duration such as 90s, 15m or 1h30m"));
  }
  if (duration < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat(flag, " ", text, ": must not be negative"));
  }
  return duration;
}

}  // namespace lathe::cli
