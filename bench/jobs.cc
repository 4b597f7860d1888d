// Whole jobs through a real lathed and real workers, job process and all.
//
//   bench_jobs [MEGABYTES]     size of the large model, 100 by default; TMPDIR names the disk
//
// Reach: 50 trivial jobs with two workers, from the first submit to the last done, <= 2 s; a 100 MB
// model end to end (upload, 8 bits, download) <= 4 times what the engine alone takes to read and
// write the file.
#include <onnx/onnx_pb.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/lathed_process.h"
#include "lathe/client.h"
#include "worker/engine/graph/reader.h"
#include "worker/engine/graph/writer.h"

namespace lathe::bench {
namespace {

template <typename T>
T Must(absl::StatusOr<T> result) {
  if (!result.ok()) Fail(std::string(result.status().message()));
  return *std::move(result);
}

// A chain of `layers` square Gemm layers of `width` inputs with bell-shaped weights.
void WriteChain(const std::string& path, int layers, int64_t width, uint64_t seed) {
  onnx::ModelProto model;
  model.set_ir_version(8);
  model.add_opset_import()->set_version(17);
  onnx::GraphProto& graph = *model.mutable_graph();
  graph.set_name("chain");
  const auto value = [&](onnx::ValueInfoProto& info, const std::string& name) {
    info.set_name(name);
    onnx::TypeProto::Tensor& type = *info.mutable_type()->mutable_tensor_type();
    type.set_elem_type(onnx::TensorProto::FLOAT);
    type.mutable_shape()->add_dim()->set_dim_param("batch");
    type.mutable_shape()->add_dim()->set_dim_value(width);
  };
  value(*graph.add_input(), "x0");
  value(*graph.add_output(), absl::StrCat("x", layers));
  std::vector<float> weights(static_cast<size_t>(width * width));
  for (int layer = 0; layer < layers; ++layer) {
    for (float& weight : weights) {
      // Sum of four uniform numbers: near enough to normal.
      float sum = 0;
      for (int i = 0; i < 4; ++i) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        sum += static_cast<float>(seed >> 40) * 0x1p-24f - 0.5f;
      }
      weight = sum * 0.05f;
    }
    onnx::TensorProto& tensor = *graph.add_initializer();
    tensor.set_name(absl::StrCat("w", layer));
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    tensor.add_dims(width);
    tensor.add_dims(width);
    tensor.set_raw_data(weights.data(), weights.size() * sizeof(float));
    onnx::NodeProto& node = *graph.add_node();
    node.set_op_type("Gemm");
    node.set_name(absl::StrCat("fc", layer));
    node.add_input(absl::StrCat("x", layer));
    node.add_input(tensor.name());
    node.add_output(absl::StrCat("x", layer + 1));
  }
  std::ofstream out(path, std::ios::binary);
  if (!model.SerializeToOstream(&out)) Fail("cannot write " + path);
}

v1::Job Job(const std::string& model, int bits, int variant) {
  v1::Job job;
  job.set_model(model);
  v1::Recipe& recipe = *job.mutable_recipe();
  recipe.add_steps()->mutable_quantize_weights()->set_bits(bits);
  recipe.set_seed(variant);  // another seed is another job: nothing comes from the result cache
  return job;
}

void WaitForWorkers(client::Client& client, int count) {
  while (Must(client.ListWorkers()).workers_size() < count) absl::SleepFor(absl::Milliseconds(20));
}

void Succeeded(const absl::StatusOr<v1::Job>& job) {
  if (!job.ok()) Fail(std::string(job.status().message()));
  if (job->state() != v1::JOB_STATE_SUCCEEDED) Fail(job->name() + ": " + job->error().message());
}

void Trivial(const std::string& folder) {
  const LathedProcess server(folder, 2);
  const std::unique_ptr<client::Client> client =
      Must(client::Client::Connect({.server = server.address()}));
  WriteChain(folder + "/small.onnx", 2, 32, 1);
  const std::string model = Must(client->UploadModel(folder + "/small.onnx", {})).name();
  WaitForWorkers(*client, 2);
  Succeeded(client->WaitJob(Must(client->CreateJob(Job(model, 8, 1000))).name(), absl::Minutes(1)));
  const double start = Now();
  std::vector<std::string> names;
  for (int i = 0; i < 50; ++i) names.push_back(Must(client->CreateJob(Job(model, 8, i))).name());
  const double submitted = Now();
  for (const std::string& name : names) Succeeded(client->WaitJob(name, absl::Minutes(1)));
  const double end = Now();
  std::printf("%-50s %8.2f s   of it submitting %.2f s   reach 2 s\n",
              "50 trivial jobs, two workers", end - start, submitted - start);
  const double one = Now();
  Succeeded(client->WaitJob(Must(client->CreateJob(Job(model, 8, 2000))).name(), absl::Minutes(1)));
  std::printf("%-50s %8.3f s\n", "one trivial job, from submit to done", Now() - one);
}

void Large(const std::string& folder, int64_t megabytes) {
  const std::string path = folder + "/large.onnx";
  constexpr int kLayers = 5;
  int64_t width = 64;
  while (kLayers * (width + 64) * (width + 64) * 4 <= megabytes * 1'000'000) width += 64;
  WriteChain(path, kLayers, width, 7);
  const double size = static_cast<double>(std::filesystem::file_size(path)) / 1e6;

  std::filesystem::create_directory(folder + "/copy");
  double copy = 1e9;
  for (int i = 0; i < 3; ++i) {
    const double start = Now();
    const engine::Model model = Must(engine::ReadModel(folder, "large.onnx"));
    const auto written = engine::WriteModel(model, folder + "/copy", absl::StrCat(i, ".onnx"));
    if (!written.ok()) Fail(std::string(written.status().message()));
    copy = std::min(copy, Now() - start);
  }
  std::printf("%-50s %8.3f s   %.0f MB\n", "the engine alone reads and writes the model", copy,
              size);

  const LathedProcess server(folder, 1);
  const std::unique_ptr<client::Client> client =
      Must(client::Client::Connect({.server = server.address()}));
  WaitForWorkers(*client, 1);
  const double start = Now();
  const std::string model = Must(client->UploadModel(path, {})).name();
  const double uploaded = Now();
  const absl::StatusOr<v1::Job> job =
      client->WaitJob(Must(client->CreateJob(Job(model, 8, 1))).name(), absl::Minutes(10));
  Succeeded(job);
  const double done = Now();
  Must(client->DownloadModel(job->result().model(), folder + "/result.onnx", {}));
  const double end = Now();
  std::printf("%-50s %8.3f s   %.1fx   reach 4x\n", "upload, 8 bits, download", end - start,
              (end - start) / copy);
  std::printf("%-50s %8.3f s, %.3f s, %.3f s\n", "  of it upload, job, download", uploaded - start,
              done - uploaded, end - done);
}

void Run(int64_t megabytes) {
  {
    const BenchFolder folder;
    Trivial(folder.path());
  }
  const BenchFolder folder;
  Large(folder.path(), megabytes);
}

}  // namespace
}  // namespace lathe::bench

int main(int argc, char** argv) {
  lathe::bench::Run(argc > 1 ? std::atoll(argv[1]) : 100);
  return 0;
}
