#include "tests/support/ort_tool.h"

#include <filesystem>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/graph/reader.h"
#include "worker/engine/graph/writer.h"
#include "worker/ort/ort_library.h"

namespace lathe::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

absl::Status RunFolder(ort::OrtLibrary& library, const std::string& folder, RuntimeOptions options,
                       json& answer) {
  ASSIGN_OR_RETURN(const Model holder, ReadModel(folder, "inputs.onnx"));
  std::map<std::string, Value> inputs;
  for (const auto& [name, tensor] : holder.graph->initializers) {
    inputs[name] = Value::FromTensor(tensor);
  }
  const std::string path = absl::StrCat(folder, "/model.onnx");
  options.model_bytes = static_cast<int64_t>(fs::file_size(path));
  if (!options.optimized_path.empty()) {
    options.optimized_path = absl::StrCat(folder, "/", options.optimized_path);
  }
  ASSIGN_OR_RETURN(const auto session, library.Open(path, options));
  answer["outputs"] = session->output_names();
  RETURN_IF_ERROR(session->Run(inputs).status());
  ASSIGN_OR_RETURN(const std::vector<Value> outputs, session->Run(inputs));
  Model out;
  out.ir_version = 10;
  out.opset_imports[""] = 21;
  out.graph = std::make_unique<Graph>();
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!outputs[i].IsTensor()) continue;
    const std::string& name = session->output_names()[i];
    out.graph->initializers.emplace(name, outputs[i].ToTensor(name));
  }
  out.graph->doc_string = "{}";
  return WriteModel(out, folder, "outputs.onnx").status();
}

}  // namespace

absl::Status RunInOrt(const std::vector<std::string>& args) {
  RuntimeOptions options;
  ort::OrtOptions library_options;
  std::vector<std::string> folders;
  for (size_t i = 1; i < args.size(); ++i) {
    if (args[i] == "--none") {
      options.optimization = GraphOptimization::kNone;
    } else if (args[i] == "--basic") {
      options.optimization = GraphOptimization::kBasic;
    } else if (args[i] == "--threads" && i + 1 < args.size()) {
      if (!absl::SimpleAtoi(args[++i], &options.threads)) {
        return absl::InvalidArgumentError("--threads N");
      }
    } else if (args[i] == "--optimized" && i + 1 < args.size()) {
      options.optimized_path = args[++i];
    } else if (args[i] == "--spare" && i + 1 < args.size()) {
      int64_t bytes = 0;
      if (!absl::SimpleAtoi(args[++i], &bytes)) return absl::InvalidArgumentError("--spare BYTES");
      library_options.spare_bytes = [bytes] { return bytes; };
    } else {
      folders.push_back(args[i]);
    }
  }
  ASSIGN_OR_RETURN(const auto library, ort::OrtLibrary::Load(args[0], library_options));
  for (const std::string& folder : folders) {
    json answer = {{"ok", true}, {"version", library->version()}};
    const absl::Status status = RunFolder(*library, folder, options, answer);
    if (!status.ok()) {
      answer["ok"] = false;
      answer["code"] = std::string(absl::StatusCodeToString(status.code()));
      answer["error"] = std::string(status.message());
    }
    std::cout << answer.dump(-1, ' ', false, json::error_handler_t::replace) << std::endl;
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
