#include "worker/engine/evaluate/metrics/detection_outputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "common/limits.h"
#include "tests/unit/worker/engine/evaluate/metrics/metrics_test_util.h"

namespace lathe::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Output;

OutputBatch Batch(const std::vector<Output>& outputs) {
  OutputBatch batch;
  for (const Output& output : outputs) batch.outputs.push_back(output.array());
  return batch;
}

// Places of raw outputs [1, 4 + classes, places]: centre, size, and the score of each class.
Output Raw(const std::vector<std::vector<float>>& places, const std::string& name = "output0") {
  const auto count = static_cast<int64_t>(places.size());
  const auto numbers = static_cast<int64_t>(places[0].size());
  std::vector<float> values;
  for (int64_t k = 0; k < numbers; ++k) {
    for (const std::vector<float>& place : places) values.push_back(place[static_cast<size_t>(k)]);
  }
  return Output({1, numbers, count}, std::move(values), name);
}

// Scores and classes of what was found.
std::vector<std::pair<float, float>> Found(const DetectedBoxes& boxes) {
  std::vector<std::pair<float, float>> found;
  for (size_t i = 0; i < boxes.outputs().scores.array.values.size(); ++i) {
    found.emplace_back(boxes.outputs().scores.array.values[i],
                       boxes.outputs().classes.array.values[i]);
  }
  return found;
}

TEST(DetectedBoxes, RawOutputsAreDecodedAndSuppressed) {
  // The second place overlaps the first by 8 / 12, the third by nothing.
  const std::vector<Output> outputs = {
      Raw({{5, 5, 10, 10, 0.9f, 0.2f}, {7, 5, 10, 10, 0.8f, 0.0f}, {50, 50, 10, 20, 0.1f, 0.7f}})};
  DetectionOptions options;
  options.max_overlap = 0.6;
  DetectedBoxes boxes;
  ASSERT_TRUE(boxes.Read(Batch(outputs), options, 1).ok());
  EXPECT_THAT(Found(boxes), ElementsAre(std::pair(0.9f, 0.0f), std::pair(0.7f, 1.0f),
                                        std::pair(0.2f, 1.0f), std::pair(0.1f, 0.0f)));
  EXPECT_THAT(boxes.outputs().boxes.array.values, ::testing::SizeIs(16));
  EXPECT_THAT(std::vector<float>(boxes.outputs().boxes.array.values.begin(),
                                 boxes.outputs().boxes.array.values.begin() + 8),
              ElementsAre(0, 0, 10, 10, 45, 40, 55, 60));
  options.max_overlap = 0.7;
  DetectedBoxes more;
  ASSERT_TRUE(more.Read(Batch(outputs), options, 1).ok());
  EXPECT_EQ(Found(more).size(), 5u) << "an overlap of 2 / 3 is not above 0.7";
  options.min_score = 0.2;
  options.max_boxes = 3;
  DetectedBoxes fewer;
  ASSERT_TRUE(fewer.Read(Batch(outputs), options, 1).ok());
  EXPECT_EQ(Found(fewer).size(), 3u);
}

TEST(DetectedBoxes, ImagesWithFewerBoxesArePadded) {
  Output two = Raw({{5, 5, 10, 10, 0.9f}, {50, 5, 10, 10, 0.8f}});
  two.dims[0] = 2;
  two.values.insert(two.values.end(), {5, 50, 5, 5, 10, 10, 10, 10, 0.0f, 0.5f});
  DetectedBoxes boxes;
  ASSERT_TRUE(boxes.Read(Batch({two}), {}, 2).ok());
  EXPECT_EQ(boxes.outputs().boxes.array.dims, (Shape{2, 2, 4}));
  EXPECT_THAT(Found(boxes), ElementsAre(std::pair(0.9f, 0.0f), std::pair(0.8f, 0.0f),
                                        std::pair(0.5f, 0.0f), std::pair(0.0f, -1.0f)));
}

TEST(DetectedBoxes, ScoresThatAreNoNumbersAreNoBoxes) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  DetectedBoxes boxes;
  ASSERT_TRUE(boxes.Read(Batch({Raw({{5, 5, 10, 10, nan}, {5, 5, 10, 10, 0.5f}})}), {}, 1).ok());
  EXPECT_THAT(Found(boxes), ElementsAre(std::pair(0.5f, 0.0f)));
}

TEST(DetectedBoxes, FormatsAreTurnedIntoCorners) {
  const struct {
    BoxFormat format;
    std::vector<float> numbers;
  } cases[] = {{BoxFormat::kXyXy, {1, 2, 5, 10}},
               {BoxFormat::kAuto, {1, 2, 5, 10}},
               {BoxFormat::kYxYx, {2, 1, 10, 5}},
               {BoxFormat::kXyWh, {1, 2, 4, 8}},
               {BoxFormat::kCxCyWh, {3, 6, 4, 8}}};
  for (const auto& c : cases) {
    DetectionOptions options;
    options.box_format = c.format;
    std::vector<float> row = c.numbers;
    row.insert(row.end(), {0.5f, 3});
    const std::vector<Output> rows = {Output({1, 1, 6}, row, "rows")};
    DetectedBoxes from_rows;
    ASSERT_TRUE(from_rows.Read(Batch(rows), options, 1).ok());
    EXPECT_THAT(from_rows.outputs().boxes.array.values, ElementsAre(1, 2, 5, 10));
    EXPECT_THAT(Found(from_rows), ElementsAre(std::pair(0.5f, 3.0f)));
    const std::vector<Output> apart = {Output({1, 1, 4}, c.numbers, "a"),
                                       Output({1, 1}, {0.5f}, "b"), Output({1, 1}, {3}, "c")};
    DetectedBoxes from_three;
    ASSERT_TRUE(from_three.Read(Batch(apart), options, 1).ok());
    EXPECT_THAT(from_three.outputs().boxes.array.values, ElementsAre(1, 2, 5, 10));
  }
}

TEST(DetectedBoxes, OutputsAreFoundByNameThenByOrder) {
  const Output boxes({1, 1, 4}, {1, 2, 5, 10}, "detection_boxes");
  const Output classes({1, 1}, {3}, "detection_classes");
  const Output scores({1, 1}, {0.5f}, "detection_scores");
  const Output count({1}, {1}, "num_detections");
  DetectedBoxes by_name;
  ASSERT_TRUE(by_name.Read(Batch({boxes, classes, scores, count}), {}, 1).ok());
  EXPECT_EQ(by_name.outputs().scores.name, "detection_scores");
  EXPECT_EQ(by_name.outputs().classes.name, "detection_classes");
  DetectedBoxes named;
  DetectionOptions options;
  options.scores_output = "detection_classes";
  options.classes_output = "num_detections";
  ASSERT_TRUE(named.Read(Batch({boxes, classes, scores, count}), options, 1).ok());
  EXPECT_EQ(named.outputs().scores.name, "detection_classes");
  EXPECT_EQ(named.outputs().classes.name, "num_detections");
}

TEST(DetectedBoxes, AnOutputWithoutAnAxisOfExamplesServesOne) {
  const std::vector<Output> outputs = {Output({2, 4}, {1, 2, 5, 10, 0, 0, 1, 1}, "boxes"),
                                       Output({2}, {0, 1}, "labels"),
                                       Output({2}, {0.5f, 0.4f}, "scores")};
  DetectedBoxes boxes;
  ASSERT_TRUE(boxes.Read(Batch(outputs), {}, 1).ok());
  EXPECT_EQ(boxes.outputs().boxes.array.dims, (Shape{1, 2, 4}));
  EXPECT_EQ(boxes.outputs().scores.array.dims, (Shape{1, 2}));
  EXPECT_EQ(boxes.outputs().scores.name, "scores");
}

TEST(DetectedBoxes, WhatIsNoDetectorsOutputIsRefused) {
  DetectionOptions rows;
  rows.form = DetectionForm::kRows;
  DetectionOptions elsewhere;
  elsewhere.boxes_output = "z";
  const struct {
    std::vector<Output> outputs;
    DetectionOptions options;
    const char* words;
  } cases[] = {
      {{Output({1, 10}, std::vector<float>(10), "y")}, {}, "'y' is [1, 10]; expected"},
      {{Output({1, 4, 9}, std::vector<float>(36), "y")}, {}, "[n, 4 + classes, boxes]"},
      {{Output({1, 9, 4}, std::vector<float>(36), "y")}, {}, "detection wants the scores"},
      {{Output({1, 9, 7}, std::vector<float>(63), "y")}, rows, "expected [n, boxes, 6]"},
      {{Output({1, 9, 7}, std::vector<float>(63), "y")}, elsewhere, "no output 'z'; it has 'y'"},
      {{Output({1, limits::kMaxDetectionBoxes + 1, 6},
               std::vector<float>(static_cast<size_t>(limits::kMaxDetectionBoxes + 1) * 6), "y")},
       {},
       "at most 100000"},
  };
  for (const auto& c : cases) {
    DetectedBoxes boxes;
    const absl::Status status = boxes.Read(Batch(c.outputs), c.options, 1);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.words)) << status;
  }
}

}  // namespace
}  // namespace lathe::engine
