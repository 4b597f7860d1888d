// A server, its stubs, and short ways to say a call.
#ifndef LATHE_TESTS_UNIT_SERVER_RPC_RPC_TEST_UTIL_H_
#define LATHE_TESTS_UNIT_SERVER_RPC_RPC_TEST_UTIL_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/support/refusal.h"
#include "tests/support/test_server.h"

namespace lathe::server {

using lathe::testing::IsOk;
using lathe::testing::RefusalOf;
using lathe::testing::Refused;

class RpcTest : public ::testing::Test {
 protected:
  explicit RpcTest(TestServerOptions options = {})
      : server_(std::move(options)), calls_(server_.NewChannel()) {}

  // A unary call: Call(*calls_.jobs, &v1::JobService::Stub::GetJob, request, &answer).
  template <typename Stub, typename Request, typename Response>
  static grpc::Status Call(Stub& stub,
                           grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                        Response*),
                           const Request& request, Response* response) {
    grpc::ClientContext context;
    return (stub.*method)(&context, request, response);
  }
  // The same where the answer does not matter.
  template <typename Stub, typename Request, typename Response>
  static grpc::Status Call(Stub& stub,
                           grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                        Response*),
                           const Request& request) {
    Response ignored;
    return Call(stub, method, request, &ignored);
  }
  // A request that is nothing but a name.
  template <typename Request>
  static Request Named(const std::string& name) {
    Request request;
    request.set_name(name);
    return request;
  }
  // Everything a stream sends; its status goes to `status`.
  template <typename Message>
  static std::vector<Message> ReadAll(grpc::ClientReader<Message>& reader, grpc::Status* status) {
    std::vector<Message> out;
    for (Message message; reader.Read(&message);) out.push_back(message);
    *status = reader.Finish();
    return out;
  }

  TestServer server_;
  TestCalls calls_;
};

}  // namespace lathe::server

#endif  // LATHE_TESTS_UNIT_SERVER_RPC_RPC_TEST_UTIL_H_
