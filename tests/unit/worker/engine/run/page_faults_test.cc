// First touch of memory costs more than the arithmetic on it: once a model has run with some
// shapes, further runs with them touch no page that was not touched before.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "tests/support/graph_builder.h"
#include "worker/engine/run/executor.h"

namespace lathe::engine {
namespace {

using namespace lathe::engine::testing;  // NOLINT: the builder

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LATHE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LATHE_SANITIZED 1
#endif
#endif

int64_t FaultsOfThread() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_minflt + usage.ru_majflt;
}

struct Case {
  const char* name;
  Model model;
  Shape input;
};

// Convolutions, a pool and a classifier at an image net's sizes: 8 MB of activations a batch.
Case ConvNet() {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddWeight(graph, "w1", {32, 3, 3, 3});
  AddWeight(graph, "b1", {32});
  AddWeight(graph, "w2", {64, 32, 3, 3});
  AddWeight(graph, "b2", {64});
  AddWeight(graph, "w3", {64, 64, 3, 3});
  AddWeight(graph, "w4", {64, 100});
  AddNode(graph, "Conv", {"x", "w1", "b1"}, {"c1"}).SetInts("pads", {1, 1, 1, 1});
  AddNode(graph, "Relu", {"c1"}, {"r1"});
  Node& second = AddNode(graph, "Conv", {"r1", "w2", "b2"}, {"c2"});
  second.SetInts("pads", {1, 1, 1, 1});
  second.SetInts("strides", {2, 2});
  AddNode(graph, "Sigmoid", {"c2"}, {"s2"});
  AddNode(graph, "Conv", {"s2", "w3"}, {"c3"}).SetInts("pads", {1, 1, 1, 1});
  AddNode(graph, "Add", {"s2", "c3"}, {"a3"});
  Node& pool = AddNode(graph, "MaxPool", {"a3"}, {"p3"});
  pool.SetInts("kernel_shape", {2, 2});
  pool.SetInts("strides", {2, 2});
  AddNode(graph, "GlobalAveragePool", {"p3"}, {"g"});
  AddNode(graph, "Flatten", {"g"}, {"f"});
  AddNode(graph, "MatMul", {"f", "w4"}, {"y"});
  AddOutput(graph, "y");
  return {"convolutions", std::move(model), {4, 3, 112, 112}};
}

// Projections, a softmax and a normalization over rows, as in an encoder's block.
Case Encoder() {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  AddWeight(graph, "wq", {256, 256});
  AddWeight(graph, "wk", {256, 256});
  AddWeight(graph, "wo", {256, 256});
  AddWeight(graph, "scale", {256});
  AddWeight(graph, "shift", {256});
  AddNode(graph, "MatMul", {"x", "wq"}, {"q"});
  AddNode(graph, "MatMul", {"x", "wk"}, {"k"});
  AddNode(graph, "Transpose", {"k"}, {"kt"}).SetInts("perm", {0, 2, 1});
  AddNode(graph, "MatMul", {"q", "kt"}, {"s"});
  AddNode(graph, "Softmax", {"s"}, {"p"});
  AddNode(graph, "MatMul", {"p", "x"}, {"v"});
  AddNode(graph, "MatMul", {"v", "wo"}, {"o"});
  AddNode(graph, "Add", {"o", "x"}, {"r"});
  AddNode(graph, "LayerNormalization", {"r", "scale", "shift"}, {"y"});
  AddOutput(graph, "y");
  return {"encoder", std::move(model), {4, 128, 256}};
}

TEST(PageFaults, ThereAreNoneInSteadyState) {
#ifdef LATHE_SANITIZED
  GTEST_SKIP() << "a sanitizer's memory is always new";
#endif
  Case cases[] = {ConvNet(), Encoder()};
  for (const Case& c : cases) {
    const auto executor = Executor::Make(c.model, {});
    ASSERT_TRUE(executor.ok()) << executor.status();
    const std::vector<float> x = Values(Elements(c.input));
    const std::map<std::string, Value> inputs = {
        {"x", Value::Borrow(DType::kFloat, c.input, x.data())}};
    const auto run = [&](int times) {
      const int64_t before = FaultsOfThread();
      for (int i = 0; i < times; ++i) {
        const auto outputs = (*executor)->Run(inputs);
        EXPECT_TRUE(outputs.ok()) << outputs.status();
      }
      return FaultsOfThread() - before;
    };
    // The first run records, the second one touches the arena; in some of the next the heap of
    // small things (names, shapes, lists) grows by a page or two until it has found its size.
    const int64_t warming = run(24);
    const int64_t steady = run(30);
    RecordProperty(std::string(c.name) + "_warming", std::to_string(warming));
    RecordProperty(std::string(c.name) + "_steady", std::to_string(steady));
    // Memory that each run took anew would fault in each: fewer than one a run is what the system
    // itself moves (a page of the
    // process that was reclaimed, or merged into a huge one, faults once when next touched).
    EXPECT_LT(steady, 30) << c.name << ": " << warming << " faults in the first 24 runs, " << steady
                          << " in the next 30";
    EXPECT_GT(warming, 10) << "the measurement sees faults";
    EXPECT_TRUE((*executor)->planned());
  }
}

}  // namespace
}  // namespace lathe::engine
