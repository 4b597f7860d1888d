#include "worker/engine/run/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/status_reason.h"
#include "tests/support/graph_builder.h"

namespace lathe::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace lathe::engine::testing;  // NOLINT: the builder

ExecutorOptions AsWritten() {
  ExecutorOptions options;
  options.optimize = false;
  return options;
}

Value FloatsOf(const std::vector<float>& values) {
  return Value::Borrow(DType::kFloat, {static_cast<int64_t>(values.size())}, values.data());
}

std::vector<float> ToVector(const Value& value) {
  const auto elements = value.As<float>();
  return {elements.begin(), elements.end()};
}

// y = (x + w) + (x + w)
Model Doubled() {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddInitializer(graph, Tensor::FromFloats("w", {2}, std::vector<float>{1, 2}));
  AddNode(graph, "Add", {"x", "w"}, {"t"}, "first");
  AddNode(graph, "Add", {"t", "t"}, {"y"}, "second");
  AddOutput(graph, "y");
  return model;
}

TEST(ExecutorTest, RunsAChainAndIsPlannedFromTheSecondRunOn) {
  const Model model = Doubled();
  const auto executor = Executor::Make(model, AsWritten());
  ASSERT_TRUE(executor.ok()) << executor.status();
  EXPECT_THAT((*executor)->input_names(), ElementsAre("x"));
  const std::vector<float> x = {10, 20};
  for (int run = 0; run < 3; ++run) {
    const auto outputs = (*executor)->Run({{"x", FloatsOf(x)}});
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    EXPECT_THAT(ToVector((*outputs)[0]), ElementsAre(22, 44));
    EXPECT_EQ((*executor)->planned(), run > 0);
  }
  // The caller's array is never written to.
  EXPECT_THAT(x, ElementsAre(10, 20));
}

TEST(ExecutorTest, SaysWhichInputIsMissingOrOfAnotherType) {
  const Model model = Doubled();
  const auto executor = Executor::Make(model, AsWritten());
  ASSERT_TRUE(executor.ok());
  EXPECT_THAT(std::string((*executor)->Run({}).status().message()), HasSubstr("'x' is missing"));
  const std::vector<int64_t> ints = {1, 2};
  const auto wrong = (*executor)->Run({{"x", Value::Borrow(DType::kInt64, {2}, ints.data())}});
  EXPECT_THAT(std::string(wrong.status().message()), HasSubstr("must be float32, not int64[2]"));
}

TEST(ExecutorTest, ErrorsNameTheNodeAndItsInputs) {
  const Model model = Doubled();
  const auto executor = Executor::Make(model, AsWritten());
  ASSERT_TRUE(executor.ok());
  const std::vector<float> three = {1, 2, 3};
  const auto wrong = (*executor)->Run({{"x", FloatsOf(three)}});
  EXPECT_EQ(wrong.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(wrong.status().message()), HasSubstr("'first'"));
  EXPECT_THAT(std::string(wrong.status().message()), HasSubstr("float32[3], float32[2]"));
}

TEST(ExecutorTest, NodesThatCannotBeRunAreNamedBeforeAnythingRuns) {
  Model model = Doubled();
  AddNode(*model.graph, "Frobnicate", {"y"}, {"z"}, "odd", "com.example");
  const auto executor = Executor::Make(model, AsWritten());
  EXPECT_EQ(executor.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(ReasonOf(executor.status()), "UNSUPPORTED_OP");
  EXPECT_THAT(std::string(executor.status().message()), HasSubstr("'odd'"));
}

// Adds `step` to x as often as `trips` says; scans every intermediate sum.
Model Summing() {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "trips", DType::kInt64);
  AddInput(graph, "x");
  AddInitializer(graph, Tensor::FromFloats("step", {2}, std::vector<float>{1, 10}));
  Node& loop = AddNode(graph, "Loop", {"trips", "", "x"}, {"last", "all"}, "loop");
  Graph& body = AddSubgraph(graph, loop, "body");
  AddInput(body, "i", DType::kInt64);
  AddInput(body, "go", DType::kBool);
  AddInput(body, "sum");
  AddNode(body, "Add", {"sum", "step"}, {"next"}, "add");
  AddNode(body, "Identity", {"go"}, {"go_on"});
  AddOutput(body, "go_on", DType::kBool);
  AddOutput(body, "next");
  AddOutput(body, "next");
  AddOutput(graph, "last");
  AddOutput(graph, "all");
  return model;
}

TEST(ExecutorTest, LoopsReadOuterValuesCarryAndScan) {
  const Model model = Summing();
  const auto executor = Executor::Make(model, AsWritten());
  ASSERT_TRUE(executor.ok()) << executor.status();
  const std::vector<float> x = {0, 5};
  for (const int64_t trips : {3, 0, 3, 4}) {
    const auto outputs =
        (*executor)->Run({{"x", FloatsOf(x)}, {"trips", Value::Borrow(DType::kInt64, {}, &trips)}});
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    EXPECT_THAT(ToVector((*outputs)[0]),
                ElementsAre(static_cast<float>(trips), static_cast<float>(5 + 10 * trips)));
    if (trips == 0) continue;
    EXPECT_EQ((*outputs)[1].dims, (Shape{trips, 2}));
    EXPECT_EQ(ToVector((*outputs)[1])[2], 2);
    EXPECT_EQ(ToVector((*outputs)[1])[3], 25);
  }
  EXPECT_THAT(x, ElementsAre(0, 5));
}

TEST(ExecutorTest, EndlessLoopsAreStopped) {
  const Model model = Summing();
  ExecutorOptions options = AsWritten();
  options.max_node_visits = 1000;
  const auto executor = Executor::Make(model, options);
  ASSERT_TRUE(executor.ok());
  const std::vector<float> x = {0, 0};
  const int64_t trips = int64_t{1} << 40;
  const auto outputs =
      (*executor)->Run({{"x", FloatsOf(x)}, {"trips", Value::Borrow(DType::kInt64, {}, &trips)}});
  EXPECT_EQ(outputs.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(ExecutorTest, CancellationEndsARun) {
  const Model model = Summing();
  ExecutorOptions options = AsWritten();
  options.cancelled = [] { return true; };
  const auto executor = Executor::Make(model, options);
  ASSERT_TRUE(executor.ok());
  const std::vector<float> x = {0, 0};
  const int64_t trips = 100000;
  const auto outputs =
      (*executor)->Run({{"x", FloatsOf(x)}, {"trips", Value::Borrow(DType::kInt64, {}, &trips)}});
  EXPECT_EQ(outputs.status().code(), absl::StatusCode::kCancelled);
}

// A node whose loop alone would take minutes: 300,000 boxes of which none hides another.
TEST(ExecutorTest, CancellationEndsANodeThatLoopsLong) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "boxes");
  AddInput(graph, "scores");
  const int64_t most = 300000;
  AddInitializer(graph, Tensor::FromInt64s("most", {1}, std::vector<int64_t>{most}));
  AddNode(graph, "NonMaxSuppression", {"boxes", "scores", "most"}, {"y"}, "suppress");
  AddOutput(graph, "y", DType::kInt64);
  std::vector<float> boxes(static_cast<size_t>(most) * 4);
  for (size_t i = 0; i < boxes.size(); i += 4) {
    boxes[i] = boxes[i + 1] = static_cast<float>(i);
    boxes[i + 2] = boxes[i + 3] = static_cast<float>(i + 1);
  }
  const std::vector<float> scores(static_cast<size_t>(most), 0.5f);
  ExecutorOptions options = AsWritten();
  int asked = 0;
  options.cancelled = [&asked] { return ++asked == 3; };
  const auto executor = Executor::Make(model, options);
  ASSERT_TRUE(executor.ok()) << executor.status();
  const auto outputs =
      (*executor)->Run({{"boxes", Value::Borrow(DType::kFloat, {1, most, 4}, boxes.data())},
                        {"scores", Value::Borrow(DType::kFloat, {1, 1, most}, scores.data())}});
  EXPECT_EQ(outputs.status().code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(std::string(outputs.status().message()), HasSubstr("suppress"));
  EXPECT_EQ(asked, 3);
}

TEST(ExecutorTest, CancellationEndsAPoolOfManyRegions) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddInput(graph, "rois");
  const int64_t regions = 20000;
  AddInitializer(graph, Tensor::FromInt64s("batches", {regions},
                                           std::vector<int64_t>(static_cast<size_t>(regions), 0)));
  Node& node = AddNode(graph, "RoiAlign", {"x", "rois", "batches"}, {"y"}, "align");
  node.SetInt("sampling_ratio", 200);
  AddOutput(graph, "y");
  const std::vector<float> x(64 * 64, 1.0f);
  std::vector<float> rois;
  for (int64_t r = 0; r < regions; ++r) rois.insert(rois.end(), {0, 0, 63, 63});
  ExecutorOptions options = AsWritten();
  options.cancelled = [] { return true; };
  const auto executor = Executor::Make(model, options);
  ASSERT_TRUE(executor.ok()) << executor.status();
  const auto outputs =
      (*executor)->Run({{"x", Value::Borrow(DType::kFloat, {1, 1, 64, 64}, x.data())},
                        {"rois", Value::Borrow(DType::kFloat, {regions, 4}, rois.data())}});
  EXPECT_EQ(outputs.status().code(), absl::StatusCode::kCancelled) << outputs.status();
}

TEST(ExecutorTest, IfTakesOneBranchAndKeepsOuterValuesForLaterReaders) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "yes", DType::kBool);
  AddInput(graph, "x");
  AddInitializer(graph, Tensor::FromFloats("w", {2}, std::vector<float>{1, 1}));
  AddNode(graph, "Add", {"x", "w"}, {"t"});
  Node& choice = AddNode(graph, "If", {"yes"}, {"c"}, "choice");
  Graph& then_branch = AddSubgraph(graph, choice, "then_branch");
  AddNode(then_branch, "Add", {"t", "t"}, {"a"});
  AddOutput(then_branch, "a");
  Graph& else_branch = AddSubgraph(graph, choice, "else_branch");
  AddNode(else_branch, "Sub", {"t", "t"}, {"a"});  // the same name as in its sibling
  AddOutput(else_branch, "a");
  AddNode(graph, "Add", {"c", "t"}, {"y"});
  AddOutput(graph, "y");
  const auto executor = Executor::Make(model, AsWritten());
  ASSERT_TRUE(executor.ok()) << executor.status();
  const std::vector<float> x = {1, 2};
  for (const bool yes : {true, false, true}) {
    const auto outputs =
        (*executor)->Run({{"x", FloatsOf(x)}, {"yes", Value::Borrow(DType::kBool, {}, &yes)}});
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    const float times = yes ? 3 : 1;
    EXPECT_THAT(ToVector((*outputs)[0]), ElementsAre(2 * times, 3 * times));
  }
}

TEST(ExecutorTest, FunctionsSeeTheirParametersAndTheCallsAttributes) {
  Model model = NewModel();
  Graph& graph = *model.graph;
  model.opset_imports["local"] = 1;
  Function& function = AddFunction(model, "TwiceMore", {"a", "b"}, {"r"});
  AddNode(*function.body, "Add", {"a", "b"}, {"s"});
  AddNode(*function.body, "Add", {"s", "b"}, {"r"});
  AddInput(graph, "x");
  AddInitializer(graph, Tensor::FromFloats("w", {2}, std::vector<float>{1, 2}));
  AddNode(graph, "TwiceMore", {"x", "w"}, {"t"}, "call1", "local");
  AddNode(graph, "TwiceMore", {"t", "t"}, {"y"}, "call2", "local");
  AddOutput(graph, "y");
  const auto executor = Executor::Make(model, AsWritten());
  ASSERT_TRUE(executor.ok()) << executor.status();
  const std::vector<float> x = {10, 20};
  const auto outputs = (*executor)->Run({{"x", FloatsOf(x)}});
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  EXPECT_THAT(ToVector((*outputs)[0]), ElementsAre(36, 72));
}

TEST(ExecutorTest, ObserversSeeInputsUntouchedAndEveryOutput) {
  const Model model = Doubled();
  ExecutorOptions options = AsWritten();
  std::vector<std::string> seen;
  options.observe = [&seen](const Node& node, std::span<const Value> inputs,
                            std::span<const Value> outputs) {
    seen.push_back(node.name);
    EXPECT_EQ(inputs.size(), 2u);
    EXPECT_NE(inputs[0].data, outputs[0].data);
    if (node.name == "second") {
      EXPECT_THAT(ToVector(inputs[0]), ElementsAre(11, 22));
    }
    return absl::OkStatus();
  };
  const auto executor = Executor::Make(model, options);
  ASSERT_TRUE(executor.ok());
  const std::vector<float> x = {10, 20};
  ASSERT_TRUE((*executor)->Run({{"x", FloatsOf(x)}}).ok());
  EXPECT_THAT(seen, ElementsAre("first", "second"));
}

TEST(ExecutorTest, MoreMemoryThanAllowedIsRefused) {
  const Model model = Doubled();
  ExecutorOptions options = AsWritten();
  options.max_activation_bytes = 4;
  const auto executor = Executor::Make(model, options);
  ASSERT_TRUE(executor.ok());
  const std::vector<float> x = {10, 20};
  EXPECT_EQ((*executor)->Run({{"x", FloatsOf(x)}}).status().code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace lathe::engine
