#include "tests/support/grad_tool.h"

#include <cstring>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/graph/reader.h"
#include "worker/engine/graph/verifier.h"
#include "worker/engine/graph/writer.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/train/tape.h"

namespace lathe::engine {
namespace {

using nlohmann::json;

absl::Status Differentiate(const std::string& folder, const TapeOptions& options, json& answer) {
  ASSIGN_OR_RETURN(const Model model, ReadModel(folder, "model.onnx"));
  RETURN_IF_ERROR(VerifyModel(model));
  ASSIGN_OR_RETURN(const Model holder, ReadModel(folder, "inputs.onnx"));
  std::map<std::string, Value> inputs;
  std::map<std::string, Value> output_grads;
  for (const auto& [name, tensor] : holder.graph->initializers) {
    auto& to = absl::StartsWith(name, "grad:") ? output_grads : inputs;
    to[absl::StartsWith(name, "grad:") ? name.substr(5) : name] = Value::FromTensor(tensor);
  }
  std::vector<std::string> wanted;
  for (const ValueInfo& input : model.graph->inputs) {
    if (input.dtype == DType::kFloat || input.dtype == DType::kFloat16 ||
        input.dtype == DType::kDouble || input.dtype == DType::kBfloat16) {
      wanted.push_back(input.name);
    }
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Tape> tape, Tape::Make(model, wanted, options));
  std::map<std::string, Tensor> found;
  for (int run = 0; run < 2; ++run) {
    ASSIGN_OR_RETURN(const std::vector<Value> outputs, tape->Forward(inputs));
    std::vector<Value> grads;
    for (size_t i = 0; i < outputs.size(); ++i) {
      const std::string name = absl::StrCat("out:", tape->output_names()[i]);
      if (outputs[i].IsTensor() && run == 1) found[name] = outputs[i].ToTensor(name);
      grads.push_back(output_grads[tape->output_names()[i]]);
    }
    ASSIGN_OR_RETURN(const std::vector<Value> results, tape->Backward(std::move(grads)));
    for (size_t i = 0; i < results.size(); ++i) {
      if (!results[i].IsTensor()) continue;
      Tensor tensor = results[i].ToTensor(wanted[i]);
      const auto before = found.find(wanted[i]);
      if (run == 1 && before != found.end() && before->second.data.view() != tensor.data.view()) {
        return absl::InternalError("the second run gave another gradient of " + wanted[i]);
      }
      found[wanted[i]] = std::move(tensor);
    }
  }
  answer["blocked"] = json::array();
  for (const BlockedNode& node : tape->Blocked()) {
    answer["blocked"].push_back(absl::StrCat(node.node->op_type, ": ", node.reason));
  }
  Model out;
  out.ir_version = 10;
  out.opset_imports[""] = 21;
  out.graph = std::make_unique<Graph>();
  out.graph->initializers = std::move(found);
  return WriteModel(out, folder, "outputs.onnx").status();
}

}  // namespace

void PrintBackwards() {
  std::map<std::pair<std::string, std::string>, std::string> gradients;
  for (const OpForward* forward : AllForwards()) {
    gradients[{forward->domain, forward->op}] = "blocked";
  }
  for (const OpBackward* backward : AllBackwards()) {
    gradients[{backward->domain, backward->op}] = backward->run == nullptr ? "zero" : "passes";
  }
  for (const auto& [name, gradient] : gradients) {
    std::cout << json{{"domain", name.first},
                      {"op", name.second},
                      {"gradient", gradient},
                      {"runs", FindForward(name.first, name.second) != nullptr}}
                     .dump()
              << "\n";
  }
}

absl::Status DifferentiateModels(const std::vector<std::string>& args) {
  TapeOptions options;
  for (const std::string& arg : args) {
    if (arg == "--reference") {
      options.backend = BackendKind::kReference;
      continue;
    }
    json answer = {{"ok", true}};
    const absl::Status status = Differentiate(arg, options, answer);
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
