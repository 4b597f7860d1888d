#include "worker/engine/train/loss.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

namespace lathe::engine {
namespace {

using ::testing::HasSubstr;

Value Floats(Shape dims, const std::vector<float>& values) {
  return Value::Borrow(DType::kFloat, std::move(dims), values.data());
}

absl::StatusOr<Value> Make(Shape dims) {
  Value value;
  value.kind = Value::Kind::kTensor;
  value.dtype = DType::kFloat;
  value.dims = std::move(dims);
  static ActivationMemory memory(1 << 24);
  value.buffer = *memory.Allocate(value.size() * static_cast<int64_t>(sizeof(float)));
  value.data = value.buffer->data();
  return value;
}

std::vector<float> Numbers(size_t count, int seed) {
  std::vector<float> out(count);
  uint32_t state = 12345 + static_cast<uint32_t>(seed);
  for (float& v : out) {
    state = state * 1664525u + 1013904223u;
    v = static_cast<float>(state >> 8) / 8388608.0f - 1;
  }
  return out;
}

struct Case {
  const char* name;
  LossOptions options;
  Shape dims;
  std::vector<int64_t> classes;  // labels; empty: none, or floats for mse
  Shape label_dims;
  bool teacher = false;
  std::vector<float> weights = {};
};

class LossGradientTest : public ::testing::TestWithParam<Case> {};

// Central differences of float32 scores in double precision sums: h = 1e-2 leaves an error of the
// order h^2 = 1e-4 of a third derivative below one, and rounding of 1e-7 / h.
TEST_P(LossGradientTest, AgreesWithCentralDifferences) {
  const Case& c = GetParam();
  int64_t count = 1;
  for (const int64_t extent : c.dims) count *= extent;
  std::vector<float> scores = Numbers(static_cast<size_t>(count), 1);
  const std::vector<float> teacher_scores = Numbers(static_cast<size_t>(count), 2);
  const std::vector<float> targets = Numbers(static_cast<size_t>(count), 3);
  const Tensor labels = c.classes.empty() ? Tensor::FromFloats("labels", c.dims, targets)
                                          : Tensor::FromInt64s("labels", c.label_dims, c.classes);
  std::vector<Value> teacher;
  if (c.teacher) teacher.push_back(Floats(c.dims, teacher_scores));
  Targets given;
  given.rows = given.size = c.label_dims.empty() ? c.dims[0] : c.label_dims[0];
  given.weights = c.weights;
  given.teacher = teacher;
  if (!c.classes.empty() || c.options.kind == LossKind::kMse) given.labels = &labels;
  const LossCounts total = CountTargets(given);
  std::vector<Value> grads;
  const auto loss_at = [&] {
    const std::vector<Value> outputs = {Floats(c.dims, scores)};
    const auto result = ComputeLoss(c.options, given, total, outputs, 0, Make, &grads);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->loss : NAN;
  };
  const double at = loss_at();
  EXPECT_TRUE(std::isfinite(at));
  const std::vector<float> gradient(grads[0].As<float>().begin(), grads[0].As<float>().end());
  constexpr float kStep = 1e-2f;
  for (size_t i = 0; i < scores.size(); ++i) {
    const float kept = scores[i];
    scores[i] = kept + kStep;
    const double up = loss_at();
    scores[i] = kept - kStep;
    const double down = loss_at();
    scores[i] = kept;
    const double numeric = (up - down) / (2 * static_cast<double>(kStep));
    EXPECT_NEAR(gradient[i], numeric, 2e-4 * std::max(1.0, std::abs(numeric))) << "element " << i;
  }
}

LossOptions Of(LossKind kind, double smoothing = 0, double temperature = 3, double alpha = 0.7) {
  LossOptions options;
  options.kind = kind;
  options.label_smoothing = smoothing;
  options.temperature = temperature;
  options.alpha = alpha;
  options.dkd_beta = 2;
  return options;
}

INSTANTIATE_TEST_SUITE_P(
    All, LossGradientTest,
    ::testing::Values(
        Case{"cross_entropy", Of(LossKind::kCrossEntropy), {3, 4}, {0, 3, 1}, {3}},
        Case{"smoothed", Of(LossKind::kCrossEntropy, 0.1), {3, 4}, {0, 3, 1}, {3}},
        Case{"weighted", Of(LossKind::kCrossEntropy), {3, 4}, {0, 3, 1}, {3}, false, {1, 0, 2.5}},
        Case{"unlabelled", Of(LossKind::kCrossEntropy), {3, 4}, {0, -1, 1}, {3}},
        Case{"planes", Of(LossKind::kCrossEntropy), {2, 3, 1, 1}, {2, 0}, {2}},
        Case{"tokens", Of(LossKind::kCrossEntropy), {2, 3, 4}, {0, 1, 2, 3, -100, 1}, {2, 3}},
        Case{"pixels",
             Of(LossKind::kCrossEntropy),
             {2, 3, 2, 2},
             {0, 1, 2, 0, 1, 2, 0, 1},
             {2, 2, 2}},
        Case{"binary", Of(LossKind::kCrossEntropy, 0.1), {3, 1}, {0, 1, 1}, {3}},
        Case{"mse", Of(LossKind::kMse), {3, 4}, {}, {}},
        Case{"kl", Of(LossKind::kKl), {3, 4}, {0, -1, 1}, {3}, true},
        Case{"kl_without_labels", Of(LossKind::kKl), {3, 4}, {}, {}, true},
        Case{"kl_binary", Of(LossKind::kKl), {3, 1}, {0, 1, 1}, {3}, true},
        Case{"dkd", Of(LossKind::kDkd), {3, 4}, {0, 2, 1}, {3}, true},
        Case{"feature", Of(LossKind::kFeature), {3, 4}, {}, {}, true},
        Case{"ctc", Of(LossKind::kCtc), {2, 5, 4}, {1, 2, 2, 3, -1, -1}, {2, 3}},
        Case{"ctc_frames_first", Of(LossKind::kCtc), {6, 2, 4}, {1, 2, 2, 3, 1, -1}, {2, 3}}),
    [](const auto& given) { return std::string(given.param.name); });

TEST(LossTest, CrossEntropyOfEvenScoresIsTheLogarithmOfTheClasses) {
  const std::vector<float> scores(8, 0.5f);
  const std::vector<Value> outputs = {Floats({2, 4}, scores)};
  const Tensor labels = Tensor::FromInt64s("labels", {2}, std::vector<int64_t>{1, 2});
  Targets targets;
  targets.rows = targets.size = 2;
  targets.labels = &labels;
  std::vector<Value> grads;
  const auto result = ComputeLoss({}, targets, CountTargets(targets), outputs, 0, Make, &grads);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_NEAR(result->loss, std::log(4.0), 1e-12);
  EXPECT_EQ(result->labelled, 2);
}

TEST(LossTest, AMeanOverExamplesDoesNotDependOnHowTheyAreCut) {
  const std::vector<float> scores = Numbers(12, 4);
  const Tensor labels = Tensor::FromInt64s("labels", {3}, std::vector<int64_t>{1, 2, -1});
  Targets all;
  all.rows = all.size = 3;
  all.labels = &labels;
  const LossCounts total = CountTargets(all);
  EXPECT_EQ(total.labelled, 2);
  std::vector<Value> grads;
  const std::vector<Value> outputs = {Floats({3, 4}, scores)};
  const double whole = ComputeLoss({}, all, total, outputs, 0, Make, &grads)->loss;
  double parts = 0;
  for (int64_t n = 0; n < 3; ++n) {
    const std::vector<float> row(scores.begin() + n * 4, scores.begin() + (n + 1) * 4);
    const std::vector<Value> one = {Floats({1, 4}, row)};
    const int64_t label = n == 0 ? 1 : n == 1 ? 2 : -1;
    const Tensor single = Tensor::FromInt64s("labels", {1}, std::vector<int64_t>{label});
    Targets part;
    part.rows = part.size = 1;
    part.labels = &single;
    parts += ComputeLoss({}, part, total, one, 0, Make, &grads)->loss;
  }
  EXPECT_NEAR(whole, parts, 1e-12);
}

TEST(LossTest, SaysWhatDoesNotFit) {
  const std::vector<float> scores(12, 0.0f);
  const std::vector<Value> outputs = {Floats({3, 4}, scores)};
  std::vector<Value> grads;
  const auto refusal = [&](const LossOptions& options, const Tensor* labels) {
    Targets targets;
    targets.rows = targets.size = 3;
    targets.labels = labels;
    const auto result = ComputeLoss(options, targets, {3, 3}, outputs, 0, Make, &grads);
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(result.status().message());
  };
  const Tensor high = Tensor::FromInt64s("labels", {3}, std::vector<int64_t>{0, 4, 1});
  EXPECT_THAT(refusal({}, &high), HasSubstr("label 4 is not among 4 classes"));
  const Tensor many = Tensor::FromInt64s("labels", {3, 2}, std::vector<int64_t>(6, 0));
  EXPECT_THAT(refusal({}, &many), HasSubstr("do not fit scores of shape [3, 4]"));
  EXPECT_THAT(refusal({}, nullptr), HasSubstr("needs labels"));
  EXPECT_THAT(refusal(Of(LossKind::kMse), &high), HasSubstr("float targets"));
  EXPECT_THAT(refusal(Of(LossKind::kKl), &high), HasSubstr("teacher"));
  EXPECT_THAT(refusal(Of(LossKind::kCtc), &high), HasSubstr("ctc"));
}

}  // namespace
}  // namespace lathe::engine
