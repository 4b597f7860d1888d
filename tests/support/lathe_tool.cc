// A small tool over the engine's graph code, for tests in other languages:
//   lathe_test_tool roundtrip IN OUT
//   lathe_test_tool upgrade IN OUT VERSION
//   lathe_test_tool inline IN OUT
//   lathe_test_tool layers IN           one JSON object a line
//   lathe_test_tool shapes [NAME=SIZE...] IN...   one JSON object a model: what is known of the
//   main
//                                       graph's values, and the cost of a run
//   lathe_test_tool run ...             runs models: run_tool.h
//   lathe_test_tool compress ...        whole runs of the engine: compress_tool.h
//   lathe_test_tool grad ...            gradients of models: grad_tool.h
//   lathe_test_tool backwards           which operators gradients pass through: grad_tool.h
//   lathe_test_tool arrays IN ROWS      one JSON object an array of an .npz or .safetensors,
//                                       ROWS rows at a time
//   lathe_test_tool metrics FOLDER      FOLDER/spec.json and the arrays that it names; the report's
//                                       evaluation block (metrics_tool.h)
//   lathe_test_tool time ...            how long a model's runs take: run_tool.h
//   lathe_test_tool ort ...             runs models in ONNX Runtime: ort_tool.h
//   lathe_test_tool apply IN OUT RECIPE [THREADS [DATA]]   RECIPE is JSON or YAML, DATA a file of
//                                       calibration examples; one JSON object a step
//   lathe_test_tool lint IN             one JSON object a finding
//   lathe_test_tool fusion IN OPTIMIZED  likewise, of what ONNX Runtime did not fuse
//   lathe_test_tool page FILE.json      the page of a report or, with "main_file", of a model
//                                       summary
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "common/digest.h"
#include "common/formats/array_file.h"
#include "common/recipe/text.h"
#include "common/recipe/validate.h"
#include "common/report/page.h"
#include "common/status_macros.h"
#include "tests/support/compress_tool.h"
#include "tests/support/grad_tool.h"
#include "tests/support/metrics_tool.h"
#include "tests/support/ort_tool.h"
#include "tests/support/run_tool.h"
#include "worker/engine/data/calibration_data.h"
#include "worker/engine/data/data_plan.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/reader.h"
#include "worker/engine/graph/verifier.h"
#include "worker/engine/graph/writer.h"
#include "worker/engine/lint/fusion.h"
#include "worker/engine/lint/lint.h"
#include "worker/engine/methods/method.h"
#include "worker/engine/ops/shape_inference.h"
#include "worker/engine/passes/inline_functions.h"
#include "worker/engine/passes/upgrade_opset.h"

namespace lathe::engine {
namespace {

absl::StatusOr<Model> Read(const std::string& path) {
  const std::filesystem::path file(path);
  ASSIGN_OR_RETURN(Model model,
                   ReadModel(file.has_parent_path() ? file.parent_path().string() : ".",
                             file.filename().string()));
  RETURN_IF_ERROR(VerifyModel(model));
  return model;
}

absl::Status Write(const Model& model, const std::string& path) {
  RETURN_IF_ERROR(VerifyModel(model));
  const std::filesystem::path file(path);
  return WriteModel(model, file.has_parent_path() ? file.parent_path().string() : ".",
                    file.filename().string())
      .status();
}

absl::Status Roundtrip(const std::string& in, const std::string& out) {
  ASSIGN_OR_RETURN(const Model model, Read(in));
  return Write(model, out);
}

absl::Status Upgrade(const std::string& in, const std::string& out, int64_t version) {
  ASSIGN_OR_RETURN(Model model, Read(in));
  std::vector<std::string> notes;
  RETURN_IF_ERROR(UpgradeOpset(model, version, &notes));
  for (const std::string& note : notes) std::cout << note << "\n";
  return Write(model, out);
}

absl::Status Inline(const std::string& in, const std::string& out) {
  ASSIGN_OR_RETURN(Model model, Read(in));
  std::vector<std::string> notes;
  RETURN_IF_ERROR(InlineFunctions(model, &notes));
  for (const std::string& note : notes) std::cout << note << "\n";
  return Write(model, out);
}

absl::Status Layers(const std::string& in) {
  ASSIGN_OR_RETURN(Model model, Read(in));
  for (const Weight& weight : FindWeights(model)) {
    nlohmann::json uses = nlohmann::json::array();
    for (const WeightUse& use : weight.uses) {
      uses.push_back({{"node", use.node->name},
                      {"op", RoleName(*use.node, use.role)},
                      {"input", use.input},
                      {"dims", use.dims},
                      {"permutation", use.permutation},
                      {"output_axis", use.output_axis},
                      {"reduction_axis", use.reduction_axis},
                      {"groups", use.groups}});
    }
    std::cout << nlohmann::json{{"name", weight.name},
                                {"source", weight.source_name},
                                {"dtype", std::string(DTypeName(weight.dtype))},
                                {"dims", weight.dims},
                                {"blocked", weight.blocked_reason},
                                {"uses", uses}}
                     .dump()
              << "\n";
  }
  return absl::OkStatus();
}

nlohmann::json ShapesOf(const Model& model, const Bindings& bindings) {
  const Inference inference = InferShapes(model, bindings);
  nlohmann::json values = nlohmann::json::object();
  for (const auto& [name, fact] : inference.values.at(model.graph.get())) {
    if (!fact.ranked) continue;
    values[name] = {{"dtype", static_cast<int>(fact.dtype)}, {"dims", fact.dims}};
    if (!fact.known) continue;
    if (IsFloat(fact.dtype)) {
      values[name]["elements"] = fact.reals;
    } else {
      values[name]["elements"] = fact.ints;
    }
  }
  return {{"values", values},
          {"macs", inference.total.macs.total()},
          {"macs_int8", inference.total.macs.int8},
          {"macs_float16", inference.total.macs.float16},
          {"macs_incomplete", inference.macs_incomplete},
          {"assumptions", inference.assumptions},
          {"shape_unknown", inference.shape_unknown}};
}

// Models that cannot be read give {"error": ...}.
absl::Status Shapes(const std::vector<std::string>& args) {
  Bindings bindings;
  for (size_t i = 1; i < args.size(); ++i) {
    const size_t equals = args[i].rfind('=');
    if (equals != std::string::npos) {
      bindings[args[i].substr(0, equals)] = std::atoll(args[i].c_str() + equals + 1);
      continue;
    }
    const absl::StatusOr<Model> model = Read(args[i]);
    const nlohmann::json answer =
        model.ok() ? ShapesOf(*model, bindings)
                   : nlohmann::json{{"error", std::string(model.status().message())}};
    std::cout << answer.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
  }
  return absl::OkStatus();
}

template <typename T>
void Put(nlohmann::json& json, const char* key, const std::optional<T>& value) {
  if (value) json[key] = *value;
}

nlohmann::json LayerJson(const LayerOutcome& layer) {
  nlohmann::json json = {{"name", layer.name},
                         {"op", layer.op},
                         {"scheme", layer.scheme},
                         {"parameters", layer.parameters},
                         {"bytes_before", layer.bytes_before},
                         {"bytes_after", layer.bytes_after},
                         {"skipped_reason", layer.skipped_reason}};
  Put(json, "bits", layer.bits);
  Put(json, "requested_bits", layer.requested_bits);
  Put(json, "rank", layer.rank);
  Put(json, "sparsity", layer.sparsity);
  Put(json, "relative_error", layer.relative_error);
  Put(json, "sqnr_db", layer.sqnr_db);
  return json;
}

absl::Status Apply(const std::string& in, const std::string& out, const std::string& text,
                   int threads, const std::string& data_file) {
  ASSIGN_OR_RETURN(const Recipe recipe, ParseRecipe(text));
  RETURN_IF_ERROR(ViolationsToStatus(ValidateRecipe(recipe)));
  ASSIGN_OR_RETURN(Model model, Read(in));
  std::vector<std::string> notes;
  RETURN_IF_ERROR(InlineFunctions(model, &notes));
  const std::unique_ptr<Parallel> parallel = MakeThreadPool(threads);
  DataPlan plan;
  std::optional<CalibrationData> calibration;
  if (!data_file.empty()) {
    DataNeeds needs;
    needs.test = needs.train = false;
    ASSIGN_OR_RETURN(plan, OpenData({{"", "data", "", data_file}}, recipe, model, needs));
    calibration.emplace(&*plan.calibration, /*batch_size=*/32);
  }
  for (const Step& step : recipe.steps) {
    StepOutcome outcome;
    StepContext context{model,
                        step,
                        recipe.seed,
                        *parallel,
                        [](double, const std::string&) {},  //
                        [] { return false; },
                        outcome,
                        calibration ? &*calibration : nullptr};
    const Method* method = FindMethodImpl(step.method);
    if (method == nullptr) return absl::UnimplementedError(step.method);
    RETURN_IF_ERROR(method->apply(context));
    RETURN_IF_ERROR(VerifyModel(model));
    nlohmann::json layers = nlohmann::json::array();
    for (const LayerOutcome& layer : outcome.layers) layers.push_back(LayerJson(layer));
    std::cout << nlohmann::json{{"method", step.method},
                                {"layers", layers},
                                {"notes", outcome.notes}}
                     .dump()
              << "\n";
  }
  return Write(model, out);
}

absl::Status PrintFindings(const std::vector<Finding>& findings) {
  for (const Finding& finding : findings) std::cout << FindingJson(finding).dump() << "\n";
  return absl::OkStatus();
}

absl::Status Lint(const std::string& in) {
  ASSIGN_OR_RETURN(const Model model, Read(in));
  return PrintFindings(LintModel(model, {}));
}

absl::Status Fusion(const std::string& meant, const std::string& optimized) {
  ASSIGN_OR_RETURN(const Model model, Read(meant));
  ASSIGN_OR_RETURN(const Model after, Read(optimized));
  return PrintFindings(CompareFusion(model, after));
}

absl::Status Arrays(const std::string& path, int64_t step) {
  ASSIGN_OR_RETURN(const std::unique_ptr<ArrayFile> file, ArrayFile::Open(path));
  for (size_t i = 0; i < file->arrays().size(); ++i) {
    const ArrayInfo& info = file->arrays()[i];
    Sha256 hash;
    for (int64_t row = 0; row < info.rows; row += step) {
      const int64_t count = std::min(step, info.rows - row);
      std::string bytes(static_cast<size_t>(count * info.row_bytes), '\0');
      RETURN_IF_ERROR(file->ReadRows(static_cast<int>(i), row, count, bytes.data()));
      hash.Update(bytes);
    }
    std::cout << nlohmann::json{{"name", info.name},
                                {"dtype", std::string(DTypeName(info.dtype))},
                                {"shape", info.shape},
                                {"sha256", hash.HexDigest()}}
                     .dump()
              << "\n";
  }
  return absl::OkStatus();
}

absl::Status Page(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const nlohmann::json json = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::InvalidArgumentError(path + " is not JSON");
  std::cout << (json.contains("main_file") ? ModelPage(json) : ReportPage(json));
  return absl::OkStatus();
}

absl::Status Run(const std::vector<std::string>& args) {
  const std::string command = args.empty() ? "" : args[0];
  if (command == "roundtrip" && args.size() == 3) return Roundtrip(args[1], args[2]);
  if (command == "upgrade" && args.size() == 4) {
    return Upgrade(args[1], args[2], std::atoll(args[3].c_str()));
  }
  if (command == "inline" && args.size() == 3) return Inline(args[1], args[2]);
  if (command == "shapes" && args.size() >= 2) return Shapes(args);
  if (command == "run" && args.size() >= 2) return RunModels({args.begin() + 1, args.end()});
  if (command == "compress" && args.size() >= 4) {
    return CompressModel({args.begin() + 1, args.end()});
  }
  if (command == "backwards" && args.size() == 1) {
    PrintBackwards();
    return absl::OkStatus();
  }
  if (command == "grad" && args.size() >= 2) {
    return DifferentiateModels({args.begin() + 1, args.end()});
  }
  if (command == "ort" && args.size() >= 3) return RunInOrt({args.begin() + 1, args.end()});
  if (command == "time" && args.size() >= 2) return TimeModel({args.begin() + 1, args.end()});
  if (command == "layers" && args.size() == 2) return Layers(args[1]);
  if (command == "arrays" && args.size() == 3) {
    return Arrays(args[1], std::max(1LL, std::atoll(args[2].c_str())));
  }
  if (command == "metrics" && args.size() == 2) return testing::RunMetrics(args[1]);
  if (command == "lint" && args.size() == 2) return Lint(args[1]);
  if (command == "fusion" && args.size() == 3) return Fusion(args[1], args[2]);
  if (command == "page" && args.size() == 2) return Page(args[1]);
  if (command == "apply" && args.size() >= 4 && args.size() <= 6) {
    return Apply(args[1], args[2], args[3], args.size() > 4 ? std::atoi(args[4].c_str()) : 1,
                 args.size() > 5 ? args[5] : "");
  }
  return absl::InvalidArgumentError(
      "usage: lathe_test_tool roundtrip IN OUT | upgrade IN OUT VERSION | inline IN OUT | layers "
      "IN | metrics FOLDER | apply IN OUT RECIPE [THREADS [DATA]] | arrays IN ROWS | run "
      "[--reference] "
      "[--plain] FOLDER... | grad [--reference] FOLDER... | backwards | compress IN OUT_FOLDER "
      "RECIPE DATA... | ort LIBRARY [FLAGS] FOLDER... "
      "| lint IN | fusion IN OPTIMIZED | page FILE.json");
}

}  // namespace
}  // namespace lathe::engine

int main(int argc, char** argv) {
  const absl::Status status = lathe::engine::Run(std::vector<std::string>(argv + 1, argv + argc));
  if (status.ok()) return 0;
  std::cerr << status << "\n";
  return status.code() == absl::StatusCode::kFailedPrecondition ? 3 : 1;
}
