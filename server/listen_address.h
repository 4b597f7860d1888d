// HOST:PORT as given on a command line.
#ifndef LATHE_SERVER_LISTEN_ADDRESS_H_
#define LATHE_SERVER_LISTEN_ADDRESS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lathe::server {

struct ListenAddress {
  std::string host;  // without brackets
  int port = 0;      // 0: any free one

  // "127.0.0.1:50051", "[::1]:0", "localhost:80". INVALID_ARGUMENT otherwise.
  static absl::StatusOr<ListenAddress> Parse(absl::string_view text);
  std::string ToString() const;
  // Reached from this machine alone: 127.0.0.0/8, ::1, localhost.
  bool IsLoopback() const;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_LISTEN_ADDRESS_H_
