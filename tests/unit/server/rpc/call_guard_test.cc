// Who gets in, and what everybody may ask: tokens and health.
#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/unit/server/rpc/rpc_test_util.h"

namespace lathe::server {
namespace {

using grpc::StatusCode;
using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kToken[] = "0123456789abcdef";
constexpr char kOther[] = "fedcba9876543210";

TestServerOptions TwoTokens() {
  TestServerOptions options;
  options.tokens = {kToken, kOther};
  return options;
}

class GuardedServer : public RpcTest {
 protected:
  GuardedServer() : RpcTest(TwoTokens()) {}

  grpc::Status ListWith(const std::string& header) {
    grpc::ClientContext context;
    if (!header.empty()) context.AddMetadata("authorization", header);
    v1::ListJobsResponse response;
    return calls_.jobs->ListJobs(&context, {}, &response);
  }
  HealthCheckResponse::ServingStatus HealthOf(const std::string& service = "") {
    const auto stub = Health::NewStub(server_.NewChannel());
    HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    EXPECT_THAT(Call(*stub, &Health::Stub::Check, request, &response), IsOk());
    return response.status();
  }
};

TEST_F(GuardedServer, EveryConfiguredTokenLetsACallIn) {
  EXPECT_THAT(ListWith(std::string("Bearer ") + kToken), IsOk());
  EXPECT_THAT(ListWith(std::string("Bearer ") + kOther), IsOk());
}

TEST_F(GuardedServer, ACallWithoutATokenIsToldHowToGiveOne) {
  const grpc::Status status = ListWith("");
  EXPECT_THAT(status, Refused(StatusCode::UNAUTHENTICATED, "TOKEN_MISSING", ""));
  EXPECT_THAT(status.error_message(), HasSubstr("--token-file"));
}

TEST_F(GuardedServer, EveryOtherHeaderIsRefusedInTheSameWords) {
  const std::string words = ListWith("Bearer wrong").error_message();
  for (const std::string& header :
       {std::string("Bearer wrong"), std::string("Bearer "), std::string(kToken),
        std::string("Basic ") + kToken, std::string("Bearer ") + kToken + "x",
        std::string("Bearer ") + "0123456789abcde", std::string("Bearer 0123456789abcdeX")}) {
    const grpc::Status status = ListWith(header);
    EXPECT_THAT(status, Refused(StatusCode::UNAUTHENTICATED, "TOKEN_REFUSED", "")) << header;
    EXPECT_EQ(status.error_message(), words);
    EXPECT_THAT(status.error_message(), Not(HasSubstr(kToken)));
  }
}

TEST_F(GuardedServer, EveryServiceIsGuarded) {
  grpc::ClientContext a, b, c, d, e, f, g, h;
  v1::QueryUploadResponse upload;
  EXPECT_EQ(calls_.blobs->QueryUpload(&a, {}, &upload).error_code(), StatusCode::UNAUTHENTICATED);
  v1::ListModelsResponse models;
  EXPECT_EQ(calls_.models->ListModels(&b, {}, &models).error_code(), StatusCode::UNAUTHENTICATED);
  v1::ListDatasetsResponse datasets;
  EXPECT_EQ(calls_.datasets->ListDatasets(&c, {}, &datasets).error_code(),
            StatusCode::UNAUTHENTICATED);
  v1::SynchronizeResponse synchronize;
  EXPECT_EQ(calls_.workers->Synchronize(&d, {}, &synchronize).error_code(),
            StatusCode::UNAUTHENTICATED);
  v1::Capabilities capabilities;
  EXPECT_EQ(calls_.capabilities->GetCapabilities(&e, {}, &capabilities).error_code(),
            StatusCode::UNAUTHENTICATED);
  grpc::Status status;
  ReadAll(*calls_.jobs->WatchJob(&f, {}), &status);
  EXPECT_EQ(status.error_code(), StatusCode::UNAUTHENTICATED);
  ReadAll(*calls_.blobs->DownloadBlob(&g, {}), &status);
  EXPECT_EQ(status.error_code(), StatusCode::UNAUTHENTICATED);
  v1::Blob blob;
  const auto writer = calls_.blobs->UploadBlob(&h, &blob);
  writer->WritesDone();
  EXPECT_EQ(writer->Finish().error_code(), StatusCode::UNAUTHENTICATED);
}

TEST_F(GuardedServer, HealthNeedsNoTokenAndKnowsEveryService) {
  EXPECT_EQ(HealthOf(), HealthCheckResponse::SERVING);
  for (const char* service : {"BlobService", "ModelService", "DatasetService", "JobService",
                              "WorkerService", "CapabilityService"}) {
    EXPECT_EQ(HealthOf(absl::StrCat("lathe.v1.", service)), HealthCheckResponse::SERVING)
        << service;
  }
  const auto stub = Health::NewStub(server_.NewChannel());
  HealthCheckRequest request;
  request.set_service("lathe.v1.NoService");
  EXPECT_EQ(Call(*stub, &Health::Stub::Check, request).error_code(), StatusCode::NOT_FOUND);
}

TEST_F(GuardedServer, ADrainingServerSaysSoAndGoesOnServing) {
  const auto stub = Health::NewStub(server_.NewChannel());
  grpc::ClientContext context;
  const auto watch = stub->Watch(&context, HealthCheckRequest());
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  server_.rpc().SetNotServing();
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(HealthOf(), HealthCheckResponse::NOT_SERVING);
  EXPECT_THAT(ListWith(std::string("Bearer ") + kToken), IsOk());
  server_.rpc().Shutdown(absl::Seconds(2));  // ends the watch
  EXPECT_FALSE(watch->Read(&response));
}

TEST_F(GuardedServer, AWatchOnAnUnknownServiceTellsThatItIsUnknown) {
  const auto stub = Health::NewStub(server_.NewChannel());
  HealthCheckRequest request;
  request.set_service("lathe.v1.NoService");
  grpc::ClientContext context;
  const auto watch = stub->Watch(&context, request);
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  context.TryCancel();
}

class OpenServer : public RpcTest {};

TEST_F(OpenServer, AServerWithoutTokensLetsEverybodyIn) {
  EXPECT_THAT(Call(*calls_.jobs, &v1::JobService::Stub::ListJobs, v1::ListJobsRequest()), IsOk());
}

TEST_F(OpenServer, TwoServersNeverShareAPort) {
  RpcOptions options;
  options.listen = server_.address();
  const auto second = RpcServer::Start(options, nullptr, nullptr, nullptr, nullptr);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("--listen"));
}

TEST_F(OpenServer, UnreadableCertificatesAreNamedWithTheirFlag) {
  RpcOptions options;
  options.listen = "127.0.0.1:0";
  options.tls_cert_file = "/nonexistent/cert.pem";
  options.tls_key_file = "/nonexistent/key.pem";
  const auto server = RpcServer::Start(options, nullptr, nullptr, nullptr, nullptr);
  EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(server.status().message()), HasSubstr("--tls-key /nonexistent/key.pem"));
}

}  // namespace
}  // namespace lathe::server
