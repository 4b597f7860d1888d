#include "server/http/http_server.h"

#include <httplib.h>
#include <prometheus/text_serializer.h>

#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "server/listen_address.h"

namespace lathe::server {

class HttpServer::Impl {
 public:
  httplib::Server server;
  std::thread thread;
  std::atomic<bool> ended{false};
  std::string address;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() {
  impl_->server.stop();
  if (impl_->thread.joinable()) impl_->thread.join();
}

const std::string& HttpServer::address() const { return impl_->address; }

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(HttpOptions options,
                                                              const Metrics* metrics) {
  ASSIGN_OR_RETURN(const ListenAddress where, ListenAddress::Parse(options.listen));
  auto impl = std::make_unique<Impl>();
  httplib::Server& server = impl->server;
  server.new_task_queue = [] { return new httplib::ThreadPool(2); };
  server.set_payload_max_length(1024);  // nothing is ever sent here
  // httplib's default is SO_REUSEPORT, with which two servers would share a port in silence.
  server.set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });
  server.set_read_timeout(5);
  server.set_keep_alive_timeout(5);
  const auto registry = metrics->registry();
  server.Get("/metrics", [options, registry](const httplib::Request&, httplib::Response& response) {
    if (options.before_scrape) options.before_scrape();
    response.set_content(prometheus::TextSerializer().Serialize(registry->Collect()),
                         "text/plain; version=0.0.4; charset=utf-8");
  });
  server.Get("/healthz", [options](const httplib::Request&, httplib::Response& response) {
    const absl::Status status = options.health ? options.health() : absl::OkStatus();
    response.status = status.ok() ? 200 : 503;
    response.set_content(status.ok() ? "ok\n" : absl::StrCat(status.message(), "\n"), "text/plain");
  });
  int port = where.port;
  bool bound = true;
  if (port == 0) {
    port = server.bind_to_any_port(where.host.c_str());
    bound = port > 0;
  } else {
    bound = server.bind_to_port(where.host.c_str(), port);
  }
  if (!bound) {
    return absl::UnavailableError(absl::StrCat("cannot listen for HTTP on ", options.listen,
                                               ": is the port taken? (--metrics-listen)"));
  }
  impl->address = ListenAddress{where.host, port}.ToString();
  impl->thread = std::thread([raw = impl.get()] {
    raw->server.listen_after_bind();
    raw->ended = true;
  });
  // httplib forgets a stop() that comes before it listens; the destructor would then wait for ever.
  while (!server.is_running() && !impl->ended) std::this_thread::yield();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

}  // namespace lathe::server
