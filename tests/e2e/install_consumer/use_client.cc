// Lists a server's methods through the installed C++ client: use_client HOST:PORT.
#include <iostream>

#include "lathe/client.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  lathe::client::ClientOptions options;
  options.server = argv[1];
  auto client = lathe::client::Client::Connect(options);
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }
  auto capabilities = (*client)->GetCapabilities();
  if (!capabilities.ok()) {
    std::cerr << capabilities.status() << "\n";
    return 1;
  }
  for (const auto& method : capabilities->methods()) std::cout << method.name() << "\n";
}
