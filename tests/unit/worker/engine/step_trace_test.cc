// The model after each step of a recipe, measured on data, against jobs that end there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/support/array_files.h"
#include "tests/support/graph_builder.h"
#include "worker/engine/engine.h"
#include "worker/engine/graph/writer.h"

namespace lathe::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AddNode;
using testing::AddOutput;
using testing::AddWeight;
using ::testing::HasSubstr;
using testing::NewModel;

constexpr int64_t kExamples = 70;
constexpr int64_t kWidth = 64;
constexpr char kPrune[] = R"({"prune_weights":{"sparsity":0.8}})";
constexpr char kRound[] = R"({"quantize_weights":{"bits":2,"keep_small":0}})";

class StepTrace : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ =
        fs::path(::testing::TempDir()) / absl::StrCat("step_trace_", info->name(), "_", getpid());
    fs::create_directories(root_ / "in");
    Model model = NewModel(17);
    Graph& g = *model.graph;
    ValueInfo x = testing::Info("x");
    x.dims = std::vector<Dim>{{std::nullopt, "batch"}, {kWidth, ""}};
    g.inputs.push_back(x);
    AddWeight(g, "w1", {kWidth, 96});
    AddNode(g, "MatMul", {"x", "w1"}, {"h"}, "fc1");
    AddNode(g, "Tanh", {"h"}, {"t"}, "act");
    AddWeight(g, "w2", {96, 40});
    AddNode(g, "MatMul", {"t", "w2"}, {"y"}, "fc2");
    AddOutput(g, "y");
    ASSERT_TRUE(WriteModel(model, (root_ / "in").string(), "model.onnx").ok());
  }
  void TearDown() override { fs::remove_all(root_); }

  std::string SaveData(bool labelled) {
    std::vector<float> values;
    std::vector<int64_t> labels;
    for (int64_t i = 0; i < kExamples * kWidth; ++i) {
      values.push_back(static_cast<float>((i * 7919) % 101 - 50) / 50);
    }
    for (int64_t i = 0; i < kExamples; ++i) labels.push_back(i % 40);
    const int64_t bytes = kExamples * kWidth * 4;
    json header = {
        {"x", {{"dtype", "F32"}, {"shape", {kExamples, kWidth}}, {"data_offsets", {0, bytes}}}}};
    std::string data = lathe::testing::RawBytes(values);
    if (labelled) {
      header["labels"] = {{"dtype", "I64"},
                          {"shape", {kExamples}},
                          {"data_offsets", {bytes, bytes + kExamples * 8}}};
      data += lathe::testing::RawBytes(labels);
    }
    const fs::path path = root_ / (labelled ? "labelled.safetensors" : "bare.safetensors");
    std::ofstream(path, std::ios::binary) << lathe::testing::Safetensors(header.dump(), data);
    return path.string();
  }

  json Report(const std::vector<std::string>& steps, const std::string& data,
              const std::string& evaluate = R"({"latency":false,"diagnosis":false})") {
    std::string list;
    for (const std::string& step : steps) absl::StrAppend(&list, list.empty() ? "" : ",", step);
    CompressRequest request;
    request.input_folder = (root_ / "in").string();
    request.main_file = "model.onnx";
    request.output_folder = (root_ / "out").string();
    request.recipe_json = absl::StrCat(R"({"steps":[)", list, R"(],"evaluate":)", evaluate, "}");
    if (!data.empty()) request.datasets = {{"test", fs::path(data).filename().string(), "", data}};
    fs::remove_all(root_ / "out");
    fs::create_directories(root_ / "out");
    const auto result = Compress(request, {});
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) return json::object();
    text_ = result->report_text;
    return json::parse(result->report_json);
  }

  fs::path root_;
  std::string text_;
};

TEST_F(StepTrace, TheMiddleIsWhatAJobThatEndsThereGives) {
  const std::string data = SaveData(true);
  const json whole = Report({kPrune, kRound}, data);
  EXPECT_THAT(text_, HasSubstr("step by step"));
  EXPECT_THAT(text_, HasSubstr("1. prune_weights"));
  const json middle = Report({kPrune}, data);
  ASSERT_TRUE(whole.contains("trace"));
  EXPECT_FALSE(middle.contains("trace"));
  const json& trace = whole["trace"];
  ASSERT_EQ(trace.size(), 3u);
  EXPECT_EQ(trace[0]["file_bytes"], whole["before"]["file_bytes"]);
  EXPECT_EQ(trace[0]["value"], whole["evaluation"]["before"]["accuracy"]);
  EXPECT_EQ(trace[1]["step"], 0);
  EXPECT_EQ(trace[1]["method"], "prune_weights");
  EXPECT_EQ(trace[1]["figure"], "accuracy");
  EXPECT_EQ(trace[1]["file_bytes"], middle["after"]["file_bytes"]);
  EXPECT_EQ(trace[1]["value"], middle["evaluation"]["after"]["accuracy"]);
  EXPECT_EQ(trace[2]["step"], 1);
  EXPECT_EQ(trace[2]["file_bytes"], whole["after"]["file_bytes"]);
  EXPECT_EQ(trace[2]["value"], whole["evaluation"]["after"]["accuracy"]);
}

TEST_F(StepTrace, WithoutLabelsOutputsAreComparedWithTheOriginals) {
  const std::string data = SaveData(false);
  const json whole = Report({kPrune, kRound}, data);
  const json& trace = whole["trace"];
  const json middle = Report({kPrune}, data);
  ASSERT_EQ(trace.size(), 3u);
  EXPECT_EQ(trace[0]["figure"], "sqnr_db");
  EXPECT_TRUE(trace[0]["value"].is_null());
  EXPECT_EQ(trace[1]["value"], middle["evaluation"]["fidelity"]["y"]["sqnr_db"]);
  EXPECT_EQ(trace[2]["value"], whole["evaluation"]["fidelity"]["y"]["sqnr_db"]);
  EXPECT_NE(trace[1]["value"], trace[2]["value"]);
}

TEST_F(StepTrace, IsMadeForTwoOrThreeStepsUnlessTheRecipeSaysOtherwise) {
  const std::string data = SaveData(true);
  const std::string half = R"({"fp16":{}})";
  const std::vector<std::string> four = {kPrune, kPrune, kPrune, half};
  EXPECT_FALSE(Report({kPrune}, data).contains("trace"));
  EXPECT_FALSE(Report({kPrune}, data, R"({"each_step":true})").contains("trace"));
  EXPECT_TRUE(Report({kPrune, kPrune, half}, data).contains("trace"));
  EXPECT_FALSE(Report(four, data).contains("trace"));
  EXPECT_EQ(Report(four, data, R"({"each_step":true})")["trace"].size(), 5u);
  EXPECT_FALSE(Report({kPrune, half}, data, R"({"each_step":false})").contains("trace"));
  EXPECT_FALSE(Report({kPrune, half}, "").contains("trace"));
}

}  // namespace
}  // namespace lathe::engine
