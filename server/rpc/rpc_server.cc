#include "server/rpc/rpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>

#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "server/listen_address.h"
#include "server/rpc/blob_rpc.h"
#include "server/rpc/call_guard.h"
#include "server/rpc/health_rpc.h"
#include "server/rpc/job_rpc.h"
#include "server/rpc/library_rpc.h"
#include "server/rpc/worker_rpc.h"

namespace lathe::server {
namespace {

absl::StatusOr<std::string> ReadPem(const std::string& flag, const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  if (!in || out.str().empty())
    return absl::InvalidArgumentError(absl::StrCat("cannot read ", flag, " ", path));
  return out.str();
}

}  // namespace

class RpcServer::Impl {
 public:
  Impl(const RpcOptions& options, Library* library, JobService* jobs, BlobStore* blobs,
       Metrics* metrics)
      : guard(options.tokens, metrics),
        blob_rpc(&guard, blobs, metrics),
        model_rpc(&guard, library, jobs, blobs, metrics),
        dataset_rpc(&guard, library),
        job_rpc(&guard, jobs, blobs),
        worker_rpc(&guard, jobs),
        capability_rpc(&guard, options.max_attempts),
        health({"lathe.v1.BlobService", "lathe.v1.ModelService", "lathe.v1.DatasetService",
                "lathe.v1.JobService", "lathe.v1.WorkerService", "lathe.v1.CapabilityService"}) {}

  CallGuard guard;
  BlobRpc blob_rpc;
  ModelRpc model_rpc;
  DatasetRpc dataset_rpc;
  JobRpc job_rpc;
  WorkerRpc worker_rpc;
  CapabilityRpc capability_rpc;
  HealthRpc health;
  std::unique_ptr<grpc::Server> server;
  std::string address;
  std::string local_address;
};

RpcServer::RpcServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RpcServer::~RpcServer() { Shutdown(absl::ZeroDuration()); }

const std::string& RpcServer::address() const { return impl_->address; }
const std::string& RpcServer::local_address() const { return impl_->local_address; }
void RpcServer::SetNotServing() { impl_->health.SetServing(false); }

void RpcServer::Shutdown(absl::Duration grace) {
  if (!impl_->server) return;
  impl_->health.Shutdown();
  impl_->server->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  impl_->server->Wait();
  impl_->server.reset();
}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(const RpcOptions& options,
                                                            Library* library, JobService* jobs,
                                                            BlobStore* blobs, Metrics* metrics) {
  ASSIGN_OR_RETURN(const ListenAddress where, ListenAddress::Parse(options.listen));
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
  if (!options.tls_cert_file.empty()) {
    grpc::SslServerCredentialsOptions ssl;
    grpc::SslServerCredentialsOptions::PemKeyCertPair pair;
    ASSIGN_OR_RETURN(pair.private_key, ReadPem("--tls-key", options.tls_key_file));
    ASSIGN_OR_RETURN(pair.cert_chain, ReadPem("--tls-cert", options.tls_cert_file));
    ssl.pem_key_cert_pairs.push_back(std::move(pair));
    credentials = grpc::SslServerCredentials(ssl);
  }
  auto impl = std::make_unique<Impl>(options, library, jobs, blobs, metrics);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(where.ToString(), credentials, &port);
  const bool loopback_too = options.local_workers && !options.tls_cert_file.empty();
  int local_port = 0;
  if (loopback_too) {
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &local_port);
  }
  builder.SetMaxReceiveMessageSize(static_cast<int>(limits::kMaxMessageBytes));
  builder.SetMaxSendMessageSize(static_cast<int>(limits::kMaxMessageBytes));
  // Two servers must not share a port in silence.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Clients ping every 20 s while they wait.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60000);
  // Few: every poller is a thread that gRPC may hand an event to, and each hand-over is a wake-up.
  // Measured with 16 clients that create jobs: 4 carry more calls a second than 32.
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 4);
  // Waiting calls hold a thread each; past this many, calls queue.
  grpc::ResourceQuota quota("lathed");
  quota.SetMaxThreads(2048);
  builder.SetResourceQuota(quota);
  builder.RegisterService(&impl->blob_rpc);
  builder.RegisterService(&impl->model_rpc);
  builder.RegisterService(&impl->dataset_rpc);
  builder.RegisterService(&impl->job_rpc);
  builder.RegisterService(&impl->worker_rpc);
  builder.RegisterService(&impl->capability_rpc);
  builder.RegisterService(&impl->health);
  impl->server = builder.BuildAndStart();
  if (!impl->server || port == 0 || (loopback_too && local_port == 0)) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen for gRPC on ", options.listen,
                     ": is the port taken, or the certificate bad? (--listen, --tls-cert)"));
  }
  impl->address = ListenAddress{where.host, port}.ToString();
  impl->local_address =
      loopback_too ? ListenAddress{"127.0.0.1", local_port}.ToString() : impl->address;
  return std::unique_ptr<RpcServer>(new RpcServer(std::move(impl)));
}

}  // namespace lathe::server
