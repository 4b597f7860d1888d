#include "worker/engine/evaluate/evaluation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "tests/support/graph_builder.h"

namespace lathe::engine {
namespace {

using namespace lathe::engine::testing;  // NOLINT: the builder

// y = x W, x: [n, 6], y: [n, 4], W's elements times `factor` and rounded to eighths.
Model Classifier(float factor) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  std::vector<float> weights = Values(24);
  for (float& weight : weights) weight = std::round(weight * factor * 8) / 8;
  AddInitializer(graph, Tensor::FromFloats("w", {6, 4}, weights));
  AddNode(graph, "MatMul", {"x", "w"}, {"t"});
  AddNode(graph, "Softmax", {"t"}, {"y"});
  AddOutput(graph, "y");
  return model;
}

struct Held {
  std::vector<float> x;
  std::vector<int64_t> labels;
};

// Batches of 5 examples, the last one of 2.
NextBatch Batches() {
  return [i = int64_t{0}]() mutable -> absl::StatusOr<std::optional<ExampleBatch>> {
    if (i == 7) return std::optional<ExampleBatch>();
    auto held = std::make_shared<Held>();
    ExampleBatch batch;
    batch.examples = batch.rows = i == 6 ? 2 : 5;
    for (int64_t k = 0; k < batch.examples * 6; ++k) {
      held->x.push_back(static_cast<float>((i * 131 + k * 37 + 5) % 29 - 14) / 7);
    }
    for (int64_t e = 0; e < batch.examples; ++e) held->labels.push_back((i * 3 + e) % 4);
    batch.inputs["x"] = Value::Borrow(DType::kFloat, {batch.examples, 6}, held->x.data());
    batch.labels.emplace();
    batch.labels->ids = IntArray{{batch.examples}, held->labels};
    batch.held = held;
    ++i;
    return std::optional<ExampleBatch>(std::move(batch));
  };
}

TEST(RunEvaluation, TheOutcomeIsTheSameForAnyNumberOfThreads) {
  Model before = Classifier(1);
  const Model after = Classifier(0.7f);
  std::string told;
  for (const int threads : {0, 1, 2, 3, 8}) {
    const std::unique_ptr<Parallel> parallel = threads > 0 ? MakeThreadPool(threads) : nullptr;
    EvaluationRequest request;
    request.model = &before;
    request.compared = &after;
    request.test = Batches();
    request.parallel = parallel.get();
    request.metrics.task = Task::kClassification;
    std::vector<int64_t> progress;
    request.progress = [&progress](int64_t examples) { progress.push_back(examples); };
    const absl::StatusOr<EvaluationOutcome> outcome = RunEvaluation(request);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(progress, (std::vector<int64_t>{5, 10, 15, 20, 25, 30, 32}));
    EXPECT_EQ(outcome->evaluation["examples"], 32);
    EXPECT_NE(outcome->evaluation["before"]["accuracy"], outcome->evaluation["after"]["accuracy"]);
    const std::string text = outcome->evaluation.dump() +
                             std::to_string(outcome->peak_activation_bytes_before) + " " +
                             std::to_string(outcome->peak_activation_bytes_after);
    if (told.empty()) told = text;
    EXPECT_EQ(text, told) << threads << " threads";
  }
}

}  // namespace
}  // namespace lathe::engine
