// Steps of training: forwards, cross-entropy, backwards, Nesterov's SGD, on a model that
// bench/train.py makes.
//
//   bench_train THREADS SECONDS FOLDER...
//
// A folder holds model.onnx, whose inputs are `x` and the parameters, and inputs.onnx, a model
// whose initializers are their values and `labels`. The batch is cut into one shard a thread, each
// with a tape of its own, as the trainer does. Prints a line of JSON a folder: examples a second
// (of the fastest tenth of the steps and of all), the loss of the first and the last step, page
// faults in a steady step, bytes.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/graph/reader.h"
#include "worker/engine/graph/verifier.h"
#include "worker/engine/kernels/elementwise.h"
#include "worker/engine/tensor/parallel.h"
#include "worker/engine/train/loss.h"
#include "worker/engine/train/optimizer.h"
#include "worker/engine/train/tape.h"

namespace lathe::engine {
namespace {

// One run warms up, one follows the memory's plan for the first time.
constexpr int kWarmUp = 3;

struct Parameter {
  std::string name;
  Shape dims;
  std::vector<float> values;
  Moments moments;
};

struct Shard {
  std::unique_ptr<Tape> tape;
  Value x;
  Tensor labels;
  double loss = 0;
  std::vector<Value> grads;  // one a parameter
  absl::Status status;
};

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Seconds of processor time of all threads: what a step costs, however busy the machine is.
double CpuSeconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

int64_t PageFaults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

// Examples [first, first + count) of a tensor, borrowed.
Value Rows(const Value& whole, int64_t first, int64_t count) {
  Value out = whole;
  const int64_t row = whole.bytes() / whole.dims[0];
  out.dims[0] = count;
  out.data = whole.data + first * row;
  return out;
}

absl::Status RunShard(const std::vector<Parameter>& parameters, int64_t batch, Shard& shard) {
  std::map<std::string, Value> inputs = {{"x", shard.x}};
  for (const Parameter& p : parameters) {
    inputs[p.name] = Value::Borrow(DType::kFloat, p.dims, p.values.data());
  }
  ASSIGN_OR_RETURN(const std::vector<Value> outputs, shard.tape->Forward(inputs));
  Targets targets;
  targets.rows = shard.x.dims[0];
  targets.size = shard.x.dims[0];
  targets.labels = &shard.labels;
  const auto examples = static_cast<double>(batch);
  std::vector<Value> grads;
  ASSIGN_OR_RETURN(const LossResult loss,
                   ComputeLoss(
                       {}, targets, {examples, examples}, outputs, 0,
                       [&](Shape dims) { return shard.tape->NewValue(std::move(dims)); }, &grads));
  shard.loss = loss.loss;
  ASSIGN_OR_RETURN(shard.grads, shard.tape->Backward(std::move(grads)));
  return absl::OkStatus();
}

absl::Status Step(std::vector<Parameter>& parameters, std::vector<Shard>& shards, int64_t batch,
                  int64_t step, Parallel& parallel, std::vector<float>& sum) {
  parallel.Run(static_cast<int64_t>(shards.size()), [&](int64_t i) {
    Shard& shard = shards[static_cast<size_t>(i)];
    shard.status = RunShard(parameters, batch, shard);
  });
  for (const Shard& shard : shards) RETURN_IF_ERROR(shard.status);
  OptimizerOptions options;
  options.kind = OptimizerKind::kSgd;
  for (size_t i = 0; i < parameters.size(); ++i) {
    Parameter& p = parameters[i];
    std::span<const float> grad;
    for (const Shard& shard : shards) {
      if (i >= shard.grads.size() || !shard.grads[i].IsTensor()) {
        return absl::InternalError("no gradient reaches " + p.name);
      }
      const std::span<const float> part = shard.grads[i].As<float>();
      if (grad.empty()) {
        grad = part;
        continue;
      }
      sum.resize(std::max(sum.size(), part.size()));
      ApplyPair(PairOp::kAdd, grad.data(), 1, part.data(), 1, static_cast<int64_t>(part.size()),
                sum.data());
      grad = {sum.data(), part.size()};
    }
    OptimizerStep(options, step, 0.01, false, grad, p.values, &p.moments);
  }
  return absl::OkStatus();
}

absl::Status Measure(const std::string& folder, int threads, double seconds) {
  ASSIGN_OR_RETURN(const Model model, ReadModel(folder, "model.onnx"));
  RETURN_IF_ERROR(VerifyModel(model));
  ASSIGN_OR_RETURN(const Model holder, ReadModel(folder, "inputs.onnx"));
  std::vector<Parameter> parameters;
  std::vector<std::string> wanted;
  Value x;
  Value labels;
  for (const auto& [name, tensor] : holder.graph->initializers) {
    if (name == "x" || name == "labels") {
      (name == "x" ? x : labels) = Value::FromTensor(tensor);
      continue;
    }
    const Value value = Value::FromTensor(tensor);
    const std::span<const float> values = value.As<float>();
    parameters.push_back({name, value.dims, {values.begin(), values.end()}, {}});
    wanted.push_back(name);
  }
  const int64_t batch = x.dims[0];
  std::vector<Shard> shards(static_cast<size_t>(threads));
  for (int64_t i = 0; i < threads; ++i) {
    Shard& shard = shards[static_cast<size_t>(i)];
    ASSIGN_OR_RETURN(shard.tape, Tape::Make(model, wanted, {}));
    const int64_t first = batch * i / threads;
    const int64_t count = batch * (i + 1) / threads - first;
    shard.x = Rows(x, first, count);
    shard.labels = Rows(labels, first, count).ToTensor("labels");
  }
  const std::unique_ptr<Parallel> parallel = MakeThreadPool(threads);
  std::vector<double> times;
  std::vector<double> cpu;
  std::vector<float> sum;
  double first_loss = 0;
  int64_t faults = 0;
  const double start = Now();
  for (int64_t step = 1; times.size() < 5 || Now() - start < seconds; ++step) {
    const double before = Now();
    const double cpu_before = CpuSeconds();
    if (step == kWarmUp + 1) faults = PageFaults();
    RETURN_IF_ERROR(Step(parameters, shards, batch, step, *parallel, sum));
    if (step > kWarmUp) {
      times.push_back(Now() - before);
      cpu.push_back(CpuSeconds() - cpu_before);
    }
    if (step == 1) {
      for (const Shard& shard : shards) first_loss += shard.loss;
    }
  }
  faults = PageFaults() - faults;
  double loss = 0;
  int64_t bytes = 0;
  for (const Shard& shard : shards) {
    loss += shard.loss;
    bytes += shard.tape->peak_bytes();
    for (const BlockedNode& node : shard.tape->Blocked()) {
      return absl::InternalError("no gradient passes " + node.node->op_type + ": " + node.reason);
    }
  }
  double all = 0;
  for (const double t : times) all += t;
  std::sort(times.begin(), times.end());
  std::sort(cpu.begin(), cpu.end());
  const auto steps = static_cast<double>(times.size());
  std::printf(
      "{\"best\": %.1f, \"mean\": %.1f, \"cpu\": %.1f, \"first_loss\": %.6f, \"loss\": %.6f, "
      "\"faults\": %.2f, "
      "\"bytes\": %lld}\n",
      static_cast<double>(batch) / times[times.size() / 10],
      static_cast<double>(batch) * steps / all, static_cast<double>(batch) / cpu[cpu.size() / 10],
      first_loss, loss, static_cast<double>(faults) / steps, static_cast<long long>(bytes));
  std::fflush(stdout);
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: bench_train THREADS SECONDS FOLDER...\n");
    return 2;
  }
  for (int i = 3; i < argc; ++i) {
    const absl::Status status = Measure(argv[i], std::atoi(argv[1]), std::atof(argv[2]));
    if (!status.ok()) {
      std::fprintf(stderr, "%s: %s\n", argv[i], std::string(status.message()).c_str());
      return 1;
    }
  }
  return 0;
}

}  // namespace
}  // namespace lathe::engine

int main(int argc, char** argv) { return lathe::engine::Main(argc, argv); }
