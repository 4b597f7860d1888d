// A lathed of one's own, for the length of one command.
#ifndef LATHE_CLIENT_CLI_PRIVATE_SERVER_H_
#define LATHE_CLIENT_CLI_PRIVATE_SERVER_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace lathe::cli {

// Owns a child `lathed` with a data folder of its own on a free loopback port, with one local
// worker. It dies with this process, however that ends; the folder is removed by the destructor,
// but for the log when KeepLog was called.
class PrivateServer {
 public:
  // Starts it and waits until it serves. NOT_FOUND when there is no lathed beside this binary or on
  // PATH; UNAVAILABLE with the end of its log, and where all of it is, when it does not come up.
  // `ort_library`: as lathed's --ort-library; "": none.
  static absl::StatusOr<std::unique_ptr<PrivateServer>> Start(const std::string& ort_library);
  ~PrivateServer();
  PrivateServer(const PrivateServer&) = delete;
  PrivateServer& operator=(const PrivateServer&) = delete;

  const std::string& address() const { return address_; }

  // Everything the server and its worker had to say, and what AppendLog added.
  std::string log_path() const { return folder_ + "/lathed.log"; }
  void AppendLog(const std::string& line);
  void KeepLog() { keep_log_ = true; }

 private:
  PrivateServer() = default;
  std::string folder_;
  std::string address_;
  pid_t pid_ = -1;
  bool keep_log_ = false;
};

}  // namespace lathe::cli

#endif  // LATHE_CLIENT_CLI_PRIVATE_SERVER_H_
