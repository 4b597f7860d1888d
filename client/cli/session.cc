#include "client/cli/session.h"

#include <iostream>

#include "common/status_macros.h"

namespace lathe::cli {

absl::StatusOr<Session> Session::Open(Context& context) {
  Session session;
  if (!context.server.empty()) {
    ASSIGN_OR_RETURN(session.client_, context.Connect());
    return session;
  }
  ASSIGN_OR_RETURN(session.own_, PrivateServer::Start());
  ASSIGN_OR_RETURN(session.client_, context.ConnectTo(session.own_->address()));
  return session;
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
