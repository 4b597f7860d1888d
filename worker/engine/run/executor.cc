#include "worker/engine/run/executor.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/ops/forward/run_node.h"
#include "worker/engine/run/frame.h"
#include "worker/engine/run/optimize.h"
#include "worker/engine/run/program.h"

namespace lathe::engine {

struct Executor::Impl {
  Impl(const ExecutorOptions& given)
      : options(given),
        memory(given.max_activation_bytes),
        backend(MakeBackend(given.backend)),
        machine(options, memory, *backend) {}

  const ExecutorOptions options;
  Model optimized;  // when asked for
  std::unique_ptr<Program> program;
  std::vector<std::string> input_names;
  std::vector<std::string> output_names;
  ActivationMemory memory;
  std::unique_ptr<Backend> backend;
  Machine machine;
};

Executor::Executor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Executor::~Executor() = default;

absl::StatusOr<std::unique_ptr<Executor>> Executor::Make(const Model& model,
                                                         const ExecutorOptions& options) {
  auto impl = std::make_unique<Impl>(options);
  const Model* run = &model;
  if (options.optimize) {
    impl->optimized = CloneModel(model);
    RETURN_IF_ERROR(OptimizeForRun(impl->optimized, *impl->backend));
    run = &impl->optimized;
  }
  ASSIGN_OR_RETURN(impl->program, CompileModel(*run));
  for (size_t i = 0; i < run->graph->inputs.size(); ++i) {
    if (impl->program->inputs[i] >= 0) impl->input_names.push_back(run->graph->inputs[i].name);
  }
  for (const ValueInfo& output : run->graph->outputs) impl->output_names.push_back(output.name);
  return std::unique_ptr<Executor>(new Executor(std::move(impl)));
}

const std::vector<std::string>& Executor::input_names() const { return impl_->input_names; }
const std::vector<std::string>& Executor::output_names() const { return impl_->output_names; }

absl::StatusOr<std::vector<Value>> Executor::Run(const std::map<std::string, Value>& inputs) {
  const Program& program = *impl_->program;
  std::vector<Value> ordered(program.inputs.size());
  std::string key;
  for (size_t i = 0; i < ordered.size(); ++i) {
    if (program.inputs[i] < 0) continue;
    const ValueInfo& info = program.graph->inputs[i];
    const auto given = inputs.find(info.name);
    if (given == inputs.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("input '", info.name,
                       "' is missing; the model has: ", absl::StrJoin(impl_->input_names, ", ")));
    }
    const Value& value = given->second;
    if (value.IsTensor() && info.dtype != DType::kUndefined && value.dtype != info.dtype) {
      return absl::InvalidArgumentError(absl::StrCat(
          "input '", info.name, "' must be ", DTypeName(info.dtype), ", not ", Describe(value)));
    }
    ordered[i] = value;
    absl::StrAppend(&key, Describe(value), ";");
  }
  UseCallingThreadAlone();
  impl_->machine.Begin();
  impl_->memory.BeginRun(key);
  absl::StatusOr<std::vector<Value>> outputs =
      impl_->machine.RunProgram(program, nullptr, std::move(ordered));
  if (outputs.ok()) {
    for (Value& output : *outputs) {
      if (!output.IsTensor() || output.layout == Layout::kPlain) continue;
      absl::StatusOr<Value> plain = ToPlain(output, impl_->memory);
      if (!plain.ok()) {
        outputs = plain.status();
        break;
      }
      output = *std::move(plain);
    }
  }
  impl_->memory.EndRun();
  return outputs;
}

int64_t Executor::peak_activation_bytes() const { return impl_->memory.peak_bytes(); }
bool Executor::planned() const { return impl_->memory.planned(); }

}  // namespace lathe::engine
