#include "worker/engine/data/data_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "common/recipe/text.h"
#include "tests/support/array_files.h"
#include "tests/support/temp_folder.h"

namespace lathe::engine {
namespace {

using ::lathe::testing::Npy;
using ::lathe::testing::NpyFloats;
using ::lathe::testing::NpyInts;
using ::lathe::testing::RawBytes;
using ::lathe::testing::Zip;
using ::lathe::testing::ZipPart;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ValueInfo Input(const std::string& name, DType dtype, const std::vector<std::string>& dims) {
  ValueInfo info;
  info.name = name;
  info.dtype = dtype;
  info.dims.emplace();
  for (const std::string& text : dims) {
    Dim dim;
    if (std::isdigit(static_cast<unsigned char>(text[0])) != 0) {
      dim.value = std::stoll(text);
    } else {
      dim.symbol = text;
    }
    info.dims->push_back(dim);
  }
  return info;
}

Model ModelOf(std::vector<ValueInfo> inputs) {
  Model model;
  model.graph = std::make_unique<Graph>();
  model.graph->inputs = std::move(inputs);
  return model;
}
Model PlainModel() { return ModelOf({Input("pixels", DType::kFloat, {"N", "2"})}); }

ZipPart Floats(const std::string& key, const std::vector<int64_t>& shape,
               const std::vector<float>& values) {
  return {.name = key + ".npy", .content = NpyFloats(shape, values)};
}
ZipPart Ints(const std::string& key, const std::vector<int64_t>& shape,
             const std::vector<int64_t>& values) {
  return {.name = key + ".npy", .content = NpyInts(shape, values)};
}
// [count, width]: 0, 1, 2, ...
ZipPart Counting(const std::string& key, int64_t count, int64_t width) {
  std::vector<float> values(count * width);
  std::iota(values.begin(), values.end(), 0.0f);
  return Floats(key, {count, width}, values);
}

class DataPlanTest : public ::testing::Test {
 protected:
  DataFile File(const std::string& role, const std::string& name,
                const std::vector<ZipPart>& parts) {
    return {role, name, "", folder_.Write(name, Zip(parts))};
  }
  absl::StatusOr<DataPlan> Plan(const std::vector<DataFile>& files, const Model& model,
                                const std::string& sections = "", const DataNeeds& needs = {}) {
    return OpenData(files, *ParseRecipe("steps: [fp16]\n" + sections), model, needs);
  }
  // The message of a plan that is refused, or of the first batch.
  std::string Refusal(const std::vector<ZipPart>& parts, const Model& model,
                      const std::string& sections = "") {
    const absl::StatusOr<DataPlan> plan = Plan({File("test", "d.npz", parts)}, model, sections,
                                               {.calibration = false, .train = false});
    absl::Status status = plan.status();
    if (plan.ok()) {
      absl::StatusOr<BatchReader> reader = plan->test->Batches({});
      status = reader.ok() ? reader->Next().status() : reader.status();
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("d.npz"));
    return std::string(status.message());
  }

  lathe::testing::TempFolder folder_;
};

std::vector<int64_t> Examples(const DataSplit& split, BatchOptions options = {}) {
  std::vector<int64_t> all;
  absl::StatusOr<BatchReader> reader = split.Batches(options);
  EXPECT_TRUE(reader.ok()) << reader.status();
  while (!reader->done()) {
    const absl::StatusOr<Batch> batch = reader->Next();
    EXPECT_TRUE(batch.ok()) << batch.status();
    if (!batch.ok()) break;
    all.insert(all.end(), batch->examples.begin(), batch->examples.end());
  }
  return all;
}

TEST_F(DataPlanTest, BatchesHoldInputsLabelsAndWeights) {
  const Model model = PlainModel();
  const auto plan = Plan({File("test", "d.npz",
                               {Counting("pixels", 5, 2), Ints("labels", {5}, {0, 1, 2, 1, 0}),
                                Floats("weights", {5}, {1, 2, 3, 4, 5})})},
                         model);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_FALSE(plan->train.has_value());
  EXPECT_FALSE(plan->calibration.has_value());
  ASSERT_EQ(plan->test->size(), 5);
  EXPECT_EQ(plan->test->labels().kind, LabelKind::kClass);
  EXPECT_EQ(plan->test->labels().maximum, 2);
  auto reader = plan->test->Batches({.batch_size = 3});
  const auto first = reader->Next();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT(first->inputs.at("pixels").dims, ElementsAre(3, 2));
  EXPECT_THAT(*first->labels->ToInt64s(), ElementsAre(0, 1, 2));
  const auto last = reader->Next();
  EXPECT_EQ(last->first, 3);
  EXPECT_EQ(last->size, 2);
  EXPECT_THAT(*last->inputs.at("pixels").ToFloats(), ElementsAre(6, 7, 8, 9));
  EXPECT_THAT(*last->weights->ToFloats(), ElementsAre(4, 5));
  EXPECT_TRUE(reader->done());
  EXPECT_EQ(reader->Next().status().code(), absl::StatusCode::kOutOfRange);
}

TEST_F(DataPlanTest, TrueBoxesComeWithPaddingMarked) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto plan = Plan(
      {File(
          "test", "d.npz",
          {Counting("pixels", 3, 2), Floats("boxes", {3, 2, 4}, {0, 0, 1, 1, 2,   2,   3,   3,    //
                                                                 4, 4, 5, 5, nan, nan, nan, nan,  //
                                                                 6, 6, 7, 7, 9,   9,   8,   8}),
           Ints("classes", {3, 2}, {0, 1, 2, 3, -1, 5}), Ints("box_counts", {3}, {2, 2, 1})})},
      PlainModel());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->test->labels().kind, LabelKind::kBoxes);
  EXPECT_EQ(plan->test->labels().maximum, 2);
  auto reader = plan->test->Batches({.batch_size = 2});
  const auto first = reader->Next();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT(*first->labels->ToFloats(),
              ElementsAre(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 0, 0, 0, 0));
  EXPECT_EQ(first->labels->dims, (Shape{2, 2, 4}));
  EXPECT_THAT(*first->box_classes->ToInt64s(), ElementsAre(0, 1, 2, -1));
  const auto last = reader->Next();
  EXPECT_THAT(*last->box_classes->ToInt64s(), ElementsAre(-1, -1));
}

TEST_F(DataPlanTest, TrueBoxesThatDoNotFitAreRefused) {
  const Model plain = PlainModel();
  const ZipPart pixels = Counting("pixels", 2, 2);
  const ZipPart boxes = Floats("boxes", {2, 1, 4}, {0, 0, 1, 1, 2, 2, 3, 3});
  const ZipPart classes = Ints("classes", {2, 1}, {0, 1});
  EXPECT_THAT(Refusal({pixels, boxes}, plain), HasSubstr("key 'classes': is missing"));
  EXPECT_THAT(Refusal({pixels, classes}, plain), HasSubstr("key 'boxes': is missing"));
  EXPECT_THAT(Refusal({pixels, boxes, classes, Ints("labels", {2}, {0, 1})}, plain),
              HasSubstr("labels or true boxes, not both"));
  EXPECT_THAT(Refusal({pixels, Floats("boxes", {2, 4}, {0, 0, 1, 1, 2, 2, 3, 3}), classes}, plain),
              HasSubstr("expected [examples, most, 4], got [2,4]"));
  EXPECT_THAT(Refusal({pixels, boxes, Ints("classes", {2}, {0, 1})}, plain),
              HasSubstr("key 'classes': expected integers [2,1], got int64 [2]"));
  EXPECT_THAT(Refusal({pixels, boxes, classes, Ints("box_counts", {2}, {1, 2})}, plain),
              HasSubstr("example 1: is 2; expected [0, 1]"));
  EXPECT_THAT(
      Refusal({pixels, Floats("boxes", {2, 1, 4}, {0, 0, 1, 1, 3, 2, 2, 3}), classes}, plain),
      HasSubstr("example 1, box 0 is [3, 2, 2, 3]; expected x1 <= x2"));
  EXPECT_THAT(Refusal({pixels, boxes, Ints("classes", {2, 1}, {-1, -1})}, plain),
              HasSubstr("all boxes of all examples are padding"));
}

TEST_F(DataPlanTest, OneFileIsSplitSoThatTestAndTrainingNeverMeet) {
  const Model model = PlainModel();
  const std::vector<DataFile> files = {File("", "d.npz", {Counting("pixels", 101, 2)})};
  for (const int seed : {0, 1}) {
    const auto plan =
        Plan(files, model, absl::StrCat("split: {test: 0.3, calibration: 20}\nseed: ", seed));
    ASSERT_TRUE(plan.ok()) << plan.status();
    const std::vector<int64_t> test = Examples(*plan->test);
    const std::vector<int64_t> train = Examples(*plan->train);
    const std::vector<int64_t> calibration = Examples(*plan->calibration);
    EXPECT_EQ(test.size(), 30u);
    EXPECT_EQ(train.size(), 71u);
    EXPECT_EQ(calibration.size(), 20u);
    EXPECT_TRUE(std::is_sorted(test.begin(), test.end()));
    std::set<int64_t> all(test.begin(), test.end());
    all.insert(train.begin(), train.end());
    EXPECT_EQ(all.size(), 101u);
    EXPECT_TRUE(std::includes(train.begin(), train.end(), calibration.begin(), calibration.end()));
  }
  const auto once = Plan(files, model, "seed: 5");
  const auto again = Plan(files, model, "seed: 5");
  const auto other = Plan(files, model, "seed: 6");
  EXPECT_EQ(Examples(*once->test), Examples(*again->test));
  EXPECT_NE(Examples(*once->test), Examples(*other->test));
}

TEST_F(DataPlanTest, RolesSayWhoUsesWhat) {
  const Model model = PlainModel();
  const DataFile any = File("all", "any.npz", {Counting("pixels", 10, 2)});
  const DataFile test = File("test", "test.npz", {Counting("pixels", 4, 2)});
  const DataFile train = File("train", "train.npz", {Counting("pixels", 6, 2)});
  auto plan = Plan({any, test}, model);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->test->files(), "test.npz");
  EXPECT_EQ(plan->train->size(), 10);  // nothing is kept back
  EXPECT_EQ(plan->calibration->files(), "any.npz");
  plan = Plan({train, any}, model);
  EXPECT_EQ(plan->test->size(), 10);
  EXPECT_EQ(plan->calibration->files(), "train.npz");
  plan = Plan({any}, model, "", {.calibration = false, .train = false});
  EXPECT_EQ(plan->test->size(), 10);
  EXPECT_FALSE(plan->train.has_value());
  plan = Plan({train}, model);
  EXPECT_FALSE(plan->test.has_value());
  plan = Plan({}, model);
  ASSERT_TRUE(plan.ok());
  EXPECT_FALSE(plan->calibration.has_value());
}

TEST_F(DataPlanTest, FilesOfOneRoleFollowOneAnother) {
  const Model model = PlainModel();
  const auto plan = Plan({File("test", "a.npz", {Counting("pixels", 3, 2)}),
                          File("test", "b.npz", {Counting("pixels", 2, 2)})},
                         model);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(Examples(*plan->test, {.batch_size = 2}), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_EQ(plan->test->Take(4).size(), 4);
}

TEST_F(DataPlanTest, AResumedShuffleGoesOnAsIfUnbroken) {
  const Model model = PlainModel();
  const auto plan = Plan({File("test", "d.npz", {Counting("pixels", 50, 2)})}, model);
  for (const bool shuffle : {true, false}) {
    const BatchOptions options = {.batch_size = 7, .shuffle = shuffle, .shuffle_seed = 3};
    const std::vector<int64_t> whole = Examples(*plan->test, options);
    EXPECT_EQ(std::set<int64_t>(whole.begin(), whole.end()).size(), 50u);
    EXPECT_EQ(std::is_sorted(whole.begin(), whole.end()), !shuffle);
    BatchOptions later = options;
    later.first_batch = 3;
    EXPECT_EQ(Examples(*plan->test, later), std::vector<int64_t>(whole.begin() + 21, whole.end()));
    later.first_batch = 100;
    EXPECT_THAT(Examples(*plan->test, later), IsEmpty());
  }
  auto reader = plan->test->Batches({.batch_size = 50, .shuffle = true});
  const auto batch = reader->Next();
  for (int64_t i = 0; i < 50; ++i) {  // the rows follow the shuffle
    EXPECT_EQ(batch->inputs.at("pixels").FloatView()[2 * i], 2 * batch->examples[i]);
  }
}

TEST_F(DataPlanTest, ABatchThatTheModelFixesIsFilledUp) {
  const Model model = ModelOf({Input("pixels", DType::kFloat, {"4", "2"})});
  const auto plan = Plan({File("test", "d.npz", {Counting("pixels", 5, 2)})}, model);
  ASSERT_TRUE(plan.ok()) << plan.status();
  auto reader = plan->test->Batches({.batch_size = 32});
  EXPECT_EQ(reader->Next()->size, 4);
  const auto last = reader->Next();
  EXPECT_EQ(last->size, 1);
  EXPECT_THAT(last->inputs.at("pixels").dims, ElementsAre(4, 2));
  EXPECT_THAT(*last->inputs.at("pixels").ToFloats(), ElementsAre(8, 9, 8, 9, 8, 9, 8, 9));
}

TEST_F(DataPlanTest, AnInputWithoutABatchAxisGetsOneExampleARun) {
  const Model model =
      ModelOf({Input("frames", DType::kFloat, {"T", "2"}), Input("rate", DType::kInt64, {})});
  const auto plan = Plan(
      {File("test", "d.npz",
            {Floats("frames", {2, 3, 2}, std::vector<float>(12, 1)), Ints("rate", {}, {16000})})},
      model);
  ASSERT_TRUE(plan.ok()) << plan.status();
  auto reader = plan->test->Batches({});
  const auto batch = reader->Next();
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(batch->size, 1);
  EXPECT_THAT(batch->inputs.at("frames").dims, ElementsAre(3, 2));
  EXPECT_THAT(batch->inputs.at("rate").dims, IsEmpty());
}

TEST_F(DataPlanTest, AModelOfOneInputTakesAPlainName) {
  const Model model = PlainModel();
  EXPECT_TRUE(Plan({File("test", "a.npz", {Counting("x", 3, 2)})}, model).ok());
  EXPECT_TRUE(
      Plan({File("test", "b.npz", {Counting("arr_0", 3, 2), Ints("labels", {3}, {0, 1, 2})})},
           model)
          .ok());
  EXPECT_FALSE(
      Plan({File("test", "c.npz", {Counting("x", 3, 2), Counting("data", 3, 2)})}, model).ok());
}

TEST_F(DataPlanTest, LabelsAreToldApart) {
  const Model model = PlainModel();
  struct Case {
    ZipPart labels;
    LabelKind kind;
  };
  int index = 0;
  for (const Case& c :
       std::vector<Case>{{Ints("labels", {3}, {4, 0, 2}), LabelKind::kClass},
                         {Ints("labels", {3, 1}, {4, 0, 2}), LabelKind::kClass},
                         {Ints("labels", {3, 2}, {1, 0, 0, 1, 1, 0}), LabelKind::kOneHot},
                         {Floats("labels", {3, 2}, {1, 0, 0, 1, 1, 0}), LabelKind::kOneHot},
                         {Ints("labels", {3, 2}, {1, 1, 0, 1, 1, 0}), LabelKind::kIds},
                         {Floats("labels", {3, 2}, {0.5, 0.5, 0, 1, 1, 0}), LabelKind::kFloat},
                         {Floats("labels", {3}, {0, 1, 2}), LabelKind::kFloat}}) {
    const auto plan = Plan(
        {File("test", absl::StrCat(index++, ".npz"), {Counting("pixels", 3, 2), c.labels})}, model);
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->test->labels().kind, c.kind) << index;
    auto reader = plan->test->Batches({});
    const auto batch = reader->Next();
    ASSERT_TRUE(batch.ok()) << batch.status();
    EXPECT_EQ(batch->labels->dtype, c.kind == LabelKind::kFloat ? DType::kFloat : DType::kInt64);
    if (c.kind == LabelKind::kOneHot) {
      EXPECT_THAT(*batch->labels->ToInt64s(), ElementsAre(0, 1, 0));
    }
  }
}

TEST_F(DataPlanTest, ClassesOutOfRangeAreFound) {
  LabelSummary labels{LabelKind::kClass, {}, 0, 0, 9};
  EXPECT_TRUE(CheckClasses(labels, 10, "d").ok());
  EXPECT_THAT(std::string(CheckClasses(labels, 9, "d").message()), HasSubstr("expected [0, 9)"));
  labels.minimum = -1;
  EXPECT_FALSE(CheckClasses(labels, 10, "d").ok());
  EXPECT_FALSE(CheckClasses({LabelKind::kOneHot, {}, 3, 0, 2}, 4, "d").ok());
  EXPECT_FALSE(CheckClasses({LabelKind::kFloat, {}, 0, 0, 0}, 4, "d").ok());
}

TEST_F(DataPlanTest, BytesBecomeImages) {
  const Model model = ModelOf({Input("image", DType::kFloat, {"N", "3", "2", "2"})});
  const ZipPart images = {.name = "image.npy",
                          .content = Npy("|u1", {2, 4, 4, 3}, std::string(96, '\x64'))};
  const auto plan =
      Plan({File("test", "d.npz", {images})}, model,
           "preprocess: {scale: 0.5, mean: [10, 20, 30], layout: NHWC, resize: [2, 2]}");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->warnings, IsEmpty());
  auto reader = plan->test->Batches({});
  const auto batch = reader->Next();
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_THAT(batch->inputs.at("image").dims, ElementsAre(2, 3, 2, 2));
  EXPECT_EQ(batch->inputs.at("image").FloatView()[0], 40);
  EXPECT_EQ(batch->inputs.at("image").FloatView()[11], 20);
  EXPECT_THAT(Refusal({images}, model), HasSubstr("axis 1 must be 3, not 4"));
}

TEST_F(DataPlanTest, DoubtsAreWarnings) {
  const auto plan = Plan({File("test", "d.npz",
                               {{.name = "pixels.npy", .content = Npy("|u1", {2, 2}, "abcd")},
                                Ints("labels", {2}, {1, 1})})},
                         PlainModel());
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->warnings.size(), 2u);
  EXPECT_THAT(plan->warnings[0], HasSubstr("preprocess"));
  EXPECT_THAT(plan->warnings[1], HasSubstr("all 2 examples have the class 1"));
  DataFile a = File("test", "a.npz", {Counting("pixels", 2, 2)});
  DataFile b = a;
  b.role = "train";
  EXPECT_THAT(Plan({a, b}, PlainModel())->warnings[0], HasSubstr("are the same"));
}

TEST_F(DataPlanTest, WhatDoesNotFitIsNamed) {
  const Model plain = PlainModel();
  const Model two =
      ModelOf({Input("ids", DType::kInt64, {"N", "T"}), Input("mask", DType::kInt64, {"N", "T"})});
  EXPECT_THAT(Refusal({Counting("pixel", 3, 2)}, plain), HasSubstr("did you mean 'pixels'"));
  EXPECT_THAT(Refusal({Counting("pixels", 3, 2), Ints("label", {3}, {0, 1, 2})}, plain),
              HasSubstr("did you mean 'labels'"));
  EXPECT_THAT(Refusal({Ints("labels", {3}, {0, 1, 2})}, plain),
              HasSubstr("no array for the input 'pixels'"));
  EXPECT_THAT(Refusal({}, plain), HasSubstr("no array"));
  EXPECT_THAT(Refusal({Counting("pixels", 3, 4)}, plain), HasSubstr("axis 1 must be 2, not 4"));
  EXPECT_THAT(Refusal({Floats("pixels", {4}, {1, 2, 3, 4})}, plain), HasSubstr("expected 2 axes"));
  EXPECT_THAT(Refusal({Floats("ids", {1, 2}, {1, 2}), Ints("mask", {1, 2}, {1, 2})}, two),
              HasSubstr("save integers"));
  EXPECT_THAT(Refusal({Ints("ids", {1, 2}, {1, 2}), Ints("mask", {1, 3}, {1, 2, 3})}, two),
              HasSubstr("the axis T is 3, but 2 in 'ids'"));
  EXPECT_THAT(Refusal({Ints("ids", {1, 2}, {1, 2}), Ints("mask", {2, 2}, {1, 2, 3, 4})}, two),
              HasSubstr("holds 2 examples, but 'ids' holds 1"));
}

TEST_F(DataPlanTest, WhatIsNotSoundIsNamed) {
  const Model plain = PlainModel();
  const float nan = std::nanf("");
  const auto with = [&](ZipPart part) { return Refusal({Counting("pixels", 3, 2), part}, plain); };
  EXPECT_THAT(Refusal({Floats("pixels", {0, 2}, {})}, plain), HasSubstr("no examples"));
  EXPECT_THAT(Refusal({Floats("pixels", {2, 2}, {1, 2, 3, nan})}, plain),
              HasSubstr("key 'pixels': example 1, element 1: is NaN"));
  EXPECT_THAT(with(Ints("labels", {2}, {0, 1})),
              HasSubstr("holds 2 examples, but 'pixels' holds 3"));
  EXPECT_THAT(with(Ints("labels", {}, {0})), HasSubstr("single number"));
  EXPECT_THAT(with(Floats("labels", {3}, {0, nan, 1})), HasSubstr("example 1: is NaN"));
  EXPECT_THAT(with(Floats("labels", {3}, {0, INFINITY, 1})), HasSubstr("example 1: is infinite"));
  EXPECT_THAT(with(Floats("weights", {3}, {0, -1, 1})), HasSubstr("example 1: is -1"));
  EXPECT_THAT(with(Floats("weights", {3}, {0, 0, 0})), HasSubstr("all are 0"));
  EXPECT_THAT(with(Floats("weights", {3, 2}, {0, 0, 0, 0, 0, 0})),
              HasSubstr("one number an example"));
  EXPECT_THAT(Refusal({Counting("pixels", 3, 2)}, plain, "preprocess: {layout: NHWC}"),
              HasSubstr("need images"));
  EXPECT_THAT(Refusal({Counting("pixels", 3, 2)}, plain, "preprocess: {mean: [1, 2, 3]}"),
              HasSubstr("mean holds 3 numbers"));
}

TEST_F(DataPlanTest, PlansThatCannotBeAreRefused) {
  const Model model = PlainModel();
  const DataFile any = File("", "d.npz", {Counting("pixels", 3, 2)});
  EXPECT_THAT(std::string(Plan({any}, model, "split: {test: 1}").status().message()),
              HasSubstr("no examples are left for train"));
  EXPECT_THAT(std::string(Plan({any}, model, "split: {test: 0}").status().message()),
              HasSubstr("no examples are left for test"));
  DataFile odd = any;
  odd.role = "tset";
  EXPECT_THAT(std::string(Plan({odd}, model).status().message()), HasSubstr("did you mean 'test'"));
  const DataFile labelled =
      File("test", "l.npz", {Counting("pixels", 3, 2), Ints("labels", {3}, {0, 1, 2})});
  const DataFile bare = File("test", "b.npz", {Counting("pixels", 3, 2)});
  EXPECT_THAT(std::string(Plan({labelled, bare}, model).status().message()),
              HasSubstr("differ in their labels"));
  const DataFile gone = {"test", "gone.npz", "", folder_.File("gone.npz")};
  EXPECT_THAT(std::string(Plan({gone}, model).status().message()), HasSubstr("gone.npz"));
}

}  // namespace
}  // namespace lathe::engine
