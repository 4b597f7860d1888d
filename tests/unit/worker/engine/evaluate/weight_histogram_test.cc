#include "worker/engine/evaluate/weight_histogram.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "tests/support/graph_builder.h"
#include "tests/support/step_runner.h"
#include "worker/engine/evaluate/weight_error.h"
#include "worker/engine/graph/clone.h"

namespace lathe::engine {
namespace {

using testing::AddInput;
using testing::AddNode;
using testing::AddOutput;
using testing::AddWeight;
using testing::NewModel;

int64_t Total(const Histogram& histogram) {
  return std::accumulate(histogram.counts().begin(), histogram.counts().end(), int64_t{0});
}

// Bin of a value, found without the arithmetic under test.
size_t BinOf(const Histogram& histogram, double value) {
  const std::vector<double> edges = histogram.Edges();
  size_t bin = 0;
  while (bin + 2 < edges.size() && value >= edges[bin + 1]) ++bin;
  return bin;
}

TEST(CountWeights, BothSidesShareTheRangeOfBoth) {
  const std::vector<float> before = {-1, 0, 0.5f, 3};
  const std::vector<float> after = {-2, 0, 0, 1};
  const WeightHistogram histogram = CountWeights(before, after);
  EXPECT_EQ(histogram.before.Edges(), histogram.after.Edges());
  EXPECT_EQ(histogram.before.Edges().front(), -2);
  EXPECT_EQ(histogram.before.Edges().back(), 3);
  EXPECT_EQ(Total(histogram.before), 4);
  EXPECT_EQ(Total(histogram.after), 4);
  EXPECT_EQ(histogram.after.counts()[BinOf(histogram.after, 0)], 2);
  EXPECT_EQ(histogram.before.counts().back(), 1);
  EXPECT_FALSE(histogram.sampled);
}

TEST(CountWeights, WhatIsNotFiniteDoesNotSetTheRange) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const std::vector<float> before = {-1, kInf, std::nanf(""), 1};
  const std::vector<float> after = {-kInf, 0, 0, 0};
  const WeightHistogram histogram = CountWeights(before, after);
  EXPECT_EQ(histogram.before.Edges().front(), -1);
  EXPECT_EQ(histogram.before.Edges().back(), 1);
  EXPECT_EQ(Total(histogram.before), 3);  // NaN has no bin
  const std::vector<float> none = {kInf, -kInf};
  EXPECT_TRUE(CountWeights(none, none).before.empty());
}

TEST(CountProduct, CountsTheProductAndNotItsFactors) {
  // [2, 1] [1, 3]: 2 4 6 / -1 -2 -3.
  const std::vector<float> left = {2, -1};
  const std::vector<float> right = {1, 2, 3};
  const std::vector<float> before = {6, 6, 6, 6, 6, -3};
  const auto serial = MakeSerial();
  const WeightHistogram histogram =
      CountProduct(2, 3, 1, before.data(), left.data(), right.data(), *serial);
  EXPECT_EQ(histogram.after.Edges().front(), -3);
  EXPECT_EQ(histogram.after.Edges().back(), 6);
  EXPECT_EQ(Total(histogram.after), 6);
  for (const double value : {2, 4, 6, -1, -2, -3}) {
    EXPECT_EQ(histogram.after.counts()[BinOf(histogram.after, value)], 1) << value;
  }
  EXPECT_EQ(histogram.before.counts().back(), 5);
}

Model OneLayer(const Shape& dims) {
  Model model = NewModel(17);
  AddInput(*model.graph, "x");
  AddWeight(*model.graph, "w", dims);
  AddNode(*model.graph, "MatMul", {"x", "w"}, {"y"}, "fc");
  AddOutput(*model.graph, "y");
  return model;
}

LayerMeasure MeasureStep(const Shape& dims, const std::string& step, int threads) {
  Model original = OneLayer(dims);
  Model compressed = CloneModel(original);
  EXPECT_TRUE(testing::RunStep(compressed, step).ok());
  const auto parallel = MakeThreadPool(threads);
  auto measures = MeasureWeights(original, compressed, *parallel, nullptr);
  EXPECT_TRUE(measures.ok()) << measures.status();
  EXPECT_EQ(measures->size(), 1u);
  return measures->at(0);
}

TEST(MeasureWeights, CountsEveryWeightOfAChangedLayerForAnyNumberOfThreads) {
  for (const char* step : {"prune_weights:sparsity=0.5", "quantize_weights:bits=4",
                           "quantize_weights:bits=8", "low_rank:rank=8"}) {
    SCOPED_TRACE(step);
    const LayerMeasure one = MeasureStep({1024, 600}, step, 1);
    const LayerMeasure two = MeasureStep({1024, 600}, step, 2);
    ASSERT_FALSE(one.histogram.before.empty()) << one.not_measured;
    EXPECT_EQ(one.histogram.before.counts(), two.histogram.before.counts());
    EXPECT_EQ(one.histogram.after.counts(), two.histogram.after.counts());
    EXPECT_EQ(Total(one.histogram.before), Total(one.histogram.after));
    if (!one.histogram.sampled) {
      EXPECT_EQ(Total(one.histogram.before), 1024 * 600);
    }
  }
}

TEST(MeasureWeights, PrunedWeightsStandInTheBinOfZero) {
  const LayerMeasure measure = MeasureStep({64, 64}, "prune_weights:sparsity=0.5", 2);
  const Histogram& after = measure.histogram.after;
  EXPECT_GE(after.counts()[BinOf(after, 0)], 64 * 64 / 2);
  EXPECT_NE(after.counts(), measure.histogram.before.counts());
}

TEST(MeasureWeights, ALargeLayerIsSampledEvenly) {
  // 5 Mi weights, of which no more than 4 Mi are counted, in whole pieces.
  const LayerMeasure measure = MeasureStep({5120, 1024}, "prune_weights:sparsity=0.5", 2);
  EXPECT_TRUE(measure.histogram.sampled);
  EXPECT_LE(Total(measure.histogram.before), kMaxCountedWeights);
  EXPECT_GE(Total(measure.histogram.before), kMaxCountedWeights / 2);
}

TEST(MeasureWeights, ALayerThatIsAsItWasHasNone) {
  Model original = OneLayer({32, 32});
  const Model same = CloneModel(original);
  const auto serial = MakeSerial();
  const auto measures = MeasureWeights(original, same, *serial, nullptr);
  ASSERT_TRUE(measures.ok());
  EXPECT_EQ(measures->at(0).relative_error, 0);
  EXPECT_TRUE(measures->at(0).histogram.before.empty());
}

}  // namespace
}  // namespace lathe::engine
