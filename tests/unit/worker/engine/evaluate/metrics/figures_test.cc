// Regression, sequences, language models, fidelity and embeddings, by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/limits.h"
#include "tests/unit/worker/engine/evaluate/metrics/metrics_test_util.h"
#include "worker/engine/evaluate/metrics/embedding.h"
#include "worker/engine/evaluate/metrics/fidelity.h"
#include "worker/engine/evaluate/metrics/language_modeling.h"
#include "worker/engine/evaluate/metrics/regression.h"
#include "worker/engine/evaluate/metrics/sequence.h"

namespace lathe::engine {
namespace {

using testing::Ids;
using testing::Output;
using testing::Values;

TEST(Regression, ByHandWholeAndMerged) {
  // Errors 1, 0, -2; targets 1, 2, 6 with mean 3 and squares 4 + 1 + 9.
  Regression whole, a, b;
  ASSERT_TRUE(
      whole.Add(Output({3}, {2, 2, 4}).array(), Values({3, 1}, {1, 2, 6}).batch(), nullptr).ok());
  ASSERT_TRUE(a.Add(Output({2}, {2, 2}).array(), Values({2}, {1, 2}).batch(), nullptr).ok());
  ASSERT_TRUE(b.Add(Output({1}, {4}).array(), Ids({1}, {6}).batch(), nullptr).ok());
  ASSERT_TRUE(a.Merge(b).ok());
  for (const Regression* metric : {&whole, &a}) {
    const nlohmann::json got = metric->Result();
    EXPECT_DOUBLE_EQ(got["mae"], 1);
    EXPECT_DOUBLE_EQ(got["rmse"], std::sqrt(5.0 / 3));
    EXPECT_DOUBLE_EQ(got["r2"], 1 - 5.0 / 14);
  }
  EXPECT_TRUE(b.Result()["r2"].is_null()) << "one example has no variance";
  EXPECT_TRUE(Regression().Result()["mae"].is_null());
}

TEST(Sequence, EditDistanceByHand) {
  const auto distance = [](const std::string& a, const std::string& b) {
    return EditDistance(std::vector<int64_t>(a.begin(), a.end()),
                        std::vector<int64_t>(b.begin(), b.end()));
  };
  EXPECT_EQ(distance("kitten", "sitting"), 3);
  EXPECT_EQ(distance("", "abc"), 3);
  EXPECT_EQ(distance("abc", ""), 3);
  EXPECT_EQ(distance("flaw", "lawn"), 2);
  EXPECT_EQ(distance("same", "same"), 0);
}

TEST(Sequence, CtcMakesNeighboursOneAndKeepsThoseABlankParts) {
  // Steps 1 1 0 1 2 2 with blank 0 say 1 1 2.
  Output scores({1, 6, 3}, std::vector<float>(18, 0));
  const int64_t steps[] = {1, 1, 0, 1, 2, 2};
  for (size_t t = 0; t < 6; ++t) scores.values[t * 3 + static_cast<size_t>(steps[t])] = 1;
  Sequence right({});
  ASSERT_TRUE(right.Add(scores.array(), Ids({1, 4}, {1, 1, 2, -1}).batch(), nullptr).ok());
  EXPECT_EQ(right.Result()["sequence_accuracy"], 1);
  Sequence wrong({});
  ASSERT_TRUE(wrong.Add(scores.array(), Ids({1, 2}, {1, 2}).batch(), nullptr).ok());
  EXPECT_EQ(wrong.Result()["character_error_rate"], 0.5);
  wrong.Merge(right);
  EXPECT_EQ(wrong.Result()["character_error_rate"], 0.2);
  EXPECT_EQ(wrong.Result()["sequence_accuracy"], 0.5);
}

TEST(LanguageModeling, LogitsForetellTheNextLabel) {
  // Sure of token 1 after the first position, without an opinion after the second.
  const Output logits({1, 3, 2}, {-50, 50, 0, 0, 99, -99});
  LanguageModeling metric(LanguageOptions{});
  ASSERT_TRUE(metric.Add(logits.array(), Ids({1, 3}, {0, 1, 1}).batch(), nullptr).ok());
  const nlohmann::json got = metric.Result(metric.kind());
  EXPECT_EQ(got["tokens"], 2);
  EXPECT_NEAR(got["perplexity"], std::sqrt(2.0), 1e-12);
  LanguageModeling unshifted({.shift = 0, .ignore_label = {}});
  ASSERT_TRUE(unshifted.Add(logits.array(), Ids({1, 3}, {1, -100, 0}).batch(), nullptr).ok());
  EXPECT_NEAR(unshifted.Result(unshifted.kind())["perplexity"], 1, 1e-12);
}

TEST(LanguageModeling, ANamedLabelIsNoTarget) {
  // Token 7 is outside of the vocabulary, and would be refused.
  const Output logits({1, 3, 2}, {-50, 50, 0, 0, 99, -99});
  LanguageModeling metric({.shift = 0, .ignore_label = 7});
  ASSERT_TRUE(metric.Add(logits.array(), Ids({1, 3}, {1, 7, 0}).batch(), nullptr).ok());
  EXPECT_EQ(metric.Result(metric.kind())["tokens"], 2);
  EXPECT_NEAR(metric.Result(metric.kind())["perplexity"], 1, 1e-12);
}

TEST(LanguageModeling, APerplexityBeyondNumbersIsNull) {
  LanguageModeling metric({.shift = 0, .ignore_label = {}});
  ASSERT_TRUE(
      metric.Add(Output({1, 1, 2}, {3e38f, 0}).array(), Ids({1, 1}, {1}).batch(), nullptr).ok());
  const nlohmann::json got = metric.Result(metric.kind());
  EXPECT_TRUE(got["perplexity"].is_null());
  EXPECT_GT(got["cross_entropy"].get<double>(), 1e38);
}

TEST(Fidelity, ByHand) {
  Fidelity metric;
  const Output before({2, 2}, {3, 4, 0, 10});
  const Output after({2, 2}, {3, 3, 0, 10});
  ASSERT_TRUE(metric.Add(before.array(), after.array()).ok());
  const nlohmann::json got = metric.Result();
  EXPECT_DOUBLE_EQ(got["sqnr_db"], 10 * std::log10(125.0));
  EXPECT_EQ(got["max_abs_error"], 1);
  EXPECT_DOUBLE_EQ(got["cosine"], (21 / (5 * std::sqrt(18.0)) + 1) / 2);
  EXPECT_EQ(got["top1_agreement"], 0.5) << "of equal ones the first";
  ASSERT_EQ(got["worst"].size(), 1u) << "an example without error is not among the worst";
  EXPECT_EQ(got["worst"][0]["index"], 0);
  EXPECT_DOUBLE_EQ(got["worst"][0]["relative_error"], 0.2);
}

TEST(Fidelity, OfAModelWithItself) {
  Fidelity metric;
  const Output same({2, 2}, {3, 4, -INFINITY, NAN});
  ASSERT_TRUE(metric.Add(same.array(), same.array()).ok());
  const nlohmann::json got = metric.Result();
  EXPECT_TRUE(got["sqnr_db"].is_null());
  EXPECT_EQ(got["cosine"], 1);
  EXPECT_EQ(got["kl"], 0);
  EXPECT_EQ(got["non_finite_before"], 2);
  EXPECT_EQ(got["worst"].size(), 0u);
}

TEST(Fidelity, WorstExamplesAreThoseOfTheWholeWhenPartsAreMerged) {
  Fidelity whole, a, b;
  std::vector<float> x, y;
  for (int i = 0; i < 40; ++i) {
    x.push_back(1);
    y.push_back(1 + static_cast<float>((i * 7) % 13) / 16);
  }
  const auto part = [](const std::vector<float>& v, int from, int to) {
    return Output({to - from}, std::vector<float>(v.begin() + from, v.begin() + to));
  };
  ASSERT_TRUE(whole.Add(part(x, 0, 40).array(), part(y, 0, 40).array()).ok());
  ASSERT_TRUE(a.Add(part(x, 0, 15).array(), part(y, 0, 15).array()).ok());
  ASSERT_TRUE(b.Add(part(x, 15, 40).array(), part(y, 15, 40).array()).ok());
  a.Merge(b);
  EXPECT_EQ(a.Result()["worst"], whole.Result()["worst"]);
  EXPECT_EQ(a.Result()["worst"].size(), 10u);
  EXPECT_EQ(a.Result()["max_abs_error"], whole.Result()["max_abs_error"]);
}

TEST(Fidelity, RefusesOtherShapes) {
  Fidelity metric;
  EXPECT_EQ(metric.Add(Output({2}, {1, 2}).array(), Output({2, 1}, {1, 2}).array()).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Embedding, NearestIsByDirection) {
  // 0 and 2 point the same way, 1 is closer to them than to 3; the row of zeros is at 0 of all.
  const std::vector<float> rows = {1, 0, 1, 1, 100, 1, -1, 0.5f, 0, 0};
  EXPECT_EQ(NearestNeighbours(rows, 5, 2), (std::vector<int64_t>{2, 2, 0, 4, 0}));
  EXPECT_EQ(NearestNeighbours({1, 2}, 1, 2), std::vector<int64_t>{-1});
}

TEST(Embedding, OnlyTheFirstExamplesAreCompared) {
  const int64_t count = limits::kMaxNeighbourExamples + 5;
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<float>(i % 7) - 3);
  const Output rows({count, 1}, values);
  EmbeddingComparison metric;
  ASSERT_TRUE(metric.Add(rows.array(), rows.array()).ok());
  const nlohmann::json got = metric.Result();
  EXPECT_EQ(got["examples"], count);
  EXPECT_EQ(got["neighbour_examples"], limits::kMaxNeighbourExamples);
  EXPECT_EQ(got["neighbour_agreement"], 1);
  EXPECT_EQ(got["cosine"], 1);
  EXPECT_FALSE(metric.Add(Output({1, 2}, {1, 2}).array(), Output({1, 2}, {1, 2}).array()).ok());
}

}  // namespace
}  // namespace lathe::engine
