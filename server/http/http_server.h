// The HTTP side: /metrics for Prometheus, /healthz for probes. Plain text, no secrets, read-only.
#ifndef LATHE_SERVER_HTTP_HTTP_SERVER_H_
#define LATHE_SERVER_HTTP_HTTP_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/telemetry/metrics.h"

namespace lathe::server {

struct HttpOptions {
  std::string listen;  // HOST:PORT; port 0 is a free one
  // Called before each scrape, to refresh gauges.
  std::function<void()> before_scrape;
  // OK: /healthz answers 200 "ok"; otherwise 503 with the message.
  std::function<absl::Status()> health;
};

// Serves on threads of its own until destroyed.
class HttpServer {
 public:
  // UNAVAILABLE when the address cannot be bound. `metrics` must outlive the server.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(HttpOptions options,
                                                           const Metrics* metrics);
  ~HttpServer();

  // HOST:PORT with the port that was bound.
  const std::string& address() const;

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_HTTP_HTTP_SERVER_H_
