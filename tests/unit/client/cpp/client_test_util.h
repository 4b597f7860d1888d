// A client of a server with faults to order.
#ifndef LATHE_TESTS_UNIT_CLIENT_CPP_CLIENT_TEST_UTIL_H_
#define LATHE_TESTS_UNIT_CLIENT_CPP_CLIENT_TEST_UTIL_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lathe/client.h"
#include "tests/support/temp_folder.h"
#include "tests/unit/client/cpp/faulty_server.h"

namespace lathe::client {

class ClientTest : public ::testing::Test {
 protected:
  ClientTest() {
    options_.server = server_.address();
    options_.on_retry = [this](const std::string& call, const absl::Status&, absl::Duration) {
      retried_.push_back(call);
    };
  }
  // Made on first use, so that a test may change the options.
  Client& client() {
    if (!client_) {
      auto client = Client::Connect(options_);
      EXPECT_TRUE(client.ok()) << client.status();
      client_ = *std::move(client);
    }
    return *client_;
  }
  static std::string ReadFile(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }

  FaultyServer server_;
  ClientOptions options_;
  lathe::testing::TempFolder folder_;
  std::vector<std::string> retried_;  // calls, in order

 private:
  std::unique_ptr<Client> client_;
};

}  // namespace lathe::client

#endif  // LATHE_TESTS_UNIT_CLIENT_CPP_CLIENT_TEST_UTIL_H_
