// Training that is interrupted and goes on, and training with a teacher, through the engine's front
// door.
#include "worker/engine/training_setup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_reason.h"
#include "tests/support/array_files.h"
#include "tests/support/graph_builder.h"
#include "tests/support/temp_folder.h"
#include "worker/engine/graph/writer.h"
#include "worker/engine/train/checkpoint.h"
#include "worker/engine/train/checkpoint_set.h"

namespace lathe::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AddNode;
using testing::AddOutput;
using testing::AddWeight;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::NewModel;
using ::testing::Not;

constexpr int64_t kExamples = 60;
constexpr int64_t kWidth = 8;
constexpr int64_t kClasses = 4;
// 60 examples of which none is kept for testing, 16 a step: 4 steps an epoch.
constexpr char kTrain[] =
    R"({"fine_tune":{"epochs":5,"batch_size":16,"learning_rate":0.01,"validation":0.1}})";

// Two layers, `hidden` wide.
Model Net(int64_t hidden, const std::string& input = "x") {
  Model model = NewModel(17);
  Graph& g = *model.graph;
  ValueInfo x = testing::Info(input);
  x.dims = std::vector<Dim>{{std::nullopt, "batch"}, {kWidth, ""}};
  g.inputs.push_back(x);
  AddWeight(g, "w1", {kWidth, hidden});
  AddNode(g, "MatMul", {input, "w1"}, {"h"}, "fc1");
  AddNode(g, "Relu", {"h"}, {"r"}, "act");
  AddWeight(g, "w2", {hidden, kClasses});
  AddNode(g, "MatMul", {"r", "w2"}, {"y"}, "fc2");
  AddOutput(g, "y");
  return model;
}

class Training : public ::testing::Test {
 protected:
  void SetUp() override {
    SaveModel(Net(12), "in");
    std::vector<float> values;
    std::vector<int64_t> labels;
    for (int64_t i = 0; i < kExamples * kWidth; ++i) {
      values.push_back(static_cast<float>((i * 7919) % 101 - 50) / 50);
    }
    for (int64_t i = 0; i < kExamples; ++i) {
      const float* row = &values[static_cast<size_t>(i * kWidth)];
      labels.push_back(std::max_element(row, row + kClasses) - row);
    }
    const int64_t bytes = kExamples * kWidth * 4;
    const json header = {
        {"x", {{"dtype", "F32"}, {"shape", {kExamples, kWidth}}, {"data_offsets", {0, bytes}}}},
        {"labels",
         {{"dtype", "I64"},
          {"shape", {kExamples}},
          {"data_offsets", {bytes, bytes + kExamples * 8}}}}};
    data_ = folder_.Write(
        "data.safetensors",
        lathe::testing::Safetensors(
            header.dump(), lathe::testing::RawBytes(values) + lathe::testing::RawBytes(labels)));
  }

  void SaveModel(const Model& model, const std::string& where) {
    fs::create_directories(folder_.File(where));
    ASSERT_TRUE(WriteModel(model, folder_.File(where), "model.onnx").ok());
  }

  CompressRequest Request(const std::vector<std::string>& steps) {
    CompressRequest request;
    request.input_folder = folder_.File("in");
    request.main_file = "model.onnx";
    request.output_folder = folder_.File("out");
    request.recipe_json = absl::StrCat(R"({"seed":5,"evaluate":{"task":"none"},"steps":[)",
                                       absl::StrJoin(steps, ","), "]}");
    request.datasets = {{"train", "data.safetensors", "", data_}};
    fs::remove_all(request.output_folder);
    fs::create_directories(request.output_folder);
    return request;
  }

  // Runs to its end, saving after every step of the training; the states go to `saved_`.
  absl::StatusOr<CompressResult> Run(const CompressRequest& request) {
    saved_.clear();
    log_.clear();
    Hooks hooks;
    hooks.checkpoint_due = [] { return true; };
    hooks.save_checkpoint = [this](const std::vector<absl::string_view>& pieces) {
      saved_.push_back(absl::StrJoin(pieces, ""));
      return absl::OkStatus();
    };
    hooks.log = [this](const std::string& line) { log_.push_back(line); };
    return Compress(request, hooks);
  }
  std::string Output() {
    std::ifstream in(folder_.File("out/model.onnx"), std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  }
  static std::vector<std::string> Notes(const CompressResult& result, int step) {
    const json report = json::parse(result.report_json);
    return (step < 0 ? report["notes"] : report["steps"][static_cast<size_t>(step)]["notes"])
        .get<std::vector<std::string>>();
  }

  lathe::testing::TempFolder folder_;
  std::string data_;
  std::vector<std::string> saved_;
  std::vector<std::string> log_;
};

TEST_F(Training, ARunThatGoesOnFromAnyStateEndsWithTheSameBytes) {
  const std::vector<std::string> steps = {
      R"({"prune_weights":{"sparsity":0.5,"schedule":"cubic"}})", kTrain,
      R"({"quantize_weights":{"bits":4,"keep_small":0}})",
      R"({"fine_tune":{"steps":3,"optimizer":"sgd"}})"};
  CompressRequest request = Request(steps);
  ASSERT_TRUE(Run(request).ok());
  const std::string whole = Output();
  const std::vector<std::string> states = saved_;
  // After each step but the last of a training, and after its end: 20 and 3 of them.
  ASSERT_EQ(states.size(), 23u);
  for (size_t i = 0; i < states.size(); ++i) {
    SCOPED_TRACE(i);
    request = Request(steps);
    request.checkpoint_file = folder_.Write("state", states[i]);
    request.threads = i % 2 == 0 ? 1 : 2;
    const auto resumed = Run(request);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_EQ(Output(), whole);
    // State i is that after step i + 1 of the first training, or after its end and step i - 19 of
    // the second; ends are saved again.
    EXPECT_EQ(saved_.size(),
              i < 20 ? 23 - std::min<size_t>(i + 1, 19) : 4 - std::min<size_t>(i - 19, 2));
    const std::string from =
        absl::StrCat("resumed from step ", std::min<size_t>(i + 1, 20), " of 20");
    EXPECT_THAT(Notes(*resumed, 1), Contains(HasSubstr(from)));
    EXPECT_THAT(log_, Contains(AllOf(HasSubstr("steps[1]: "), HasSubstr(from))));
    if (i >= 20) {
      EXPECT_THAT(Notes(*resumed, 3),
                  Contains(HasSubstr(absl::StrCat("resumed from step ", i - 19, " of 3"))));
    }
  }
}

TEST_F(Training, AStateOfAnotherRunIsLeftAsideWithANote) {
  CompressRequest request = Request({kTrain});
  ASSERT_TRUE(Run(request).ok());
  const std::string whole = Output();
  const std::string state = folder_.Write("state", saved_[7]);
  const auto expect_anew = [&](CompressRequest changed, const char* what) {
    SCOPED_TRACE(what);
    changed.checkpoint_file = changed.checkpoint_file.empty() ? state : changed.checkpoint_file;
    const auto result = Run(changed);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_THAT(Notes(*result, -1), Contains(HasSubstr("left aside, and training starts over")));
    EXPECT_THAT(Notes(*result, 0), Each(Not(HasSubstr("resumed"))));
    EXPECT_THAT(log_, Contains(HasSubstr("left aside")));
    EXPECT_EQ(saved_.size(), 20u);
  };
  request = Request({R"({"fine_tune":{"epochs":5,"batch_size":16,"learning_rate":0.02}})"});
  expect_anew(request, "recipe");
  request = Request({kTrain});
  request.datasets[0].sha256 = std::string(64, '0');
  expect_anew(request, "data");
  SaveModel(Net(13), "in");
  expect_anew(Request({kTrain}), "model");
  SaveModel(Net(12), "in");
  for (const char* bytes : {"", "garbage", "LATHESET1 "}) {
    request = Request({kTrain});
    request.checkpoint_file = folder_.Write("bad", bytes);
    expect_anew(request, bytes);
    EXPECT_EQ(Output(), whole);
  }
  request.checkpoint_file = folder_.File("none");
  expect_anew(request, "no file");
}

// The identity fits; what the trainer saved does not hold water. Each byte is turned in its turn.
TEST_F(Training, ADamagedStateNeverHarmsTheRun) {
  CompressRequest request = Request({R"({"fine_tune":{"steps":4,"batch_size":16}})"});
  ASSERT_TRUE(Run(request).ok());
  const std::string whole = Output();
  ASSERT_EQ(saved_.size(), 4u);
  const std::string good = saved_[1];
  const size_t body = good.find('\n') + 1;
  for (size_t at = body; at < good.size(); at += 1 + (good.size() - body) / 40) {
    SCOPED_TRACE(at);
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x41);
    request = Request({R"({"fine_tune":{"steps":4,"batch_size":16}})"});
    request.checkpoint_file = folder_.Write("state", bad);
    const auto result = Run(request);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_THAT(Notes(*result, 0), Contains(HasSubstr("trained from the start: ")));
    EXPECT_EQ(Output(), whole);
  }
}

// The same with states whose sum is right: written by somebody who means harm.
TEST_F(Training, AForgedStateNeverHarmsTheRun) {
  const std::string step = R"({"fine_tune":{"steps":4,"batch_size":16,"validation":0.1}})";
  ASSERT_TRUE(Run(Request({step})).ok());
  const std::string whole = Output();
  const CheckpointSet set = *ParseCheckpointSet(saved_[1]);
  const Checkpoint good = *ReadCheckpoint(set.states.at(0));
  std::vector<std::pair<std::string, Checkpoint>> forged;
  for (size_t i = 1; i < good.arrays.size(); ++i) {
    for (const int change : {-1, 1}) {
      Checkpoint one = good;
      if (one.arrays[i].empty() && change < 0) continue;
      one.arrays[i].resize(static_cast<size_t>(static_cast<int>(one.arrays[i].size()) + change));
      forged.emplace_back(absl::StrCat("array ", i, " by ", change), one);
    }
  }
  Checkpoint fewer = good;
  fewer.arrays.pop_back();
  forged.emplace_back("an array less", fewer);
  for (const auto& [key, value] : good.state.items()) {
    if (key == "sizes") continue;
    Checkpoint one = good;
    one.state[key] = json::object({{"a", "b"}});
    forged.emplace_back("type of " + key, one);
  }
  for (const char* key : {"step", "total", "micro"}) {
    for (const int64_t value : {int64_t{-1}, int64_t{0}, int64_t{1} << 62}) {
      if (std::string(key) == "step" && value == 0) continue;  // nothing done is no harm
      Checkpoint one = good;
      one.state[key] = value;
      forged.emplace_back(absl::StrCat(key, " ", value), one);
    }
  }
  for (const auto& [what, checkpoint] : forged) {
    SCOPED_TRACE(what);
    std::string header;
    const CheckpointSet wrapped = {set.identity, {{0, WriteCheckpoint(checkpoint)}}};
    CompressRequest request = Request({step});
    request.checkpoint_file =
        folder_.Write("state", absl::StrJoin(CheckpointPieces(wrapped, &header), ""));
    const auto result = Run(request);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_THAT(Notes(*result, 0), Contains(HasSubstr("trained from the start: ")));
    EXPECT_EQ(Output(), whole);
  }
}

TEST_F(Training, WithoutSavingNothingIsSaved) {
  CompressRequest request = Request({kTrain});
  ASSERT_TRUE(Run(request).ok());
  const std::string whole = Output();
  request = Request({kTrain});
  ASSERT_TRUE(Compress(request, {}).ok());
  EXPECT_EQ(Output(), whole);
  request = Request({R"({"fp16":{}})"});
  ASSERT_TRUE(Run(request).ok());
  EXPECT_THAT(saved_, IsEmpty());
}

TEST_F(Training, ATeacherIsLearntFrom) {
  const std::string distill =
      R"({"distill":{"steps":8,"batch_size":16,"alpha":1,"loss":"feature"}})";
  CompressRequest request = Request({distill});
  const auto own = Run(request);
  ASSERT_TRUE(own.ok()) << own.status();
  const std::string without = Output();
  SaveModel(Net(40), "teacher");
  request = Request({distill});
  request.teacher_folder = folder_.File("teacher");
  request.teacher_main_file = "model.onnx";
  const auto taught = Run(request);
  ASSERT_TRUE(taught.ok()) << taught.status();
  EXPECT_NE(Output(), without);
  EXPECT_THAT(Notes(*taught, -1), Contains("the teacher is model.onnx"));
  EXPECT_THAT(Notes(*own, -1), Each(Not(HasSubstr("teacher"))));
  // A state belongs to its teacher.
  const std::string state = folder_.Write("state", saved_[0]);
  SaveModel(Net(41), "teacher");
  request.output_folder = Request({}).output_folder;
  request.checkpoint_file = state;
  const auto other = Run(request);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_THAT(Notes(*other, -1), Contains(HasSubstr("left aside")));
}

TEST_F(Training, ATeacherThatDoesNotFitIsRefused) {
  struct Case {
    const char* what;
    std::function<Model()> teacher;
    std::vector<const char*> said;
  };
  const std::vector<Case> cases = {
      {"another input", [] { return Net(8, "z"); }, {"an input 'z'", "its inputs: x"}},
      {"another number of outputs",
       [] {
         Model model = Net(8);
         AddOutput(*model.graph, "h");
         return model;
       },
       {"2 outputs", "the model 1"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    SaveModel(c.teacher(), "teacher");
    CompressRequest request = Request({R"({"distill":{"steps":1}})"});
    request.teacher_folder = folder_.File("teacher");
    request.teacher_main_file = "model.onnx";
    const absl::Status refused = Run(request).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ReasonOf(refused), "INVALID_MODEL");
    for (const char* said : c.said) {
      EXPECT_THAT(std::string(refused.message()), HasSubstr(said));
    }
  }
  CompressRequest request = Request({R"({"distill":{"steps":1}})"});
  request.teacher_folder = folder_.path();
  request.teacher_main_file = fs::path(folder_.Write("t.onnx", "no model")).filename().string();
  EXPECT_THAT(std::string(Run(request).status().message()), HasSubstr("the teacher, t.onnx: "));
}

// There was a crash: the model after the first step was to be measured on a test split of nothing.
TEST_F(Training, StepsAreNotMeasuredWithoutTestData) {
  CompressRequest request =
      Request({R"({"fp16":{}})", R"({"fine_tune":{"steps":1,"batch_size":16}})"});
  request.recipe_json = R"({"steps":[{"fp16":{}},{"fine_tune":{"steps":1,"batch_size":16}}]})";
  const auto result = Run(request);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(json::parse(result->report_json).contains("trace"));
}

TEST_F(Training, AGradualPruningOfAnEarlierStepIsNotThatOfALater) {
  const std::vector<std::string> steps = {
      R"({"prune_weights":{"sparsity":0.9,"schedule":"cubic"}})",
      R"({"fine_tune":{"steps":10,"batch_size":16}})",
      R"({"fine_tune":{"steps":2,"batch_size":16}})"};
  const CompressRequest request = Request(steps);
  const auto result = Run(request);
  ASSERT_TRUE(result.ok()) << result.status();
  const json layers = json::parse(result->report_json)["layers"];
  for (const json& layer : layers) EXPECT_NEAR(layer["sparsity"].get<double>(), 0.9, 0.03);
}

}  // namespace
}  // namespace lathe::engine
