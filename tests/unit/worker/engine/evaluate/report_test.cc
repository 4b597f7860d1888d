#include "worker/engine/evaluate/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "worker/engine/evaluate/layer_summary.h"
#include "worker/engine/evaluate/report_text_evaluation.h"
#include "worker/engine/evaluate/text_table.h"

namespace lathe::engine {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

LayerOutcome Done(const std::string& name, const std::string& scheme, int64_t before, int64_t after,
                  double error) {
  LayerOutcome outcome;
  outcome.name = name;
  outcome.op = "MatMul";
  outcome.scheme = scheme;
  outcome.bytes_before = before;
  outcome.bytes_after = after;
  outcome.parameters = before / 4;
  outcome.relative_error = error;
  return outcome;
}

LayerOutcome Skipped(const std::string& name, const std::string& reason, int64_t bytes) {
  LayerOutcome outcome;
  outcome.name = name;
  outcome.op = "MatMul";
  outcome.bytes_before = outcome.bytes_after = bytes;
  outcome.skipped_reason = reason;
  return outcome;
}

LayerMeasure Measured(const std::string& name, double error) {
  LayerMeasure measure;
  measure.name = name;
  measure.op = "MatMul";
  measure.dims = {10, 10};
  measure.parameters_before = measure.parameters_after = 100;
  measure.nonzero_before = 100;
  measure.nonzero_after = 75;
  measure.relative_error = error;
  return measure;
}

StepRecord Record(const std::string& method, std::vector<LayerOutcome> layers) {
  StepRecord record;
  record.step.method = method;
  record.outcome.layers = std::move(layers);
  return record;
}

// "fc" is split in two by low_rank, and its parts are then quantized; "out" is left alone.
ReportInput TwoSteps() {
  ReportInput input;
  input.steps.push_back(Record("low_rank", {Done("fc", "rank 3 of 10", 400, 240, 0.1),
                                            Skipped("out", "it is a vector", 40)}));
  input.steps.push_back(Record(
      "quantize_weights", {Done("fc/a", "8-bit", 120, 34, 0.01), Done("fc", "8-bit", 120, 36, 0.01),
                           Skipped("out", "keep_small", 40)}));
  input.steps[0].outcome.layers[0].rank = 3;
  input.steps[1].outcome.layers[0].bits = 8;
  input.steps[1].origins["fc/a"] = "fc";
  for (const StepRecord& record : input.steps) {
    Step step = record.step;
    if (step.method == "low_rank") step.params["rank"] = int64_t{3};
    input.recipe.steps.push_back(step);
  }
  input.measures = {Measured("fc", 0.11), Measured("out", 0)};
  input.before.files.file_bytes = 1000;
  input.after.files.file_bytes = 500;
  return input;
}

TEST(SummarizeLayers, GathersTheParts) {
  std::vector<std::string> warnings;
  const std::vector<LayerSummary> layers = SummarizeLayers(TwoSteps(), &warnings);
  ASSERT_EQ(layers.size(), 2u);
  EXPECT_EQ(layers[0].name, "fc");
  EXPECT_EQ(layers[0].scheme, "rank 3 of 10; 8-bit");
  EXPECT_EQ(layers[0].bytes_before, 400);
  EXPECT_EQ(layers[0].bytes_after, 34 + 36);
  EXPECT_EQ(layers[0].rank, 3);
  EXPECT_EQ(layers[0].bits, 8);
  EXPECT_EQ(layers[0].relative_error, 0.11);
  EXPECT_EQ(layers[0].sparsity, 0.25);
  EXPECT_EQ(layers[0].steps.size(), 3u);
  EXPECT_EQ(layers[0].skipped_reason, "");
  EXPECT_EQ(layers[1].skipped_reason, "low_rank: it is a vector; quantize_weights: keep_small");
  EXPECT_FALSE(layers[1].relative_error.has_value());
  EXPECT_THAT(warnings, IsEmpty());
}

TEST(SummarizeLayers, WarnsWhereClaimAndMeasurementDisagree) {
  for (const auto& [measured, warns] : {std::pair(0.1005, false), std::pair(0.13, true)}) {
    ReportInput input;
    input.steps.push_back(Record("fp16", {Done("fc", "float16", 400, 200, 0.1)}));
    input.measures = {Measured("fc", measured)};
    std::vector<std::string> warnings;
    SummarizeLayers(input, &warnings);
    EXPECT_EQ(warnings.size(), warns ? 1u : 0u) << measured;
    if (!warns) continue;
    EXPECT_THAT(warnings[0], HasSubstr("'fc'"));
  }
}

TEST(ReportJson, IsWithoutNaNAndInfinity) {
  ReportInput input = TwoSteps();
  input.steps[0].outcome.layers[0].relative_error = std::numeric_limits<double>::quiet_NaN();
  input.measures[0].relative_error = std::numeric_limits<double>::infinity();
  input.timings["total"] = std::numeric_limits<double>::quiet_NaN();
  const json report = json::parse(ReportJson(input));
  EXPECT_TRUE(report["layers"][0]["relative_error"].is_null());
  EXPECT_TRUE(report["layers"][0]["sqnr_db"].is_null());
  EXPECT_TRUE(report["layers"][0]["steps"][0]["relative_error"].is_null());
  EXPECT_TRUE(report["timings"]["total"].is_null());
}

TEST(ReportJson, DiffersBetweenRunsInTimingsAlone) {
  ReportInput first = TwoSteps();
  ReportInput second = TwoSteps();
  second.steps[0].seconds = 12;
  second.timings["total"] = 13;
  json a = json::parse(ReportJson(first));
  json b = json::parse(ReportJson(second));
  EXPECT_NE(a, b);
  a.erase("timings");
  b.erase("timings");
  EXPECT_EQ(a, b);
}

// Whole numbers are given: each is off by at most a half.
TEST(ReportJson, CostByOperatorAddsUp) {
  ReportInput input = TwoSteps();
  Inference& inference = input.before.inference;
  inference.by_op["Conv"] = {2, {1001, 0, 77}, {10, 20, 30}};
  inference.by_op["com.microsoft.MatMulNBits"] = {1, {0, 3, 0}, {1, 2, 3}};
  inference.by_op["Relu"] = {1, {}, {7, 7, 0}};
  inference.stored_bytes_by_op = {{"Conv", 29}, {"com.microsoft.MatMulNBits", 2}};
  inference.stored_bytes = 31;
  for (const auto& [op, cost] : inference.by_op) inference.total.Add(cost, 1);
  const json before = json::parse(ReportJson(input))["before"];
  EXPECT_EQ(before["macs"], 1081);
  EXPECT_EQ(before["macs_by_op"], json({{"Conv", 1078}, {"com.microsoft.MatMulNBits", 3}}));
  EXPECT_EQ(before["macs_by_type"], json({{"float32", 1001}, {"float16", 3}, {"int8", 77}}));
  EXPECT_EQ(before["bytes_moved"], 80);
  EXPECT_EQ(before["bytes_moved_by_op"]["Relu"], 14);
  EXPECT_EQ(before["bytes_moved_by_kind"]["constants_read"], 33);
  EXPECT_DOUBLE_EQ(before["arithmetic_intensity"].get<double>(), 2.0 * 1081 / 80);
  double sum = 0;
  for (const auto& [op, energy] : before["energy_by_op"].items()) {
    sum += energy["compute_pj"].get<double>() + energy["memory_pj"].get<double>();
  }
  EXPECT_EQ(before["energy_by_op"].size(), 3u);
  EXPECT_NEAR(sum, before["energy_pj"].get<double>(), 3 * 2 * 0.5 + 0.5);
}

TEST(ReportJson, LayersTellWhatTheyCostBeforeAndAfter) {
  ReportInput input = TwoSteps();
  input.costs_before["fc"] = {1, {100, 0, 0}, {10, 10, 30}};
  input.costs_after["fc"] = {2, {60, 0, 0}, {20, 20, 20}};
  const json layers = json::parse(ReportJson(input))["layers"];
  EXPECT_EQ(layers[0]["macs"], 100);
  EXPECT_EQ(layers[0]["bytes_moved"], 50);
  EXPECT_EQ(layers[0]["arithmetic_intensity"], 4.0);
  EXPECT_EQ(layers[0]["macs_after"], 60);
  EXPECT_EQ(layers[0]["arithmetic_intensity_after"], 2.0);
  EXPECT_FALSE(layers[1].contains("macs"));
}

TEST(ReportJson, BytesThatAreNoUtf8DoNotBreakIt) {
  ReportInput input = TwoSteps();
  input.notes.push_back("name \xff\xfe of a layer");
  EXPECT_THAT(json::parse(ReportJson(input))["notes"][0].get<std::string>(),
              HasSubstr("of a layer"));
}

TEST(ReportJson, WarnsOfAResultThatGrewAndOfABindingNobodyHas) {
  ReportInput input = TwoSteps();
  input.after.files.file_bytes = 2000;
  input.before.inference.unused_bindings = {"heigth"};
  input.before.inference.bindings = {{"height", 1}};
  const json warnings = json::parse(ReportJson(input))["warnings"];
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_THAT(warnings[0].get<std::string>(), HasSubstr("larger than the input"));
  EXPECT_THAT(warnings[1].get<std::string>(), HasSubstr("there are: height"));
}

TEST(ReportJson, DatasetsThatNoStepUsedAreMarkedSo) {
  ReportInput input = TwoSteps();
  input.datasets.push_back({"calibration", "d", "0123", ""});
  const json datasets = json::parse(ReportJson(input))["inputs"]["datasets"];
  EXPECT_EQ(datasets[0]["used"], false);
  EXPECT_EQ(datasets[0]["sha256"], "0123");
}

TEST(ReportText, GroupsWhatWasLeftAloneByReason) {
  ReportInput input;
  std::vector<LayerOutcome> layers;
  for (int i = 0; i < 6; ++i) layers.push_back(Skipped("l" + std::to_string(i), "too small", 4));
  layers.push_back(Skipped("x", "already quantized (int8)", 4));
  input.steps.push_back(Record("fp16", layers));
  const std::string text = ReportText(ReportJson(input));
  EXPECT_THAT(text, HasSubstr("6 layers: too small (l0, l1, l2, l3, ...)"));
  EXPECT_THAT(text, HasSubstr("1 layer: already quantized (int8) (x)"));
}

TEST(ReportText, ListsSixtyLayersAndCountsTheRest) {
  ReportInput input;
  std::vector<LayerOutcome> layers;
  for (int i = 0; i < 75; ++i) {
    layers.push_back(Done("layer" + std::to_string(i), "float16", 40, 20, 0.1));
  }
  input.steps.push_back(Record("fp16", layers));
  const std::string text = ReportText(ReportJson(input));
  EXPECT_THAT(text, HasSubstr("layer59 "));
  EXPECT_THAT(text, Not(HasSubstr("layer60 ")));
  EXPECT_THAT(text, HasSubstr("... and 15 more"));
}

TEST(ReportText, SaysWhatTheFiguresRestOn) {
  ReportInput input = TwoSteps();
  input.before.inference.bindings = {{"batch", 1}, {"height", 320}};
  input.before.inference.assumed_bindings = {"batch"};
  input.before.inference.macs_incomplete = {"node a", "node b"};
  input.before.inference.assumptions = {"Loop 'l': one iteration assumed"};
  const std::string text = ReportText(ReportJson(input));
  EXPECT_THAT(text,
              HasSubstr("hold for batch=1, height=320; not given, and so taken to be 1: batch"));
  EXPECT_THAT(text, HasSubstr("MACs of 2 nodes are not known"));
  EXPECT_THAT(text, HasSubstr("assumed: Loop 'l'"));
}

TEST(TextTable, AlignsByCharacters) {
  EXPECT_EQ(AlignColumns({{"a", "1"}, {"\xc3\xa4\xc3\xb6", "22"}}, 1),
            "a    1\n\xc3\xa4\xc3\xb6  22\n");
  EXPECT_EQ(AlignColumns({{"a", "b"}, {"ccc", ""}}, 2), "a    b\nccc\n");
}

TEST(TextTable, GroupsDigits) {
  EXPECT_EQ(GroupDigits(0), "0");
  EXPECT_EQ(GroupDigits(999), "999");
  EXPECT_EQ(GroupDigits(1000), "1,000");
  EXPECT_EQ(GroupDigits(-123456), "-123,456");
  EXPECT_EQ(GroupDigits(std::numeric_limits<int64_t>::min()), "-9,223,372,036,854,775,808");
}

TEST(TextTable, ShortensInTheMiddleAndNeverWithinACharacter) {
  EXPECT_EQ(ShortenMiddle("abcdefghij", 10), "abcdefghij");
  EXPECT_EQ(ShortenMiddle("abcdefghijk", 8), "abc...jk");
  EXPECT_EQ(ShortenMiddle("\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4", 5),
            "\xc3\xa4...\xc3\xa4");
}

TEST(ReportTextTest, LatencyInOnnxRuntimeStandsBesideTheExecutors) {
  json latency = {{"batch", 8}, {"before_ms", 4.0}, {"after_ms", 2.0}, {"ratio", 0.5}};
  const json runtime = {
      {"version", "1.32.0"}, {"batch", 8}, {"before_ms", 3.0}, {"after_ms", 1.5}, {"ratio", 0.5}};
  const auto text = [](const json& figure) { return EvaluationText({{"latency", figure}}); };
  EXPECT_EQ(text(latency),
            "\na run of 8 examples on one thread: 4.000 ms before, 2.000 ms after (0.50 times)\n");
  latency["onnxruntime"] = runtime;
  EXPECT_THAT(text(latency), HasSubstr("(0.50 times)\nin ONNX Runtime 1.32.0: 3.000 ms before, "
                                       "1.500 ms after (0.50 times)\n"));
  // The executor cannot run it.
  EXPECT_EQ(text({{"onnxruntime", runtime}}),
            "\na run of 8 examples on one thread in ONNX Runtime 1.32.0: 3.000 ms before, 1.500 ms "
            "after (0.50 times)\n");
  // One model alone, and one that does not load.
  EXPECT_THAT(text({{"onnxruntime", {{"version", "1"}, {"batch", 1}, {"before_ms", 3.0}}}}),
              HasSubstr("in ONNX Runtime 1: 3.000 ms\n"));
  EXPECT_EQ(text({{"onnxruntime", {{"version", "1"}, {"before_error", "x"}}}}), "");
}

}  // namespace
}  // namespace lathe::engine
