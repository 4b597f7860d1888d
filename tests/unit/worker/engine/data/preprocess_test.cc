#include "worker/engine/data/preprocess.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/recipe/text.h"

namespace lathe::engine {
namespace {

absl::StatusOr<Transform> MakeTransform(const Preprocess& preprocess, const Shape& row, bool image,
                                        ImageLayout wanted) {
  absl::StatusOr<PreprocessShape> shape = ShapeAfter(preprocess, row, image, wanted);
  if (!shape.ok()) return shape.status();
  return Transform(preprocess, *std::move(shape));
}

using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::HasSubstr;
using ::testing::Pointwise;

Preprocess Of(const std::string& section) {
  return Preprocess::FromRecipe(*ParseRecipe("steps: [fp16]\npreprocess: " + section));
}

std::vector<float> Applied(const Transform& transform, const std::vector<uint8_t>& in) {
  int64_t count = 1;
  for (const int64_t d : transform.out_shape()) count *= d;
  std::vector<float> out(count);
  EXPECT_TRUE(transform
                  .Apply(DType::kUint8, reinterpret_cast<const char*>(in.data()), DType::kFloat,
                         reinterpret_cast<char*>(out.data()))
                  .ok());
  return out;
}

TEST(Preprocess, NothingGivenIsNothingToDo) {
  EXPECT_TRUE(Of("{}").empty());
  EXPECT_TRUE(Of("{scale: 1}").empty());
  EXPECT_FALSE(Of("{layout: NHWC}").empty());
}

TEST(Preprocess, ScalesAndNormalizesEachChannelAndTurnsTheLayout) {
  // Two pixels of two channels, channels last.
  const auto transform = MakeTransform(Of("{scale: 0.5, mean: [1, 2], std: [2, 4], layout: NHWC}"),
                                       {1, 2, 2}, true, ImageLayout::kNchw);
  ASSERT_TRUE(transform.ok()) << transform.status();
  EXPECT_THAT(transform->out_shape(), ElementsAre(2, 1, 2));
  // (x / 2 - mean) / std of channel 0: 10, 14; of channel 1: 20, 28.
  EXPECT_THAT(Applied(*transform, {10, 20, 14, 28}), ElementsAre(2, 3, 2, 3));
}

TEST(Preprocess, KeepsTheLayoutThatTheModelWants) {
  const auto transform = MakeTransform(Of("{layout: NCHW}"), {2, 1, 2}, true, ImageLayout::kNhwc);
  ASSERT_TRUE(transform.ok());
  EXPECT_THAT(transform->out_shape(), ElementsAre(1, 2, 2));
  EXPECT_THAT(Applied(*transform, {1, 2, 3, 4}), ElementsAre(1, 3, 2, 4));
}

// Two pixels 0 and 8 to four: their centres lie at -0.25 (clamped), 0.25, 0.75 and 1.25 (clamped).
TEST(Preprocess, ResizesBetweenPixelCentres) {
  const auto wider = MakeTransform(Of("{resize: [1, 4]}"), {1, 1, 2}, true, ImageLayout::kNchw);
  ASSERT_TRUE(wider.ok());
  EXPECT_THAT(Applied(*wider, {0, 8}), Pointwise(FloatEq(), {0, 2, 6, 8}));
  const auto smaller = MakeTransform(Of("{resize: [1, 1]}"), {1, 2, 2}, true, ImageLayout::kNchw);
  ASSERT_TRUE(smaller.ok());
  EXPECT_THAT(Applied(*smaller, {0, 4, 8, 12}), ElementsAre(6));
}

TEST(Preprocess, VectorsHaveTheirChannelsLast) {
  const auto transform = MakeTransform(Of("{mean: [1, 2]}"), {2}, false, ImageLayout::kNchw);
  ASSERT_TRUE(transform.ok());
  EXPECT_THAT(Applied(*transform, {5, 5}), ElementsAre(4, 3));
}

TEST(Preprocess, OneNumberAChannelOrOneForAll) {
  EXPECT_THAT(std::string(MakeTransform(Of("{mean: [1, 2]}"), {3, 4, 4}, true, ImageLayout::kNchw)
                              .status()
                              .message()),
              HasSubstr("mean holds 2 numbers, but the data has 3 channels"));
  EXPECT_FALSE(MakeTransform(Of("{std: [1, 2]}"), {3, 4, 4}, true, ImageLayout::kNchw).ok());
}

TEST(Preprocess, NaNIsRefused) {
  const auto transform = MakeTransform(Of("{scale: 2}"), {1}, false, ImageLayout::kNchw);
  const float nan = std::nanf("");
  float out;
  EXPECT_FALSE(transform
                   ->Apply(DType::kFloat, reinterpret_cast<const char*>(&nan), DType::kFloat,
                           reinterpret_cast<char*>(&out))
                   .ok());
}

}  // namespace
}  // namespace lathe::engine
