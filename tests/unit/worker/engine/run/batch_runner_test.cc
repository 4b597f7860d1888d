#include "worker/engine/run/batch_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/status_reason.h"
#include "tests/support/graph_builder.h"

namespace lathe::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace lathe::engine::testing;  // NOLINT: the builder

struct Numbers {
  int64_t index = 0;
  std::map<std::string, Value> inputs;
  std::shared_ptr<std::vector<float>> held;
};

// y = x * factor; x: [3]
Model Scaled(float factor) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddInitializer(graph, Tensor::FromFloats("w", {3}, std::vector<float>(3, factor)));
  AddNode(graph, "Mul", {"x", "w"}, {"y"}, "scale");
  AddOutput(graph, "y");
  return model;
}

// Batches 0, 1, ..., of which that with index `bad` has another shape.
std::function<absl::StatusOr<std::optional<Numbers>>()> Count(int64_t batches, int64_t bad = -1) {
  return [batches, bad, i = int64_t{0}]() mutable -> absl::StatusOr<std::optional<Numbers>> {
    if (i == batches) return std::optional<Numbers>();
    Numbers batch;
    batch.index = i;
    batch.held = std::make_shared<std::vector<float>>(i == bad ? 2 : 3, static_cast<float>(i));
    batch.inputs["x"] = Value::Borrow(DType::kFloat, {static_cast<int64_t>(batch.held->size())},
                                      batch.held->data());
    ++i;
    return std::optional<Numbers>(std::move(batch));
  };
}

TEST(BatchRunner, BatchesAreConsumedInTheirOrderForAnyNumberOfThreads) {
  const Model twice = Scaled(2);
  const Model thrice = Scaled(3);
  for (const int threads : {1, 2, 3, 5}) {
    const std::unique_ptr<Parallel> parallel = MakeThreadPool(threads);
    auto runner = BatchRunner::Make({&twice, &thrice}, {}, *parallel, threads);
    ASSERT_TRUE(runner.ok()) << runner.status();
    std::vector<float> seen;
    const absl::Status status = (*runner)->Run<Numbers>(
        Count(7), [&](Numbers& batch, const BatchRunner::Outputs& outputs) -> absl::Status {
          EXPECT_EQ(seen.size(), 2 * static_cast<size_t>(batch.index));
          for (const std::vector<Value>& model : outputs) seen.push_back(model[0].As<float>()[2]);
          return absl::OkStatus();
        });
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_THAT(seen, ElementsAre(0, 0, 2, 3, 4, 6, 6, 9, 8, 12, 10, 15, 12, 18));
    EXPECT_GT((*runner)->peak_activation_bytes(0), 0);
  }
}

TEST(BatchRunner, TheFirstErrorByOrderEndsItAndWhatIsBeforeItIsConsumed) {
  const Model model = Scaled(2);
  for (const int threads : {1, 2, 4}) {
    const std::unique_ptr<Parallel> parallel = MakeThreadPool(threads);
    auto runner = BatchRunner::Make({&model}, {}, *parallel, threads);
    ASSERT_TRUE(runner.ok()) << runner.status();
    int64_t consumed = 0;
    const auto consume = [&](Numbers&, const BatchRunner::Outputs&) -> absl::Status {
      ++consumed;
      return absl::OkStatus();
    };
    const absl::Status run = (*runner)->Run<Numbers>(Count(9, 5), consume);
    EXPECT_THAT(std::string(run.message()), HasSubstr("scale")) << threads;
    EXPECT_EQ(consumed, 5) << threads;

    consumed = 0;
    auto counting = Count(9);
    const absl::Status read = (*runner)->Run<Numbers>(
        [&]() -> absl::StatusOr<std::optional<Numbers>> {
          auto batch = counting();
          if (batch.ok() && (*batch)->index == 5) return absl::DataLossError("a torn file");
          return batch;
        },
        consume);
    EXPECT_EQ(read.message(), "a torn file");
    EXPECT_EQ(consumed, 5) << threads;

    consumed = 0;
    const absl::Status stopped = (*runner)->Run<Numbers>(
        Count(9), [&](Numbers& batch, const BatchRunner::Outputs&) -> absl::Status {
          ++consumed;
          return batch.index == 5 ? absl::OutOfRangeError("enough") : absl::OkStatus();
        });
    EXPECT_EQ(stopped.message(), "enough");
    EXPECT_EQ(consumed, 6) << threads;
  }
}

TEST(BatchRunner, AModelThatCannotRunIsToldBeforeAnyBatchIsRead) {
  const Model good = Scaled(2);
  Model bad = NewModel();
  AddInput(*bad.graph, "x");
  AddNode(*bad.graph, "Shuffle", {"x"}, {"y"}, "odd", "company.example");
  AddOutput(*bad.graph, "y");
  const std::unique_ptr<Parallel> parallel = MakeSerial();
  const auto runner = BatchRunner::Make({&good, &bad}, {}, *parallel, 1);
  EXPECT_EQ(runner.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(ReasonOf(runner.status()), "UNSUPPORTED_OP");
}

}  // namespace
}  // namespace lathe::engine
