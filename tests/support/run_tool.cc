#include "tests/support/run_tool.h"

#include <chrono>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/graph/reader.h"
#include "worker/engine/graph/verifier.h"
#include "worker/engine/graph/writer.h"
#include "worker/engine/run/executor.h"

namespace lathe::engine {
namespace {

using nlohmann::json;

std::map<std::string, Value> ReadInputs(const Model& model) {
  const std::map<std::string, Tensor>& tensors = model.graph->initializers;
  const json compound = json::parse(model.graph->doc_string, nullptr, false);
  std::map<std::string, Value> inputs;
  for (const auto& [name, tensor] : tensors) inputs[name] = Value::FromTensor(tensor);
  if (!compound.is_object()) return inputs;
  for (const auto& [name, form] : compound.items()) {
    const bool optional = form.contains("optional");
    const int count = form.value(optional ? "optional" : "sequence", 0);
    std::vector<Value> items;
    for (int i = 0; i < count; ++i) {
      items.push_back(inputs[absl::StrCat(name, "[", i, "]")]);
      inputs.erase(absl::StrCat(name, "[", i, "]"));
    }
    const DType dtype = items.empty() ? DType::kFloat : items[0].dtype;
    if (optional && form.contains("sequence")) {
      items = {Value::Sequence(dtype, std::move(items))};
    }
    inputs[name] = optional ? Value::Optional(dtype, std::move(items))
                            : Value::Sequence(dtype, std::move(items));
  }
  return inputs;
}

void AddOutput(const std::string& name, const Value& value, Graph& graph, json& compound) {
  if (value.IsTensor()) {
    graph.initializers.emplace(name, value.ToTensor(name));
    return;
  }
  if (value.items == nullptr) return;
  const bool optional = value.kind == Value::Kind::kOptional;
  compound[name] = {{optional ? "optional" : "sequence", value.items->size()}};
  for (size_t i = 0; i < value.items->size(); ++i) {
    AddOutput(absl::StrCat(name, "[", i, "]"), (*value.items)[i], graph, compound);
  }
}

absl::Status RunFolder(const std::string& folder, const ExecutorOptions& options, json& answer) {
  ASSIGN_OR_RETURN(const Model model, ReadModel(folder, "model.onnx"));
  RETURN_IF_ERROR(VerifyModel(model));
  ASSIGN_OR_RETURN(const Model holder, ReadModel(folder, "inputs.onnx"));
  const std::map<std::string, Value> inputs = ReadInputs(holder);
  ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor, Executor::Make(model, options));
  RETURN_IF_ERROR(executor->Run(inputs).status());
  ASSIGN_OR_RETURN(const std::vector<Value> outputs, executor->Run(inputs));
  answer["peak_bytes"] = executor->peak_activation_bytes();
  answer["planned"] = executor->planned();
  Model out;
  out.ir_version = 10;
  out.opset_imports[""] = 21;
  out.graph = std::make_unique<Graph>();
  json compound = json::object();
  for (size_t i = 0; i < outputs.size(); ++i) {
    AddOutput(executor->output_names()[i], outputs[i], *out.graph, compound);
  }
  out.graph->doc_string = compound.dump();
  return WriteModel(out, folder, "outputs.onnx").status();
}

}  // namespace

absl::Status TimeModel(const std::vector<std::string>& args) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  };
  ExecutorOptions options;
  std::string folder;
  bool profile = false;
  for (const std::string& arg : args) {
    if (arg == "--reference") {
      options.backend = BackendKind::kReference;
    } else if (arg == "--plain") {
      options.optimize = false;
    } else if (arg == "--profile") {
      profile = true;
    } else {
      folder = arg;
    }
  }
  // Between two outputs lies the time of the node that made the second.
  std::map<std::string, std::pair<double, int64_t>> spent;
  Clock::time_point last;
  if (profile) {
    options.observe = [&](const Node& node, std::span<const Value>, std::span<const Value>) {
      auto& entry = spent[absl::StrCat(node.domain.empty() ? "" : node.domain + ".", node.op_type)];
      entry.first += since(last);
      ++entry.second;
      last = Clock::now();
      return absl::OkStatus();
    };
  }
  ASSIGN_OR_RETURN(const Model model, ReadModel(folder, "model.onnx"));
  ASSIGN_OR_RETURN(const Model holder, ReadModel(folder, "inputs.onnx"));
  const std::map<std::string, Value> inputs = ReadInputs(holder);
  ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor, Executor::Make(model, options));
  for (int i = 0; i < 3; ++i) RETURN_IF_ERROR(executor->Run(inputs).status());
  if (profile) {
    constexpr int kRuns = 20;
    spent.clear();
    for (int i = 0; i < kRuns; ++i) {
      last = Clock::now();
      RETURN_IF_ERROR(executor->Run(inputs).status());
    }
    for (const auto& [op, entry] : spent) {
      std::cout << entry.first / kRuns << " ms in " << entry.second / kRuns << " " << op
                << std::endl;
    }
    return absl::OkStatus();
  }
  std::cout << "ready" << std::endl;
  for (int count = 0; std::cin >> count;) {
    for (int i = 0; i < count; ++i) {
      const Clock::time_point start = Clock::now();
      RETURN_IF_ERROR(executor->Run(inputs).status());
      std::cout << since(start) << " ";
    }
    std::cout << std::endl;
  }
  return absl::OkStatus();
}

absl::Status RunModels(const std::vector<std::string>& args) {
  ExecutorOptions options;
  options.max_node_visits = 5'000'000;
  for (const std::string& arg : args) {
    if (arg == "--reference") {
      options.backend = BackendKind::kReference;
      continue;
    }
    if (arg == "--plain") {
      options.optimize = false;
      continue;
    }
    json answer = {{"ok", true}};
    const absl::Status status = RunFolder(arg, options, answer);
    if (!status.ok()) {
      answer = {{"ok", false},
                {"code", std::string(absl::StatusCodeToString(status.code()))},
                {"error", std::string(status.message())}};
    }
    std::cout << answer.dump(-1, ' ', false, json::error_handler_t::replace) << std::endl;
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
