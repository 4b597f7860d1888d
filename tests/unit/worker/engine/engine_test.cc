#include "worker/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/graph_builder.h"
#include "worker/engine/graph/reader.h"
#include "worker/engine/graph/verifier.h"
#include "worker/engine/graph/writer.h"

namespace lathe::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AddInitializer;
using testing::AddInput;
using testing::AddNode;
using testing::AddOutput;
using testing::AddWeight;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::NewModel;
using ::testing::Not;

constexpr char kInt8[] = R"({"steps":[{"quantize_weights":{"keep_small":0}}]})";
constexpr char kThreeSteps[] = R"({"steps":[{"prune_weights":{"sparsity":0.5}},)"
                               R"({"low_rank":{"rank":4}},)"
                               R"({"quantize_weights":{"keep_small":0}}],"seed":7})";

std::string ReadAll(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

Model Mlp() {
  Model model = NewModel(17);
  Graph& g = *model.graph;
  ValueInfo x = testing::Info("x");
  x.dims = std::vector<Dim>{{std::nullopt, "batch"}, {64, ""}};
  g.inputs.push_back(x);
  AddWeight(g, "w1", {64, 96});
  AddWeight(g, "b1", {96});
  AddNode(g, "Gemm", {"x", "w1", "b1"}, {"h"}, "fc1");
  AddNode(g, "Relu", {"h"}, {"r"}, "act");
  AddWeight(g, "w2", {96, 40});
  AddNode(g, "MatMul", {"r", "w2"}, {"y"}, "fc2");
  AddOutput(g, "y");
  return model;
}

class Engine : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = fs::path(::testing::TempDir()) /
            (std::string("engine_") + info->name() + std::to_string(getpid()));
    fs::remove_all(root_);
    fs::create_directories(root_ / "in");
  }
  void TearDown() override { fs::remove_all(root_); }

  void Save(const Model& model, const std::string& name = "model.onnx") {
    const auto written = WriteModel(model, (root_ / "in").string(), name);
    ASSERT_TRUE(written.ok()) << written.status();
  }

  absl::StatusOr<CompressResult> Run(const std::string& recipe) {
    CompressRequest request;
    request.input_folder = (root_ / "in").string();
    request.main_file = main_file_;
    request.output_folder = Output().string();
    request.scratch_folder = scratch_folder_;
    request.output_file = output_file_;
    request.recipe_json = recipe;
    request.threads = threads_;
    request.bindings = bindings_;
    fs::remove_all(Output());
    fs::create_directories(Output());
    return Compress(request, hooks_);
  }

  // Runs, and the report.
  json Report(const std::string& recipe) {
    auto result = Run(recipe);
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) return json::object();
    result_ = *std::move(result);
    return json::parse(result_.report_json);
  }

  fs::path Output() const { return root_ / "out"; }
  std::string OutputBytes() const { return ReadAll(Output() / result_.files.at(0).path); }

  static std::string Reason(const absl::Status& status) {
    const auto payload = status.GetPayload("lathe/reason");
    return payload ? std::string(*payload) : "";
  }

  fs::path root_;
  std::string main_file_ = "model.onnx";
  std::string output_file_;
  std::string scratch_folder_;
  int threads_ = 1;
  std::map<std::string, int64_t> bindings_;
  Hooks hooks_;
  CompressResult result_;
};

TEST_F(Engine, WritesASmallerModelAndSaysWhatItDid) {
  Save(Mlp());
  const json report = Report(kInt8);
  ASSERT_EQ(result_.files.size(), 1u);
  EXPECT_EQ(result_.files[0].path, "model.onnx");
  EXPECT_EQ(report["after"]["file_bytes"], fs::file_size(Output() / "model.onnx"));
  EXPECT_EQ(report["before"]["file_bytes"], fs::file_size(root_ / "in" / "model.onnx"));
  EXPECT_GT(result_.compression_ratio, 3);
  EXPECT_NEAR(report["ratios"]["file_bytes"].get<double>(), result_.compression_ratio, 1e-9);

  EXPECT_EQ(report["before"]["parameters"], 64 * 96 + 96 + 96 * 40);
  EXPECT_EQ(report["after"]["parameters"], report["before"]["parameters"]);
  EXPECT_EQ(report["before"]["macs"], 64 * 96 + 96 * 40);
  EXPECT_EQ(report["before"]["macs_incomplete"], json::array());
  EXPECT_EQ(report["bindings"], (json{{"batch", 1}}));
  EXPECT_LT(report["after"]["energy_pj"].get<double>(),
            report["before"]["energy_pj"].get<double>());

  ASSERT_EQ(report["layers"].size(), 2u);
  for (const json& layer : report["layers"]) {
    EXPECT_EQ(layer["bits"], 8);
    EXPECT_GT(layer["sqnr_db"].get<double>(), 35);
    EXPECT_NEAR(layer["relative_error"].get<double>(),
                layer["steps"][0]["relative_error"].get<double>(), 1e-5);
    EXPECT_LT(layer["bytes_after"].get<int64_t>() * 3, layer["bytes_before"].get<int64_t>());
  }
  EXPECT_EQ(report["warnings"], json::array());
  EXPECT_THAT(result_.report_text, HasSubstr("fc1"));
}

TEST_F(Engine, BindingsScaleMacsAndTyposAreTold) {
  Save(Mlp());
  bindings_ = {{"batch", 8}, {"bach", 3}};
  const json report = Report(kInt8);
  EXPECT_EQ(report["before"]["macs"], 8 * (64 * 96 + 96 * 40));
  ASSERT_EQ(report["warnings"].size(), 1u);
  EXPECT_THAT(report["warnings"][0].get<std::string>(), HasSubstr("'bach'"));
}

TEST_F(Engine, StepsComposeAndTheReportFollowsTheParts) {
  Save(Mlp());
  const json report = Report(kThreeSteps);
  EXPECT_EQ(report["seed"], 7);
  ASSERT_EQ(report["steps"].size(), 3u);
  ASSERT_EQ(report["layers"].size(), 2u);
  const json& fc1 = report["layers"][0];
  EXPECT_EQ(fc1["name"], "fc1");
  EXPECT_EQ(fc1["rank"], 4);
  EXPECT_EQ(fc1["bits"], 8);
  EXPECT_EQ(fc1["steps"].size(), 4u);  // prune, low_rank, and quantize on both factors
  EXPECT_EQ(fc1["parameters_after"], 4 * (64 + 96));
  EXPECT_EQ(fc1["macs"], 64 * 96);
  EXPECT_EQ(fc1["macs_after"], 4 * (64 + 96));
  // Input, weight, bias, output; then those of two factors, whose 8 bits are folded to floats.
  EXPECT_EQ(fc1["bytes_moved"], 4 * (64 + 64 * 96 + 96 + 96));
  EXPECT_EQ(fc1["bytes_moved_after"], 4 * (64 + 64 * 4 + 4 + 4 + 4 * 96 + 96 + 96));
  EXPECT_EQ(fc1["histogram"]["before"]["counts"].size(), 48u);
  EXPECT_GT(fc1["relative_error"].get<double>(), 0.1);
  EXPECT_EQ(report["after"]["macs"], 4 * (64 + 96) + 4 * (96 + 40));
  EXPECT_EQ(report["warnings"], json::array());
}

TEST_F(Engine, GivesTheSameBytesAndReportForAnyNumberOfThreads) {
  Save(Mlp());
  json first = Report(kThreeSteps);
  const std::string bytes = OutputBytes();
  for (const int threads : {2, 5}) {
    threads_ = threads;
    json again = Report(kThreeSteps);
    EXPECT_EQ(OutputBytes(), bytes) << threads;
    first.erase("timings");
    again.erase("timings");
    EXPECT_EQ(first, again) << threads;
  }
}

TEST_F(Engine, AScratchFolderChangesNothingAndIsLeftEmpty) {
  Model model = NewModel(17);
  Graph& g = *model.graph;
  AddInput(g, "x");
  AddWeight(g, "w1", {200, 300});  // 240 KB: large enough to be put away
  AddNode(g, "MatMul", {"x", "w1"}, {"h"}, "fc1");
  AddWeight(g, "w2", {300, 160});
  AddNode(g, "MatMul", {"h", "w2"}, {"y"}, "fc2");
  AddOutput(g, "y");
  Save(model);
  fs::create_directories(root_ / "scratch");
  for (const char* recipe :
       {kThreeSteps, kInt8, R"({"steps":[{"prune_weights":{"sparsity":0.5,"scope":"global"}}]})",
        R"({"steps":[{"prune_weights":{"sparsity":0.8,"storage":"sparse"}}]})",
        R"({"steps":[{"prune_weights":{"threshold":0.01}},{"fp16":{}}]})"}) {
    scratch_folder_.clear();
    json first = Report(recipe);
    const std::string bytes = OutputBytes();
    // A folder that cannot be written: the run goes on in memory.
    for (const fs::path& folder : {root_ / "scratch", root_ / "missing"}) {
      scratch_folder_ = folder.string();
      json again = Report(recipe);
      EXPECT_EQ(OutputBytes(), bytes) << recipe;
      first.erase("timings");
      again.erase("timings");
      EXPECT_EQ(first, again) << recipe;
    }
    EXPECT_TRUE(fs::is_empty(root_ / "scratch"));
  }
}

TEST_F(Engine, NothingToDoGivesTheInputByteForByte) {
  Save(Mlp());
  output_file_ = "renamed.onnx";
  const json report = Report(R"({"steps":[{"fp16":{"skip":["*"]}}]})");
  EXPECT_EQ(result_.files[0].path, "renamed.onnx");
  EXPECT_EQ(OutputBytes(), ReadAll(root_ / "in" / "model.onnx"));
  EXPECT_EQ(report["ratios"]["file_bytes"], 1.0);
  for (const json& layer : report["layers"]) {
    EXPECT_EQ(layer["skipped_reason"], "named in skip");
    EXPECT_TRUE(layer["relative_error"].is_null());
    EXPECT_EQ(layer["bytes_before"], layer["bytes_after"]);
  }
  EXPECT_THAT(report["notes"].dump(), HasSubstr("byte for byte"));
}

TEST_F(Engine, ExternalDataIsCopiedWholeOrReplaced) {
  WriteOptions outside;
  outside.max_single_file_bytes = 0;
  ASSERT_TRUE(WriteModel(Mlp(), (root_ / "in").string(), "model.onnx", outside).ok());
  ASSERT_TRUE(fs::exists(root_ / "in" / "model.onnx.data"));
  json report = Report(R"({"steps":[{"fp16":{"skip":["*"]}}]})");
  ASSERT_EQ(result_.files.size(), 2u);
  EXPECT_EQ(result_.files[1].path, "model.onnx.data");
  EXPECT_EQ(ReadAll(Output() / "model.onnx.data"), ReadAll(root_ / "in" / "model.onnx.data"));
  EXPECT_EQ(report["before"]["file_bytes"], report["after"]["file_bytes"]);

  report = Report(kInt8);
  int64_t written = 0;
  for (const auto& file : fs::directory_iterator(Output())) {
    written += static_cast<int64_t>(file.file_size());
  }
  EXPECT_EQ(report["after"]["file_bytes"], written);
  EXPECT_TRUE(ReadModel(Output().string(), result_.files[0].path).ok());
}

TEST_F(Engine, AModelInASubfolderIsWrittenUnderItsBaseName) {
  fs::create_directories(root_ / "in" / "sub");
  WriteOptions outside;
  outside.max_single_file_bytes = 0;
  ASSERT_TRUE(WriteModel(Mlp(), (root_ / "in" / "sub").string(), "m.onnx", outside).ok());
  main_file_ = "sub/m.onnx";
  Report(R"({"steps":[{"fp16":{"skip":["*"]}}]})");
  EXPECT_EQ(result_.files[0].path, "m.onnx");
  EXPECT_EQ(result_.files[1].path, "m.onnx.data");
  EXPECT_TRUE(ReadModel(Output().string(), "m.onnx").ok());
}

TEST_F(Engine, ProgressNeverFallsAndEndsAtOne) {
  Save(Mlp());
  std::vector<double> fractions;
  std::vector<std::string> stages;
  hooks_.progress = [&](const Progress& p) {
    EXPECT_EQ(p.step_count, stages.empty() || p.stage == "read" ? p.step_count : 3);
    fractions.push_back(p.fraction);
    if (stages.empty() || stages.back() != p.stage) stages.push_back(p.stage);
  };
  Report(kThreeSteps);
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
  EXPECT_EQ(fractions.front(), 0);
  EXPECT_EQ(fractions.back(), 1);
  EXPECT_THAT(stages, ElementsAre("read", "prune_weights", "low_rank", "quantize_weights", "write",
                                  "report"));
}

TEST_F(Engine, TimesArePutApart) {
  Save(Mlp());
  double now = 0;
  hooks_.seconds = [&now] { return now += 1; };
  const json report = Report(kInt8);
  EXPECT_GT(report["timings"]["total"].get<double>(), 0);
  EXPECT_EQ(report["timings"]["steps"].size(), 1u);
  json rest = report;
  rest.erase("timings");
  EXPECT_THAT(rest.dump(), Not(HasSubstr("seconds")));
}

TEST_F(Engine, CancellationEndsTheRunAtTheNextLayer) {
  Save(Mlp());
  // Wherever it comes, the answer is CANCELLED.
  for (int after = 0; after < 12; ++after) {
    int asked = 0;
    hooks_.cancelled = [&asked, after] { return asked++ >= after; };
    const auto result = Run(kThreeSteps);
    if (result.ok()) {
      EXPECT_LE(asked, after) << "it was cancelled, and finished";
      continue;
    }
    EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled) << after;
  }
}

TEST_F(Engine, ABadRecipeIsTheRecipesFault) {
  Save(Mlp());
  const struct {
    const char* recipe;
    const char* says;
  } cases[] = {
      {"{", ""},
      {R"({"steps":[]})", "at least one step"},
      {R"({"steps":[{"quantise_weights":{}}]})", "quantize_weights"},
      {R"({"steps":[{"quantize_weights":{"bits":9}}]})", "steps[0].quantize_weights.bits"},
      {R"({"steps":[{"fp16":{}},{"fp16":{"targets":["fc3","conv*"]}}]})",
       "steps[1].fp16.targets: no layer matches fc3, conv*; the model's layers are 'fc1', 'fc2'"},
  };
  for (const auto& c : cases) {
    const absl::Status status = Run(c.recipe).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.recipe;
    EXPECT_EQ(Reason(status), "INVALID_RECIPE") << c.recipe;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.says));
    EXPECT_TRUE(fs::is_empty(Output())) << c.recipe;
  }
}

TEST_F(Engine, ABindingOutOfRangeIsRefusedByName) {
  Save(Mlp());
  bindings_ = {{"batch", -1}};
  const absl::Status status = Run(kInt8).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("'batch'"));
}

TEST_F(Engine, ABadModelIsTheModelsFault) {
  const std::string good = *SerializeModel(Mlp());
  Model dangling = Mlp();
  dangling.graph->nodes[1]->inputs[0] = "nobody";
  const struct {
    const char* name;
    std::string bytes;
  } cases[] = {
      {"empty", ""},
      {"random", "\x01\x02\x03 this is no protobuf"},
      {"truncated", good.substr(0, good.size() / 2)},
      {"dangling input", *SerializeModel(dangling)},
  };
  for (const auto& c : cases) {
    std::ofstream(root_ / "in" / "model.onnx", std::ios::binary) << c.bytes;
    const absl::Status status = Run(kInt8).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.name << status;
    EXPECT_EQ(Reason(status), "INVALID_MODEL") << c.name;
    const absl::Status inspected = Inspect((root_ / "in").string(), "model.onnx", {}).status();
    EXPECT_EQ(inspected.code(), absl::StatusCode::kInvalidArgument) << c.name;
    EXPECT_EQ(Reason(inspected), "INVALID_MODEL") << c.name;
  }
  fs::remove(root_ / "in" / "model.onnx");
  EXPECT_EQ(Reason(Run(kInt8).status()), "INVALID_MODEL") << "missing";
}

TEST_F(Engine, AWeightThatIsNotFiniteIsNamedByItsLayer) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Model model = Mlp();
    std::vector<float> values = testing::Values(96 * 40);
    values[1234] = bad;
    AddInitializer(*model.graph, Tensor::FromFloats("w2", {96, 40}, values));
    Save(model);
    for (const char* step : {"quantize_weights", "prune_weights", "fp16", "low_rank"}) {
      const json body = std::string(step) == "prune_weights" ? json{{"sparsity", 0.5}}
                        : std::string(step) == "low_rank"    ? json{{"rank", 2}}
                                                             : json::object();
      const absl::Status status = Run(json{{"steps", {{{step, body}}}}}.dump()).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << step;
      EXPECT_EQ(Reason(status), "INVALID_MODEL") << step;
      EXPECT_THAT(std::string(status.message()), HasSubstr("fc2")) << step;
    }
    // Left alone, it does no harm, and the report stays valid JSON.
    const json report = Report(R"({"steps":[{"fp16":{"skip":["fc2"]}}]})");
    EXPECT_EQ(report["layers"][1]["skipped_reason"], "named in skip");
  }
}

TEST_F(Engine, AMissingOutputFolderIsAnErrorAndIsNotMade) {
  Save(Mlp());
  CompressRequest request;
  request.input_folder = (root_ / "in").string();
  request.main_file = "model.onnx";
  request.output_folder = (root_ / "nowhere").string();
  for (const char* recipe : {kInt8, R"({"steps":[{"fp16":{"skip":["*"]}}]})"}) {
    request.recipe_json = recipe;
    EXPECT_FALSE(Compress(request, {}).ok()) << recipe;
  }
  EXPECT_FALSE(fs::exists(root_ / "nowhere"));
}

// A limit on the size of files stands in for a full disk: writes fail half way.
TEST_F(Engine, AFailingWriteIsAnErrorOfTheRun) {
  Save(Mlp());
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 4096;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  std::vector<absl::Status> statuses;
  for (const char* recipe : {kInt8, R"({"steps":[{"fp16":{"skip":["*"]}}]})"}) {
    statuses.push_back(Run(recipe).status());
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  for (const absl::Status& status : statuses) {
    EXPECT_FALSE(status.ok());
    EXPECT_NE(Reason(status), "INVALID_MODEL") << status;
  }
}

TEST_F(Engine, AResultThatGrowsIsWarnedOf) {
  // Weights of 64 bytes: the Cast of each weighs more than is saved.
  Model model = NewModel(17);
  AddInput(*model.graph, "x");
  for (int i = 0; i < 20; ++i) {
    const std::string n = std::to_string(i);
    AddWeight(*model.graph, "w" + n, {4, 4});
    AddNode(*model.graph, "MatMul", {i == 0 ? "x" : "y" + std::to_string(i - 1), "w" + n},
            {"y" + n}, "fc" + n);
  }
  AddOutput(*model.graph, "y19");
  Save(model);
  const json report = Report(R"({"steps":[{"fp16":{}}]})");
  ASSERT_GT(report["after"]["file_bytes"], report["before"]["file_bytes"]);
  EXPECT_THAT(report["warnings"].dump(), HasSubstr("larger than the input"));
}

TEST_F(Engine, WhatWasWrittenIsAValidModel) {
  Save(Mlp());
  Report(kThreeSteps);
  const auto model = ReadModel(Output().string(), "model.onnx");
  ASSERT_TRUE(model.ok());
  EXPECT_TRUE(VerifyModel(*model).ok());
}

TEST_F(Engine, InspectTellsWhichMethodsApplyAndWhyNot) {
  Model model = Mlp();
  Graph& g = *model.graph;
  g.outputs.clear();
  AddWeight(g, "k", {8, 1, 3});
  AddInput(g, "img");
  AddNode(g, "Conv", {"img", "k"}, {"c"}, "conv");
  AddInitializer(g, testing::Zeros("q", DType::kInt8, {40, 4}));
  AddWeight(g, "s", {});
  AddNode(g, "DequantizeLinear", {"q", "s"}, {"dq"});
  AddNode(g, "MatMul", {"y", "dq"}, {"z"}, "done");
  AddOutput(g, "z");
  AddOutput(g, "c");
  Save(model);
  const auto result = Inspect((root_ / "in").string(), "model.onnx", {{"batch", 3}});
  ASSERT_TRUE(result.ok()) << result.status();
  const json summary = json::parse(result->summary_json);
  EXPECT_EQ(summary["opset_imports"]["ai.onnx"], 17);
  EXPECT_EQ(summary["inputs"][0]["dims"], (json{"batch", 64}));
  EXPECT_EQ(summary["ops"]["MatMul"], 2);
  EXPECT_EQ(summary["bindings"]["batch"], 3);
  EXPECT_EQ(summary["macs"], 3 * (64 * 96 + 96 * 40 + 40 * 4));
  ASSERT_EQ(summary["layers"].size(), 4u);
  EXPECT_EQ(summary["layers"][0]["name"], "fc1");
  EXPECT_EQ(summary["layers"][0]["macs"], 3 * 64 * 96);
  EXPECT_EQ(summary["layers"][0]["bytes_moved"], 4 * (3 * 64 + 64 * 96 + 96 + 3 * 96));
  EXPECT_DOUBLE_EQ(summary["layers"][0]["arithmetic_intensity"].get<double>(),
                   2.0 * 3 * 64 * 96 / (4 * (3 * 64 + 64 * 96 + 96 + 3 * 96)));
  // The shape of "img" is not known.
  EXPECT_EQ(summary["layers"][2]["macs"], nullptr);
  EXPECT_FALSE(summary["layers"][2].contains("bytes_moved"));
  EXPECT_EQ(summary["macs_by_op"],
            (json{{"Gemm", 3 * 64 * 96}, {"MatMul", 3 * (96 * 40 + 40 * 4)}}));
  EXPECT_GT(summary["energy_by_op"]["MatMul"]["memory_pj"].get<double>(), 0);
  EXPECT_THAT(result->text, HasSubstr("bytes moved"));
  EXPECT_EQ(summary["layers"][0]["methods"],
            (json{"prune_weights", "low_rank", "quantize_weights", "quantize_activations", "fp16",
                  "fine_tune", "distill"}));
  EXPECT_THAT(summary["layers"][2]["not_applicable"]["low_rank"].get<std::string>(),
              HasSubstr("kernel"));
  EXPECT_THAT(summary["layers"][3]["blocked_reason"].get<std::string>(),
              HasSubstr("already quantized"));
  EXPECT_EQ(summary["layers"][3]["methods"], json::array());
  EXPECT_THAT(result->text, HasSubstr("fc1"));
}

}  // namespace
}  // namespace lathe::engine
