#include "client/cli/session.h"

#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace lathe::cli {

absl::StatusOr<Session> Session::Open(Context& context, const std::string& ort_library) {
  Session session;
  if (!context.server.empty()) {
    if (!ort_library.empty()) {
      return absl::InvalidArgumentError(
          "--ort-library is for a private server; the workers of a server that is named have a "
          "flag of their own (lathe-worker --ort-library, lathed --ort-library)");
    }
    ASSIGN_OR_RETURN(session.client_, context.Connect());
    return session;
  }
  ASSIGN_OR_RETURN(session.own_, PrivateServer::Start(ort_library));
  ASSIGN_OR_RETURN(session.client_, context.ConnectTo(session.own_->address()));
  return session;
}

void AddOrtLibraryFlag(CLI::App& command, const std::string& what_for, std::string* ort_library) {
  command
      .add_option("--ort-library", *ort_library,
                  absl::StrCat("ONNX Runtime's shared library (libonnxruntime.so.VERSION), ",
                               what_for, "; on a private server"))
      ->type_name("FILE")
      ->check(CLI::ExistingFile);
}

FollowOptions Session::Following() {
  FollowOptions follow;
  follow.cancel_on_interrupt = true;
  if (own_ != nullptr) {
    follow.on_log = [own = own_.get()](const std::string& line) { own->AppendLog(line); };
  }
  return follow;
}

void Session::MayKeepLog(const Context& context) {
  const bool broke = context.exit_code == kFailed || context.exit_code == kJobFailed ||
                     context.exit_code == kUnreachable;
  if (own_ == nullptr || (!broke && !context.verbose)) return;
  own_->KeepLog();
  std::cerr << "lathe: the private server's log is in " << own_->log_path() << std::endl;
}

}  // namespace lathe::cli
