#include "worker/engine/evaluate/metrics/classification.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/limits.h"
#include "tests/unit/worker/engine/evaluate/metrics/metrics_test_util.h"
#include "worker/engine/evaluate/metrics/wilson.h"

namespace lathe::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Ids;
using ::testing::IsEmpty;
using testing::Labels;
using testing::Output;

nlohmann::json Measure(const Output& scores, const Labels& labels,
                       const ClassificationOptions& options = {}) {
  Classification metric(options);
  const absl::Status status = metric.Add(scores.array(), labels.batch(), nullptr);
  EXPECT_TRUE(status.ok()) << status;
  return metric.Result(metric.kind());
}

TEST(Classification, FiguresOfASmallCaseByHand) {
  // Predicted 0, 1, 1, 0 (a tie goes to the lower index) for labels 0, 1, 0, 0.
  const Output scores({4, 3}, {3, 1, 0, 0, 2, 1, 0, 2, 1, 1, 1, 0});
  const nlohmann::json got = Measure(scores, Ids({4}, {0, 1, 0, 0}));
  EXPECT_EQ(got["accuracy"], 0.75);
  EXPECT_EQ(got["confusion_matrix"], nlohmann::json({{2, 1, 0}, {0, 1, 0}, {0, 0, 0}}));
  // Class 2 occurs nowhere, and takes no part in the means.
  EXPECT_DOUBLE_EQ(got["precision_macro"], (1 + 0.5) / 2);
  EXPECT_DOUBLE_EQ(got["recall_macro"], (2.0 / 3 + 1) / 2);
  EXPECT_DOUBLE_EQ(got["f1_weighted"], (3 * 0.8 + 1 * (2.0 / 3)) / 4);
  EXPECT_EQ(got["scores"], "logits");
  EXPECT_EQ(got["top_k"], nlohmann::json::object()) << "5 of 3 classes says nothing";
}

TEST(Classification, CalibrationByHand) {
  // Confidences 0.9 and 0.9, one of the two right: |0.5 - 0.9|; and one sure and right: 0.
  const Output scores({3, 2}, {0.9f, 0.1f, 0.9f, 0.1f, 0, 1});
  const nlohmann::json got = Measure(scores, Ids({3}, {0, 1, 1}));
  EXPECT_EQ(got["scores"], "probabilities");
  EXPECT_NEAR(got["ece"], 2.0 / 3 * 0.4, 1e-7) << "0.9 is rounded to float32";
}

TEST(Classification, OneRowThatIsNoDistributionMakesThemLogits) {
  const Output scores({2, 2}, {0.5f, 0.5f, 0.6f, 0.6f});
  EXPECT_EQ(Measure(scores, Ids({2}, {0, 1}))["scores"], "logits");
  ClassificationOptions told;
  told.scores = ScoreKind::kProbabilities;
  EXPECT_NEAR(Measure(scores, Ids({2}, {0, 1}), told)["log_loss"], std::log(2.0), 1e-12);
}

TEST(Classification, ASingleScoreIsReadBothWaysUntilTheEnd) {
  // As probabilities 0.4 is "no"; as logits it is "yes". The last batch decides.
  Classification metric({});
  ASSERT_TRUE(metric.Add(Output({1, 1}, {0.4f}).array(), Ids({1}, {1}).batch(), nullptr).ok());
  EXPECT_EQ(metric.Result(metric.kind())["accuracy"], 0);
  ASSERT_TRUE(metric.Add(Output({1}, {3.0f}).array(), Ids({1}, {1}).batch(), nullptr).ok());
  EXPECT_EQ(metric.kind(), ScoreKind::kLogits);
  EXPECT_EQ(metric.Result(metric.kind())["accuracy"], 1);
}

TEST(Classification, WilsonIntervalOfKnownShares) {
  // 8 of 10, as scipy.stats.binomtest(8, 10).proportion_ci(method="wilson") gives.
  const auto interval = WilsonInterval(0.8, 10);
  EXPECT_NEAR(interval[0], 0.4901625, 1e-7);
  EXPECT_NEAR(interval[1], 0.9433178, 1e-7);
  EXPECT_EQ(WilsonInterval(0, 10)[0], 0);
  EXPECT_DOUBLE_EQ(WilsonInterval(1, 10)[1], 1);
  EXPECT_GT(WilsonInterval(0, 10)[1], 0.2);
}

TEST(Classification, UnequalWeightsWidenTheInterval) {
  const Output scores({4, 2}, {1, 0, 1, 0, 1, 0, 0, 1});
  const Labels even = Ids({4}, {0, 0, 0, 0}, {2, 2, 2, 2});
  const Labels uneven = Ids({4}, {0, 0, 0, 0}, {9, 1, 1, 3});
  EXPECT_EQ(Measure(scores, even)["accuracy_interval"],
            Measure(scores, Ids({4}, {0, 0, 0, 0}))["accuracy_interval"]);
  const auto width = [](const nlohmann::json& got) {
    return got["accuracy_interval"][1].get<double>() - got["accuracy_interval"][0].get<double>();
  };
  EXPECT_GT(width(Measure(scores, uneven)), width(Measure(scores, even)));
}

TEST(Classification, MergedPartsAreTheWhole) {
  const Output all({4, 3}, {3, 1, 0, 0, 2, 1, NAN, 2, 1, 1, 1, 0});
  const Output first({1, 3}, {3, 1, 0});
  const Output rest({3, 3}, {0, 2, 1, NAN, 2, 1, 1, 1, 0});
  Classification whole({}), a({}), b({}), empty({});
  ASSERT_TRUE(whole.Add(all.array(), Ids({4}, {0, 1, 0, 2}).batch(), nullptr).ok());
  ASSERT_TRUE(a.Add(first.array(), Ids({1}, {0}).batch(), nullptr).ok());
  ASSERT_TRUE(b.Add(rest.array(), Ids({3}, {1, 0, 2}).batch(), nullptr).ok());
  ASSERT_TRUE(a.Merge(b).ok());
  ASSERT_TRUE(a.Merge(Classification({})).ok());
  ASSERT_TRUE(empty.Merge(a).ok());
  // The sums of these are exact, in whatever order, but for log_loss and ece.
  nlohmann::json got = empty.Result(empty.kind());
  nlohmann::json want = whole.Result(whole.kind());
  for (const char* key : {"log_loss", "ece"}) {
    EXPECT_NEAR(got[key], want[key], 1e-15);
    got.erase(key);
    want.erase(key);
  }
  EXPECT_EQ(got, want);
  Classification other({});
  ASSERT_TRUE(other.Add(Output({1, 2}, {1, 0}).array(), Ids({1}, {0}).batch(), nullptr).ok());
  EXPECT_FALSE(a.Merge(other).ok());
}

TEST(Classification, TheReportStaysSmall) {
  for (const int64_t classes : {limits::kMaxConfusionClasses, limits::kMaxConfusionClasses + 1,
                                limits::kMaxListedClasses + 1}) {
    const Output scores({1, classes}, std::vector<float>(static_cast<size_t>(classes), 0));
    const nlohmann::json got = Measure(scores, Ids({1}, {0}));
    EXPECT_EQ(got.contains("confusion_matrix"), classes <= limits::kMaxConfusionClasses);
    EXPECT_EQ(got.contains("per_class"), classes <= limits::kMaxListedClasses);
    EXPECT_EQ(got["accuracy"], 1);
  }
}

TEST(Classification, WarnsOfOneClassAndOfNothingMeasured) {
  Classification one({});
  ASSERT_TRUE(
      one.Add(Output({2, 3}, {1, 0, 0, 1, 0, 0}).array(), Ids({2}, {1, 1}).batch(), nullptr).ok());
  EXPECT_THAT(one.Warnings(), ElementsAre(HasSubstr("all 2 labels are class 1 of 3")));
  Classification weightless({});
  ASSERT_TRUE(
      weightless.Add(Output({1, 2}, {1, 0}).array(), Ids({1}, {1}, {0}).batch(), nullptr).ok());
  EXPECT_THAT(weightless.Warnings(), ElementsAre(HasSubstr("every weight is 0")));
  EXPECT_TRUE(weightless.Result(ScoreKind::kLogits)["accuracy"].is_null());
  Classification fine({});
  ASSERT_TRUE(
      fine.Add(Output({2, 2}, {1, 0, 1, 0}).array(), Ids({2}, {1, 0}).batch(), nullptr).ok());
  EXPECT_THAT(fine.Warnings(), IsEmpty());
}

TEST(Classification, RefusesAndThenAddsNothing) {
  const Labels labels = Ids({2}, {1, 0});
  Classification metric({});
  ASSERT_TRUE(metric.Add(Output({2, 2}, {1, 0, 1, 0}).array(), labels.batch(), nullptr).ok());
  const nlohmann::json before = metric.Result(metric.kind());
  const std::vector<std::pair<Output, Labels>> bad = {
      {Output({2, 3}, {1, 0, 0, 1, 0, 0}), labels},         // another number of classes
      {Output({2, 2}, {1, 0, 1}), labels},                  // values that do not fill the shape
      {Output({}, {1}), labels},                            // no examples
      {Output({2, 0}, {}), labels},                         // no classes
      {Output({2, 2}, {1, 0, 1, 0}), Ids({2}, {1, 2})},     // out of range
      {Output({2, 2}, {1, 0, 1, 0}), Ids({3}, {1, 0, 1})},  // one too many
      {Output({2, 2}, {1, 0, 1, 0}), Labels{}},             // none
      {Output({2, 2}, {1, 0, 1, 0}), Ids({2}, {1, 0}, {1, NAN})},
      {Output({int64_t{1} << 62, 4}, {}), labels},       // a size that overflows
      {Output({int64_t{1} << 40, 2, 0}, {}), Labels{}},  // many examples of nothing
  };
  for (const auto& [scores, given] : bad) {
    EXPECT_EQ(metric.Add(scores.array(), given.batch(), nullptr).code(),
              absl::StatusCode::kInvalidArgument)
        << DimsText(scores.dims);
  }
  EXPECT_EQ(metric.Result(metric.kind()), before);
}

}  // namespace
}  // namespace lathe::engine
