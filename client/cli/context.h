// What every command of `lathe` shares: the global options, the connection, exit codes.
#ifndef LATHE_CLIENT_CLI_CONTEXT_H_
#define LATHE_CLIENT_CLI_CONTEXT_H_

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lathe/client.h"

namespace lathe::cli {

// Exit codes, documented in `lathe --help` and docs/cli.md.
enum ExitCode {
  kOk = 0,
  kFailed = 1,         // the server refused, or something broke
  kUsage = 2,          // wrong flags, file or recipe: nothing was sent
  kJobFailed = 3,      // the job ended as FAILED
  kJobCancelled = 4,   // the job ended as CANCELLED
  kUnreachable = 5,    // no server there, or it refused the credentials
  kFindings = 6,       // `lint` found errors or slow places
  kInterrupted = 130,  // Ctrl-C
};

struct Context {
  // Global options.
  std::string server;  // "" when nothing names one
  std::string token_file;
  std::string tls_ca;
  bool json = false;
  bool quiet = false;
  bool verbose = false;
  double connect_timeout_s = 20;

  // Set by the command that ran.
  int exit_code = kOk;

  // A connected client, by default of 127.0.0.1:50051. Retries are told on standard error unless
  // --quiet.
  absl::StatusOr<std::unique_ptr<client::Client>> Connect() const;
  absl::StatusOr<std::unique_ptr<client::Client>> ConnectTo(const std::string& address) const;

  // Prints "lathe: <message>" to standard error, with --json also ErrorJson to standard output;
  // sets the exit code that fits the status, and returns it.
  int Fail(const absl::Status& status);
  int FailUsage(const std::string& message);
};

// The exit code that a status stands for.
ExitCode ExitCodeOf(const absl::Status& status);

// {"error": {"code", "reason", "message", "fields": [{"field", "description"}], "exit_code"}} on
// one line, so that it may also end a stream of JSON lines.
std::string ErrorJson(const absl::Status& status, int exit_code);

// One subcommand: its file defines Add<Name>Command, commands/table.cc lists it.
struct Command {
  const char* name;
  void (*add)(CLI::App& app, Context& context);
};
const std::vector<Command>& Commands();

// Adds "models/" (or "jobs/") where the user left it out.
std::string ResourceName(const std::string& collection, const std::string& given);

// Parses "name=value" pairs with values in [1, 2^31). INVALID_ARGUMENT naming the flag otherwise.
absl::StatusOr<std::map<std::string, int64_t>> ParseBindings(const std::vector<std::string>& pairs);

// "90s", "15m", "24h", "1h30m" -> seconds. INVALID_ARGUMENT naming the flag otherwise.
absl::StatusOr<absl::Duration> ParseDurationFlag(const std::string& flag, const std::string& text);

}  // namespace lathe::cli

#endif  // LATHE_CLIENT_CLI_CONTEXT_H_
