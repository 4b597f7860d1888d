// SearchIntegers on a chain of three products of which the middle one cannot bear 8 bits: one of
// its inputs is hundreds of times as large as the others, and what matters is in the others.
#include "worker/engine/methods/integer_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <optional>

#include "tests/unit/worker/engine/passes/pass_test_util.h"
#include "worker/engine/calibrate/collect.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/linalg/randomized_range.h"
#include "worker/engine/methods/integer_planner.h"

namespace lathe::engine {
namespace {

using testing::AddInitializer;
using testing::AddInput;
using testing::AddNode;
using testing::AddOutput;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::NewModel;

// Wide enough that integers gain by the estimate.
constexpr int64_t kWidth = 256;
constexpr int64_t kRows = 32;  // of an example
constexpr float kOutlier = 2000;
constexpr UnitForm kFloat = UnitForm::kFloat;
constexpr UnitForm kStatic = UnitForm::kStatic;
constexpr UnitForm kDynamic = UnitForm::kDynamic;

std::vector<float> Normals(uint64_t seed, int64_t count) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(BinomialNormal(seed, i));
  return values;
}

class SearchTest : public ::testing::Test {
 protected:
  SearchTest() : parallel_(MakeThreadPool(2)) {
    model_ = NewModel(13);
    Graph& graph = *model_.graph;
    AddInput(graph, "x");
    for (const char* name : {"w1", "w2", "w3"}) {
      std::vector<float> w = Normals(static_cast<uint64_t>(name[1]), kWidth * kWidth);
      // The outlier comes in by w1's first column and goes out again by w2's first row.
      for (int64_t i = 0; i < kWidth; ++i) {
        if (name[1] == '1') w[static_cast<size_t>(i * kWidth)] *= kOutlier;
        if (name[1] == '2') w[static_cast<size_t>(i)] /= kOutlier;
      }
      AddInitializer(graph, Tensor::FromFloats(name, {kWidth, kWidth}, w));
    }
    AddNode(graph, "MatMul", {"x", "w1"}, {"a"}, "first");
    AddNode(graph, "MatMul", {"a", "w2"}, {"b"}, "second");
    AddNode(graph, "MatMul", {"b", "w3"}, {"y"}, "third");
    AddOutput(graph, "y");
    weights_ = FindWeights(model_);
    units_ = FindIntegerUnits(model_, weights_);
  }

  void SetUp() override {
    ASSERT_EQ(units_.size(), 3u);
    CollectRequest collect;
    collect.model = &model_;
    collect.values = {"x", "a", "b", "y"};
    auto seen = Collect(collect, Examples());
    ASSERT_TRUE(seen.ok()) << seen.status();
    seen_ = *std::move(seen);
    auto noise = OutputNoise::Make(model_, Examples(), 64, nullptr);
    ASSERT_TRUE(noise.ok()) << noise.status();
    noise_.emplace(*std::move(noise));
    cost_.emplace(model_, units_, weights_, seen_);
    options_.range.method = RangeMethod::kMinMax;
    planner_.emplace(units_, seen_, *cost_, options_);
    request_.model = &model_;
    request_.units = &units_;
    request_.cost = &*cost_;
    request_.planner = &*planner_;
    request_.noise = &*noise_;
    request_.allow_dynamic = false;
    request_.fixed_float.assign(3, false);
    request_.parallel = parallel_.get();
    request_.build = [this](const IntegerPlan& plan) -> absl::StatusOr<Model> {
      ++built_;
      Model model = CloneModel(model_);
      const absl::Status emitted = EmitIntegers(model, units_, plan, *MakeSerial()).status();
      if (!emitted.ok()) return emitted;
      return model;
    };
  }

  // Four batches of two.
  CalibrationData::Next Examples() {
    auto at = std::make_shared<int>(0);
    auto held = std::make_shared<std::vector<float>>();
    return [at, held]() -> absl::StatusOr<std::optional<CalibrationBatch>> {
      if (*at == 4) return std::optional<CalibrationBatch>();
      *held = Normals(static_cast<uint64_t>((*at)++), 2 * kRows * kWidth);
      CalibrationBatch batch;
      batch.examples = 2;
      batch.inputs["x"] = Value::Borrow(DType::kFloat, {2, kRows, kWidth}, held->data());
      return std::optional<CalibrationBatch>(std::move(batch));
    };
  }

  SearchResult Search() {
    auto result = SearchIntegers(request_);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : SearchResult();
  }

  // Whether a candidate's second product is still a float one.
  static bool SecondIsFloat(const Model& model) {
    for (const auto& node : model.graph->nodes) {
      if (node->op_type == "MatMul" && node->inputs[0] == "a" && node->inputs[1] == "w2")
        return true;
    }
    return false;
  }

  Model model_;
  std::vector<Weight> weights_;
  std::vector<IntegerUnit> units_;
  Collected seen_;
  std::optional<OutputNoise> noise_;
  std::optional<IntegerCost> cost_;
  IntegerOptions options_;
  std::optional<IntegerPlanner> planner_;
  std::unique_ptr<Parallel> parallel_;
  SearchRequest request_;
  int built_ = 0;
};

TEST_F(SearchTest, TheLayerThatBreaksTheOutputGoesBackToFloatAndTheReportSaysWhy) {
  const SearchResult result = Search();
  EXPECT_THAT(result.forms, ElementsAre(kStatic, kFloat, kStatic));
  EXPECT_THAT(result.reasons, ElementsAre("", HasSubstr("it alone leaves the outputs at"), ""));
  EXPECT_GE(result.sqnr_db, 20);
  ASSERT_TRUE(result.alone_db[1].has_value());
  EXPECT_LT(*result.alone_db[1], 20);
  EXPECT_GT(*result.alone_db[0], 20);
  EXPECT_GT(*result.alone_db[2], 20);
}

TEST_F(SearchTest, WithoutABoundEveryLayerThatCanRunsInIntegers) {
  request_.keep_in_bounds = false;
  const SearchResult result = Search();
  EXPECT_THAT(result.forms, ElementsAre(kStatic, kStatic, kStatic));
  EXPECT_LT(result.sqnr_db, 20);
}

TEST_F(SearchTest, ABudgetOfNoFloatLayersIsKeptAndTold) {
  request_.most_float = 0;
  const SearchResult result = Search();
  EXPECT_THAT(result.forms, ElementsAre(kStatic, kStatic, kStatic));
  EXPECT_LT(result.sqnr_db, 20);
  EXPECT_THAT(result.notes,
              ElementsAre(HasSubstr("as many layers stay float for their error as may")));
}

TEST_F(SearchTest, ABudgetOfOneGoesToTheWorstLayer) {
  request_.most_float = 1;
  const SearchResult result = Search();
  EXPECT_THAT(result.forms, ElementsAre(kStatic, kFloat, kStatic));
  EXPECT_THAT(result.notes, IsEmpty());
}

TEST_F(SearchTest, AccuracyInsteadOfNoiseDecides) {
  // What the outputs lose in noise is of no account to this accuracy.
  request_.min_accuracy = 0.9;
  request_.accuracy = [](const Model&) -> absl::StatusOr<double> { return 0.95; };
  const SearchResult blind = Search();
  EXPECT_EQ(blind.forms[0], kStatic);
  EXPECT_EQ(blind.forms[2], kStatic);
  EXPECT_EQ(blind.accuracy, 0.95);
  // To this one the second layer is all that counts.
  request_.accuracy = [](const Model& model) -> absl::StatusOr<double> {
    return SecondIsFloat(model) ? 0.95 : 0.5;
  };
  const SearchResult result = Search();
  EXPECT_THAT(result.forms, ElementsAre(kStatic, kFloat, kStatic));
  EXPECT_EQ(result.accuracy, 0.95);
}

TEST_F(SearchTest, AnAccuracyThatNothingKeepsLeavesAllLayersFloat) {
  request_.min_accuracy = 0.9;
  request_.accuracy = [](const Model&) -> absl::StatusOr<double> { return 0.5; };
  const SearchResult result = Search();
  EXPECT_THAT(result.forms, ElementsAre(kFloat, kFloat, kFloat));
  EXPECT_THAT(result.notes, ElementsAre(HasSubstr("no layer runs in integers")));
}

TEST_F(SearchTest, AnErrorOfTheAccuracyIsTheSearchs) {
  request_.accuracy = [](const Model&) -> absl::StatusOr<double> {
    return absl::InvalidArgumentError("labels");
  };
  EXPECT_EQ(SearchIntegers(request_).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(SearchTest, LayersNamedFloatStayFloat) {
  request_.fixed_float = {true, true, false};
  const SearchResult result = Search();
  EXPECT_THAT(result.forms, ElementsAre(kFloat, kFloat, kStatic));
  EXPECT_THAT(result.reasons, ElementsAre("named in keep_float", "named in keep_float", ""));
}

TEST_F(SearchTest, WhereIntegersAreNoFasterNothingIsChangedOrMeasured) {
  // The same layers, seen with a row an example: the runtime's time is then a node's, not a
  // product's.
  for (auto& [name, statistics] : seen_.values) statistics.elements_an_example = kWidth / 64;
  cost_.emplace(model_, units_, weights_, seen_);
  const SearchResult result = Search();
  EXPECT_THAT(result.forms, ElementsAre(kFloat, kFloat, kFloat));
  EXPECT_EQ(result.speedup, 1);
  EXPECT_EQ(built_, 0);
}

TEST_F(SearchTest, ProductsMayTakeRangesOfEachRun) {
  request_.allow_static = false;
  request_.allow_dynamic = true;
  request_.keep_in_bounds = false;
  const SearchResult result = Search();
  EXPECT_THAT(result.forms, ElementsAre(kDynamic, kDynamic, kDynamic));
}

TEST_F(SearchTest, CancellationEndsIt) {
  request_.cancelled = [] { return true; };
  EXPECT_EQ(SearchIntegers(request_).status().code(), absl::StatusCode::kCancelled);
}

TEST_F(SearchTest, TheChoiceIsTheSameForAnyNumberOfThreads) {
  const SearchResult two = Search();
  parallel_ = MakeSerial();
  request_.parallel = parallel_.get();
  const SearchResult one = Search();
  EXPECT_EQ(one.forms, two.forms);
  EXPECT_EQ(one.sqnr_db, two.sqnr_db);
  EXPECT_EQ(one.alone_db, two.alone_db);
}

}  // namespace
}  // namespace lathe::engine
