#include "worker/engine/evaluate/metrics/detection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/worker/engine/evaluate/metrics/metrics_test_util.h"

namespace lathe::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Labels;
using testing::Output;

struct Scene {
  Output boxes;
  Output scores;
  Output classes;
  Labels truth;

  absl::Status AddTo(Detection* metric) const {
    return metric->Add({boxes.array(), scores.array(), classes.array()}, truth.batch());
  }
};

nlohmann::json Measure(const Scene& scene) {
  Detection metric;
  const absl::Status status = scene.AddTo(&metric);
  EXPECT_TRUE(status.ok()) << status;
  return metric.Result();
}

// One image; true boxes [0, 0, 10, 10] and [20, 0, 30, 10] of class 0.
Labels TwoBoxes() {
  return {{1, 3}, {0, 0, -1}, {1, 3, 4}, {0, 0, 10, 10, 20, 0, 30, 10, NAN, 0, 0, 0}, {}};
}

TEST(Detection, OneBoxInThreeIsWrong) {
  // By score: right, wrong, right. Precision 1, 1/2, 2/3; made non-increasing 1, 2/3, 2/3. Recalls
  // to 0.5 (51 of 101) read 1, the others (50) 2/3.
  const Scene scene{Output({1, 3, 4}, {0, 0, 10, 10, 50, 50, 60, 60, 20, 0, 30, 10}, "boxes"),
                    Output({1, 3}, {0.9f, 0.8f, 0.7f}, "scores"),
                    Output({1, 3}, {0, 0, 0}, "classes"), TwoBoxes()};
  const double want = (51 + 50 * 2.0 / 3) / 101;
  const nlohmann::json got = Measure(scene);
  EXPECT_NEAR(got["map_50"], want, 1e-14);
  EXPECT_NEAR(got["map_50_95"], want, 1e-14);
  EXPECT_EQ(got["boxes"], 3);
  EXPECT_EQ(got["true_boxes"], 2);
}

TEST(Detection, OverlapDecidesAtWhichThresholdsABoxCounts) {
  // 8 of 10 columns: overlap 0.8, found at 0.5 .. 0.8 (7 of 10); the other box is never found.
  // Recall 0.5 at precision 1: 51 of 101.
  const Scene scene{Output({1, 1, 4}, {0, 0, 8, 10}, "boxes"), Output({1, 1}, {0.9f}, "scores"),
                    Output({1, 1}, {0}, "classes"), TwoBoxes()};
  const nlohmann::json got = Measure(scene);
  EXPECT_NEAR(got["map_50"], 51.0 / 101, 1e-14);
  EXPECT_NEAR(got["map_50_95"], 0.7 * 51 / 101, 1e-14);
}

TEST(Detection, ATrueBoxIsFoundOnce) {
  // The second box on the same place is wrong: precision 1, 1/2 at recall 1/2.
  const Scene scene{Output({1, 2, 4}, {0, 0, 10, 10, 0, 0, 10, 10}, "boxes"),
                    Output({1, 2}, {0.8f, 0.9f}, "scores"), Output({1, 2}, {0, 0}, "classes"),
                    TwoBoxes()};
  EXPECT_NEAR(Measure(scene)["map_50"], 51.0 / 101, 1e-14);
}

TEST(Detection, PaddingAndOtherClassesDoNotCount) {
  const Scene scene{
      Output({1, 4, 4}, {0, 0, 10, 10, 20, 0, 30, 10, 1, 1, 2, 2, 1, 1, 2, 2}, "boxes"),
      Output({1, 4}, {0.5f, 0.5f, 0.9f, 0.9f}, "scores"), Output({1, 4}, {0, 0, -1, 7}, "classes"),
      TwoBoxes()};
  EXPECT_NEAR(Measure(scene)["map_50"], 1, 1e-14);
  EXPECT_EQ(Measure(scene)["per_class"].size(), 1u) << "class 7 has no true box";
}

TEST(Detection, BoxesThatAreNoNumbersAreCounted) {
  Detection metric;
  const Scene scene{Output({1, 3, 4}, {0, 0, NAN, 10, 0, 0, 1, 1, 9, 9, 1, 1}, "boxes"),
                    Output({1, 3}, {0.9f, INFINITY, 0.9f}, "scores"),
                    Output({1, 3}, {0, 0, 0.5f}, "classes"), TwoBoxes()};
  ASSERT_TRUE(scene.AddTo(&metric).ok());
  EXPECT_EQ(metric.Result()["non_finite"], 3);
  EXPECT_EQ(metric.Result()["map_50"], 0);
  EXPECT_THAT(metric.Warnings(), ElementsAre(HasSubstr("3 predicted boxes")));
}

TEST(Detection, WithoutTrueBoxesThereIsNoFigure) {
  Detection metric;
  const Scene scene{Output({1, 0, 4}, {}, "boxes"), Output({1, 0}, {}, "scores"),
                    Output({1, 0}, {}, "classes"), Labels{{1, 0}, {}, {1, 0, 4}, {}, {}}};
  ASSERT_TRUE(scene.AddTo(&metric).ok());
  EXPECT_TRUE(metric.Result()["map_50"].is_null());
  EXPECT_THAT(metric.Warnings(), ElementsAre(HasSubstr("no true boxes")));
}

TEST(Detection, Refuses) {
  const Output boxes({1, 1, 4}, {0, 0, 1, 1}, "boxes");
  const Output scores({1, 1}, {1}, "scores");
  const Output classes({1, 1}, {0}, "classes");
  Labels weighted = TwoBoxes();
  weighted.weights = {1};
  const std::vector<std::pair<Scene, std::string>> bad = {
      {{Output({1, 4}, {0, 0, 1, 1}, "boxes"), scores, classes, TwoBoxes()}, "expected boxes"},
      {{boxes, Output({1, 2}, {1, 1}, "scores"), classes, TwoBoxes()}, "expected boxes"},
      {{boxes, scores, classes, Labels{{1, 1}, {0}, {}, {}, {}}}, "must hold the true boxes"},
      {{boxes, scores, classes, Labels{{1, 1}, {0}, {1, 1, 4}, {5, 0, 1, 1}, {}}}, "x1 <= x2"},
      {{boxes, scores, classes, Labels{{2, 0}, {}, {2, 0, 4}, {}, {}}}, "2 examples"},
      {{boxes, scores, classes, weighted}, "not defined for detection"},
  };
  for (const auto& [scene, words] : bad) {
    Detection metric;
    const absl::Status status = scene.AddTo(&metric);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
  }
}

}  // namespace
}  // namespace lathe::engine
