// A client of the server that was named, or of a private one for the length of a command.
#ifndef LATHE_CLIENT_CLI_SESSION_H_
#define LATHE_CLIENT_CLI_SESSION_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/cli/context.h"
#include "client/cli/job_flags.h"
#include "client/cli/private_server.h"
#include "lathe/client.h"

namespace lathe::cli {

class Session {
 public:
  // Connects, and starts a private server first when none is named. Errors as Context::Connect and
  // PrivateServer::Start; INVALID_ARGUMENT for an `ort_library` (AddOrtLibraryFlag) with a server
  // that is named, whose workers are configured by whoever runs it.
  static absl::StatusOr<Session> Open(Context& context, const std::string& ort_library = "");

  client::Client& client() { return *client_; }
  // How to follow the job that the command is about: Ctrl-C cancels it, and its log goes to that of
  // a private server.
  FollowOptions Following();
  // For the end of the command: a private server's log is worth keeping when it may tell what went
  // wrong, or when asked for.
  void MayKeepLog(const Context& context);

 private:
  Session() = default;
  std::unique_ptr<PrivateServer> own_;
  std::unique_ptr<client::Client> client_;
};

// --ort-library: ONNX Runtime's shared library, `what_for` ("to measure latency in too").
void AddOrtLibraryFlag(CLI::App& command, const std::string& what_for, std::string* ort_library);

}  // namespace lathe::cli

#endif  // LATHE_CLIENT_CLI_SESSION_H_
