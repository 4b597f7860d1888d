#include "worker/engine/evaluate/metrics/paired_evaluation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/limits.h"
#include "tests/unit/worker/engine/evaluate/metrics/metrics_test_util.h"

namespace lathe::engine {
namespace {

using ::testing::HasSubstr;
using testing::Ids;
using testing::Labels;
using testing::Output;

std::unique_ptr<PairedEvaluation> Make(std::optional<Task> task, const std::string& output = "") {
  PairedOptions options;
  options.task = task;
  options.task_options.output = output;
  options.split = "test";
  auto made = PairedEvaluation::Make(options);
  EXPECT_TRUE(made.ok()) << made.status();
  return std::move(made).value();
}

OutputBatch Batch(const std::vector<Output>& outputs) {
  OutputBatch batch;
  for (const Output& output : outputs) batch.outputs.push_back(output.array());
  return batch;
}

TEST(PairedEvaluation, ComparesTwoModels) {
  const Output before({4, 2}, {1, 0, 1, 0, 0, 1, 1, 0});
  const Output after({4, 2}, {1, 0, 0, 1, 0, 1, 1, 0});
  const Labels labels = Ids({4}, {0, 0, 1, 1});
  const auto evaluation = Make(Task::kClassification);
  const LabelBatch batch = labels.batch();
  ASSERT_TRUE(evaluation->Add(Batch({before}), Batch({after}), &batch).ok());
  const nlohmann::json got = evaluation->Result();
  EXPECT_EQ(got["task"], "classification");
  EXPECT_EQ(got["split"], "test");
  EXPECT_EQ(got["examples"], 4);
  EXPECT_EQ(got["labels"], true);
  EXPECT_EQ(got["before"]["accuracy"], 0.75);
  EXPECT_EQ(got["after"]["accuracy"], 0.5);
  EXPECT_EQ(got["change"]["accuracy"], -0.25);
  EXPECT_FALSE(got["change"].contains("samples")) << "a count is no figure";
  EXPECT_EQ(got["p_value"], 0.5) << "one pair: 2 * 1/2 - 1/2";
  EXPECT_EQ(got["significance"], "25.0 % lower on 4 examples: within noise (p = 0.5)");
  EXPECT_EQ(got["fidelity"]["y"]["top1_agreement"], 0.75);
}

TEST(PairedEvaluation, RoundedProbabilitiesAreReadAsTheOriginals) {
  // After an 8-bit softmax rows sum to 0.98: still probabilities, brought to sum 1.
  const Output before({2, 2}, {0.5f, 0.5f, 0.75f, 0.25f});
  const Output after({2, 2}, {0.49f, 0.49f, 0.735f, 0.245f});
  const Labels labels = Ids({2}, {0, 0});
  const auto evaluation = Make(Task::kClassification);
  const LabelBatch batch = labels.batch();
  ASSERT_TRUE(evaluation->Add(Batch({before}), Batch({after}), &batch).ok());
  const nlohmann::json got = evaluation->Result();
  EXPECT_EQ(got["after"]["scores"], "probabilities");
  EXPECT_NEAR(got["after"]["log_loss"], got["before"]["log_loss"], 1e-6);
}

TEST(PairedEvaluation, WeightsAndPositionsAreComparedByBootstrap) {
  const Output scores({2, 2, 3}, {1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1});
  const Labels positions = Ids({2, 3}, {0, 0, 1, 0, 1, 1});
  const auto segmented = Make(Task::kClassification);
  const LabelBatch batch = positions.batch();
  ASSERT_TRUE(segmented->Add(Batch({scores}), Batch({scores}), &batch).ok());
  EXPECT_EQ(segmented->Result()["test"]["name"], "paired_bootstrap");
  EXPECT_EQ(segmented->Result()["significance"], "no change on 2 examples");
  EXPECT_EQ(segmented->Result()["before"]["samples"], 6);

  const Output rows({2, 2}, {1, 0, 0, 1});
  const Labels weighted = Ids({2}, {0, 0}, {1, 3});
  const auto evaluation = Make(Task::kClassification);
  const LabelBatch weights = weighted.batch();
  ASSERT_TRUE(evaluation->Add(Batch({rows}), Batch({rows}), &weights).ok());
  EXPECT_EQ(evaluation->Result()["before"]["accuracy"], 0.25);
  EXPECT_EQ(evaluation->Result()["test"]["name"], "paired_bootstrap");
}

TEST(PairedEvaluation, OneModelHasNoChange) {
  const Output scores({2, 2}, {1, 0, 0, 1});
  const Labels labels = Ids({2}, {0, 1});
  const auto evaluation = Make(Task::kClassification);
  ASSERT_TRUE(evaluation->Add(Batch({scores}), labels.batch()).ok());
  const nlohmann::json got = evaluation->Result();
  EXPECT_EQ(got["before"]["accuracy"], 1);
  for (const char* key : {"after", "change", "p_value", "significance", "test"}) {
    EXPECT_TRUE(got[key].is_null()) << key;
  }
  EXPECT_TRUE(got["fidelity"].empty());
  EXPECT_FALSE(evaluation->Add(Batch({scores}), Batch({scores}), nullptr).ok());
}

TEST(PairedEvaluation, WithoutLabelsThereIsFidelity) {
  const Output before({2, 2}, {1, 0, 0, 1});
  const Output after({2, 2}, {1, 0, 0, 2});
  for (const std::optional<Task> task : {std::optional<Task>(), std::optional(Task::kRegression)}) {
    const auto evaluation = Make(task);
    ASSERT_TRUE(evaluation->Add(Batch({before}), Batch({after}), nullptr).ok());
    const nlohmann::json got = evaluation->Result();
    EXPECT_EQ(got["labels"], false);
    EXPECT_TRUE(got["before"].is_null());
    EXPECT_EQ(got["fidelity"]["y"]["max_abs_error"], 1);
    const LabelBatch labels;
    EXPECT_THAT(std::string(evaluation->Add(Batch({before}), Batch({after}), &labels).message()),
                HasSubstr("some batches have labels"));
  }
}

TEST(PairedEvaluation, OutputsAreFoundByName) {
  const Output boxes({1, 2}, {1, 2}, "boxes");
  const Output more_boxes({2, 1}, {1, 2}, "boxes");
  const Output scores({1, 2}, {0, 1}, "scores");
  const Labels labels = Ids({1}, {1});
  const LabelBatch batch = labels.batch();
  const auto evaluation = Make(Task::kClassification, "scores");
  ASSERT_TRUE(evaluation->Add(Batch({boxes, scores}), Batch({scores, more_boxes}), &batch).ok());
  const nlohmann::json got = evaluation->Result();
  EXPECT_EQ(got["after"]["accuracy"], 1);
  EXPECT_EQ(got["fidelity"]["boxes"]["not_compared"], "it is [1, 2] before and [2, 1] after");
  ASSERT_EQ(got["warnings"].size(), 1u) << got["warnings"];
  EXPECT_THAT(got["warnings"][0].get<std::string>(), HasSubstr("'boxes' is not compared"));

  const absl::Status missing =
      Make(std::nullopt)->Add(Batch({boxes, scores}), Batch({boxes}), nullptr);
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("no output 'scores'; it has 'boxes'"));
}

TEST(PairedEvaluation, NothingSeenIsSaid) {
  const nlohmann::json got = Make(Task::kClassification)->Result();
  EXPECT_EQ(got["examples"], 0);
  EXPECT_THAT(got["warnings"][0].get<std::string>(), HasSubstr("no examples"));
}

TEST(PairedEvaluation, RefusesOptionsOutOfRange) {
  PairedOptions few;
  few.resamples = 99;
  PairedOptions many;
  many.resamples = limits::kMaxResamples + 1;
  PairedOptions shift;
  shift.task = Task::kLanguageModeling;
  shift.task_options.language.shift = 2;
  PairedOptions top;
  top.task = Task::kClassification;
  top.task_options.classification.top_k = {0};
  for (const PairedOptions& options : {few, many, shift, top}) {
    EXPECT_EQ(PairedEvaluation::Make(options).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(MakeTaskMetric(Task::kEmbedding, {}).ok());
}

TEST(TaskMetric, MeasuresOneModel) {
  auto metric = MakeTaskMetric(*TaskByName("regression"), {});
  ASSERT_TRUE(metric.ok());
  const Output y({2}, {1, 2});
  ASSERT_TRUE((*metric)->Add(Batch({y}), testing::Values({2}, {1, 3}).batch()).ok());
  EXPECT_EQ((*metric)->Result()["mae"], 0.5);
}

}  // namespace
}  // namespace lathe::engine
