// The service's own costs, over loopback against a real lathed, each beside the limit measured in
// the same run.
//
//   bench_service [UPLOAD_MEGABYTES]     1024 by default; TMPDIR names the disk
//
// Reach: a serial unary call <= 200 us; a durable CreateJob <= 0.6 ms in the median where a commit
// of SQLite's write-ahead log takes 0.2 ms, so <= 3 commits; >= 5,000 CreateJob a second from 16
// clients by group commit; an upload at >= 1.5 GB/s.
#include <SQLiteCpp/SQLiteCpp.h>
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/lathed_process.h"
#include "common/digest.h"
#include "lathe/client.h"
#include "lathe/v1/blobs.grpc.pb.h"
#include "lathe/v1/jobs.grpc.pb.h"

namespace lathe::bench {
namespace {

constexpr int kUnaryCalls = 5000;
constexpr int kCreateCalls = 2000;
constexpr int kClients = 16;
constexpr int kCreateCallsEach = 1000;

struct Quantiles {
  double median = 0;  // seconds
  double p99 = 0;
};

Quantiles Of(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  return {seconds[seconds.size() / 2], seconds[seconds.size() * 99 / 100]};
}

template <typename Work>
Quantiles Serial(int count, const Work& work) {
  std::vector<double> seconds;
  for (int i = 0; i < count; ++i) {
    const double start = Now();
    work(i);
    seconds.push_back(Now() - start);
  }
  return Of(std::move(seconds));
}

// What durability costs on this disk with SQLite alone: one row of a job's size, one commit, as the
// store does it.
Quantiles WalCommit(const std::string& folder) {
  SQLite::Database db(folder + "/commit.db", SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  db.exec("PRAGMA journal_mode=WAL");
  db.exec("PRAGMA synchronous=FULL");
  db.exec("CREATE TABLE jobs (id INTEGER PRIMARY KEY, job BLOB)");
  SQLite::Statement insert(db, "INSERT INTO jobs (job) VALUES (?)");
  const std::string row(700, 'x');
  return Serial(2000, [&](int) {
    db.exec("BEGIN IMMEDIATE");
    insert.bind(1, row.data(), static_cast<int>(row.size()));
    insert.exec();
    insert.reset();
    db.exec("COMMIT");
  });
}

Quantiles Unary(v1::JobService::Stub& stub, const v1::GetJobRequest& request) {
  return Serial(kUnaryCalls, [&](int) {
    grpc::ClientContext context;
    v1::Job job;
    if (!stub.GetJob(&context, request, &job).ok()) Fail("GetJob failed");
  });
}

std::string NewModel(client::Client& client, const std::string& folder) {
  const std::string path = folder + "/any.onnx";
  std::ofstream(path, std::ios::binary) << "the server never parses a model";
  const absl::StatusOr<v1::Model> model = client.UploadModel(path, {});
  if (!model.ok()) Fail(std::string(model.status().message()));
  return model->name();
}

v1::CreateJobRequest NewJob(const std::string& model, const std::string& request_id) {
  v1::CreateJobRequest request;
  request.set_request_id(request_id);
  request.mutable_job()->set_model(model);
  request.mutable_job()->mutable_recipe()->add_steps()->mutable_quantize_weights()->set_bits(8);
  return request;
}

void Create(v1::JobService::Stub& stub, const v1::CreateJobRequest& request) {
  grpc::ClientContext context;
  v1::Job job;
  const grpc::Status status = stub.CreateJob(&context, request, &job);
  if (!status.ok()) Fail("CreateJob: " + status.error_message());
}

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL,
                   1);  // a connection of its own, as another process has
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

// What gRPC costs here without a service behind it: the same messages over the same kind of
// connection to a server of this process that answers a kept job.
class Echo : public v1::JobService::Service {
 public:
  explicit Echo(v1::Job answer) : answer_(std::move(answer)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) Fail("cannot start a gRPC server");
  }

  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest*, v1::Job* job) override {
    *job = answer_;
    return grpc::Status::OK;
  }
  grpc::Status CreateJob(grpc::ServerContext*, const v1::CreateJobRequest*, v1::Job* job) override {
    *job = answer_;
    return grpc::Status::OK;
  }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

 private:
  const v1::Job answer_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

double CreatedPerSecond(const std::string& address, const std::string& model, int clients,
                        int each) {
  std::atomic<int> ready = 0;
  std::atomic<bool> go = false;
  std::vector<std::thread> threads;
  for (int c = 0; c < clients; ++c) {
    threads.emplace_back([&, c] {
      const std::unique_ptr<v1::JobService::Stub> stub = v1::JobService::NewStub(Connect(address));
      Create(*stub, NewJob(model, absl::StrCat("warm-", c)));
      ++ready;
      while (!go) std::this_thread::yield();
      for (int i = 0; i < each; ++i) Create(*stub, NewJob(model, absl::StrCat("many-", c, "-", i)));
    });
  }
  while (ready < clients) absl::SleepFor(absl::Milliseconds(1));
  const double start = Now();
  go = true;
  for (std::thread& thread : threads) thread.join();
  return clients * each / (Now() - start);
}

// Seconds to write and sync a file of these bytes, and to hash it: the two things an upload cannot
// do without.
void Limits(const std::string& folder, const std::string& bytes) {
  const std::string path = folder + "/limit";
  double start = Now();
  const int fd = open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  for (size_t at = 0; at < bytes.size(); at += size_t{1} << 20) {
    const size_t size = std::min(bytes.size() - at, size_t{1} << 20);
    if (write(fd, bytes.data() + at, size) != static_cast<ssize_t>(size))
      Fail("cannot write " + path);
  }
  const double written = Now() - start;
  fsync(fd);
  close(fd);
  const double synced = Now() - start;
  start = Now();
  const absl::StatusOr<FileDigest> digest = Sha256File(path);
  if (!digest.ok()) Fail(std::string(digest.status().message()));
  const double hashed = Now() - start;
  std::filesystem::remove(path);
  const double gb = static_cast<double>(bytes.size()) / 1e9;
  std::printf("%-44s %8.2f GB/s   into memory %.2f GB/s\n", "limit: write and sync to this disk",
              gb / synced, gb / written);
  std::printf("%-44s %8.2f GB/s\n", "limit: SHA-256, one thread", gb / hashed);
}

void Upload(client::Client& client, const std::string& address, const std::string& folder,
            int64_t megabytes) {
  std::string bytes(static_cast<size_t>(megabytes) << 20, '\0');
  uint64_t state = 1;
  for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    std::memcpy(bytes.data() + i, &state, 8);
  }
  Limits(folder, bytes);
  const std::string path = folder + "/upload.bin";
  std::ofstream(path, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  const double gb = static_cast<double>(bytes.size()) / 1e9;
  // By the SDK, hashing of the file and durable storage included.
  double start = Now();
  const absl::StatusOr<v1::Blob> blob = client.UploadFile(path);
  if (!blob.ok()) Fail(std::string(blob.status().message()));
  std::printf("%-44s %8.2f GB/s   reach 1.5\n", "upload by the SDK, hashing included",
              gb / (Now() - start));
  // The stream alone: what goes over the wire once the client knows the digest.
  bytes[0] = static_cast<char>(bytes[0] + 1);
  const std::string digest = Sha256Hex(bytes);
  const std::unique_ptr<v1::BlobService::Stub> stub = v1::BlobService::NewStub(Connect(address));
  start = Now();
  grpc::ClientContext context;
  v1::Blob stored;
  const std::unique_ptr<grpc::ClientWriter<v1::UploadBlobRequest>> writer =
      stub->UploadBlob(&context, &stored);
  v1::UploadBlobRequest part;
  part.mutable_header()->set_digest(digest);
  part.mutable_header()->set_size_bytes(static_cast<int64_t>(bytes.size()));
  writer->Write(part);
  for (size_t at = 0; at < bytes.size(); at += size_t{1} << 20) {
    part.set_chunk(bytes.data() + at, std::min(bytes.size() - at, size_t{1} << 20));
    if (!writer->Write(part)) break;
  }
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  if (!status.ok()) Fail("UploadBlob: " + status.error_message());
  std::printf("%-44s %8.2f GB/s   reach 1.5\n", "UploadBlob stream, until it is durable",
              gb / (Now() - start));
}

void Run(int64_t megabytes) {
  const BenchFolder folder;
  const LathedProcess server(folder.path(), 0);
  const absl::StatusOr<std::unique_ptr<client::Client>> client =
      client::Client::Connect({.server = server.address()});
  if (!client.ok()) Fail(std::string(client.status().message()));
  const std::string model = NewModel(**client, folder.path());
  const std::unique_ptr<v1::JobService::Stub> jobs =
      v1::JobService::NewStub(Connect(server.address()));

  Create(*jobs, NewJob(model, "first"));
  v1::GetJobRequest get;
  {
    grpc::ClientContext context;
    v1::Job job;
    jobs->CreateJob(&context, NewJob(model, "first"), &job);
    get.set_name(job.name());
  }
  v1::Job kept;
  {
    grpc::ClientContext context;
    if (!jobs->GetJob(&context, get, &kept).ok()) Fail("GetJob failed");
  }
  const Echo echo(kept);
  const std::unique_ptr<v1::JobService::Stub> echoes =
      v1::JobService::NewStub(Connect(echo.address()));
  const Quantiles floor = Unary(*echoes, get);
  std::printf("%-44s %8.0f us median, %.0f us p99\n", "limit: the same call, nothing behind it",
              floor.median * 1e6, floor.p99 * 1e6);
  double cpu = server.CpuSeconds();
  const Quantiles unary = Unary(*jobs, get);
  cpu = server.CpuSeconds() - cpu;
  std::printf("%-44s %8.0f us median, %.0f us p99, %.2fx, server %.0f us of CPU   reach 200\n",
              "serial unary call (GetJob)", unary.median * 1e6, unary.p99 * 1e6,
              unary.median / floor.median, cpu / kUnaryCalls * 1e6);

  const Quantiles commit = WalCommit(folder.path());
  std::printf("%-44s %8.3f ms median, %.3f ms p99\n", "limit: one commit of SQLite's log",
              commit.median * 1e3, commit.p99 * 1e3);
  cpu = server.CpuSeconds();
  const Quantiles created = Serial(
      kCreateCalls, [&](int i) { Create(*jobs, NewJob(model, absl::StrCat("serial-", i))); });
  cpu = server.CpuSeconds() - cpu;
  std::printf(
      "%-44s %8.3f ms median, %.3f ms p99, %.1fx of a commit, server %.0f us of CPU   reach 3x\n",
      "durable CreateJob, one client", created.median * 1e3, created.p99 * 1e3,
      created.median / commit.median, cpu / kCreateCalls * 1e6);
  const double most = CreatedPerSecond(echo.address(), model, kClients, kCreateCallsEach);
  std::printf("%-44s %8.0f /s\n", "limit: 16 clients, nothing behind the calls", most);
  cpu = server.CpuSeconds();
  const double rate = CreatedPerSecond(server.address(), model, kClients, kCreateCallsEach);
  cpu = server.CpuSeconds() - cpu;
  std::printf(
      "%-44s %8.0f /s, %.1fx the rate of single commits, server %.0f us of CPU   reach 5,000\n",
      "durable CreateJob, 16 clients", rate, rate * commit.median,
      cpu / (kClients * kCreateCallsEach) * 1e6);
  Upload(**client, server.address(), folder.path(), megabytes);
}

}  // namespace
}  // namespace lathe::bench

int main(int argc, char** argv) {
  lathe::bench::Run(argc > 1 ? std::atoll(argv[1]) : 1024);
  return 0;
}
