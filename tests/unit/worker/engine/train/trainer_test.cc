#include "worker/engine/train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/recipe/text.h"
#include "common/status_reason.h"
#include "tests/support/array_files.h"
#include "tests/support/graph_builder.h"
#include "tests/support/temp_folder.h"
#include "worker/engine/data/data_plan.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/train/checkpoint.h"

namespace lathe::engine {
namespace {

using ::testing::HasSubstr;
using namespace lathe::engine::testing;  // NOLINT: the builder

constexpr int64_t kExamples = 200;
constexpr int64_t kInputs = 6;
constexpr int64_t kHidden = 16;
constexpr int64_t kClasses = 3;

Tensor Random(const std::string& name, const Shape& dims, uint32_t seed) {
  std::vector<float> values(static_cast<size_t>(Elements(dims)));
  for (float& v : values) {
    seed = seed * 1664525u + 1013904223u;
    v = static_cast<float>(seed >> 8) / 8388608.0f - 1;
  }
  return Tensor::FromFloats(name, dims, values);
}

// x [N, 6] -> Gemm -> Relu -> Gemm -> y [N, 3]
Model Mlp() {
  Model model = NewModel();
  Graph& graph = *model.graph;
  AddInput(graph, "x");
  graph.inputs[0].dims = std::vector<Dim>{{std::nullopt, "N"}, {kInputs, ""}};
  AddInitializer(graph, Random("w1", {kInputs, kHidden}, 1));
  AddInitializer(graph, Random("b1", {kHidden}, 2));
  AddInitializer(graph, Random("w2", {kHidden, kClasses}, 3));
  AddInitializer(graph, Random("b2", {kClasses}, 4));
  AddNode(graph, "Gemm", {"x", "w1", "b1"}, {"h"}, "first");
  AddNode(graph, "Relu", {"h"}, {"r"}, "relu");
  AddNode(graph, "Gemm", {"r", "w2", "b2"}, {"y"}, "second");
  AddOutput(graph, "y");
  return model;
}

class TrainerTest : public ::testing::Test {
 protected:
  TrainerTest() : model_(Mlp()) {
    // The class is where the sum of a pair of inputs is greatest: learnable, not linear in none.
    const Tensor x = Random("x", {kExamples, kInputs}, 7);
    std::vector<int64_t> labels;
    const auto values = x.FloatView();
    for (int64_t n = 0; n < kExamples; ++n) {
      int64_t best = 0;
      float most = -10;
      for (int64_t c = 0; c < kClasses; ++c) {
        const float sum = values[n * kInputs + 2 * c] + values[n * kInputs + 2 * c + 1];
        if (sum > most) {
          most = sum;
          best = c;
        }
      }
      labels.push_back(best);
    }
    const std::string path = folder_.Write(
        "train.npz",
        lathe::testing::Zip(
            {{.name = "x.npy",
              .content =
                  lathe::testing::NpyFloats({kExamples, kInputs}, {values.begin(), values.end()})},
             {.name = "labels.npy", .content = lathe::testing::NpyInts({kExamples}, labels)}}));
    auto plan = OpenData({{"train", "train.npz", "", path}}, *ParseRecipe("steps: [fp16]"), model_,
                         {.calibration = false, .train = true, .test = false});
    EXPECT_TRUE(plan.ok()) << plan.status();
    plan_ = *std::move(plan);
    set_ = *TrainingSet::Load(*plan_.train, 1 << 30);
    options_.epochs = 5;
    options_.batch_size = 40;
    options_.learning_rate = 0.01;
    options_.seed = 3;
  }

  struct Trained {
    absl::StatusOr<TrainOutcome> outcome = absl::UnknownError("not run");
    std::vector<Parameter> parameters;
    std::string bytes() const {
      std::string out;
      for (const Parameter& p : parameters) {
        out.append(reinterpret_cast<const char*>(p.values.data()), p.values.size() * 4);
      }
      return out;
    }
  };
  Trained Run(int threads, const TrainHooks& hooks = {}) {
    auto trainable = Trainable::Make(model_, {});
    EXPECT_TRUE(trainable.ok()) << trainable.status();
    const auto parallel = MakeThreadPool(threads);
    TrainRequest request;
    request.trainable = &*trainable;
    request.examples = set_.get();
    request.original = &model_;
    request.parallel = parallel.get();
    Trained trained;
    trained.outcome = Train(request, options_, hooks);
    trained.parameters = trainable->parameters();
    return trained;
  }

  lathe::testing::TempFolder folder_;
  Model model_;
  DataPlan plan_;
  std::unique_ptr<TrainingSet> set_;
  TrainOptions options_;
};

TEST_F(TrainerTest, LearnsAndTellsHow) {
  options_.epochs = 40;
  std::vector<std::string> lines;
  TrainHooks hooks;
  hooks.progress = [&lines](double, const std::string& line) { lines.push_back(line); };
  const Trained trained = Run(2, hooks);
  ASSERT_TRUE(trained.outcome.ok()) << trained.outcome.status();
  EXPECT_EQ(trained.outcome->steps, 200);
  EXPECT_EQ(lines.size(), 200);
  EXPECT_LT(trained.outcome->curve.back().loss, trained.outcome->curve.front().loss / 4);
  EXPECT_GT(trained.outcome->curve.back().accuracy, 0.95);
  EXPECT_TRUE(trained.outcome->unreached.empty());
  EXPECT_GT(trained.outcome->peak_bytes, 0);
}

TEST_F(TrainerTest, GivesTheSameBytesForAnyNumberOfThreads) {
  options_.epochs = 2;
  const std::string one = Run(1).bytes();
  EXPECT_EQ(one, Run(2).bytes());
  EXPECT_EQ(one, Run(5).bytes());
  options_.seed = 4;
  EXPECT_NE(one, Run(1).bytes());
}

TEST_F(TrainerTest, AResumedRunEndsWithTheBytesOfAnUnbrokenOne) {
  options_.validation = 0.2;
  const Trained whole = Run(2);
  ASSERT_TRUE(whole.outcome.ok()) << whole.outcome.status();
  for (const int stop_at : {1, 4, 9, 17}) {
    std::string saved;
    int steps = 0;
    TrainHooks first;
    first.checkpoint_due = [&steps, stop_at] { return ++steps == stop_at; };
    first.save_checkpoint = [&saved](std::string bytes) {
      saved = std::move(bytes);
      return absl::CancelledError("killed");
    };
    EXPECT_EQ(Run(1, first).outcome.status().code(), absl::StatusCode::kCancelled);
    ASSERT_FALSE(saved.empty());
    TrainHooks second;
    second.resume = saved;
    const Trained resumed = Run(2, second);
    ASSERT_TRUE(resumed.outcome.ok()) << resumed.outcome.status();
    EXPECT_EQ(resumed.bytes(), whole.bytes()) << "stopped after step " << stop_at;
    ASSERT_EQ(resumed.outcome->curve.size(), whole.outcome->curve.size());
    EXPECT_EQ(resumed.outcome->curve.back().loss, whole.outcome->curve.back().loss);
    EXPECT_EQ(resumed.outcome->best_step, whole.outcome->best_step);
  }
}

TEST_F(TrainerTest, ADamagedCheckpointIsLeftAside) {
  std::string saved;
  TrainHooks hooks;
  hooks.checkpoint_due = [] { return true; };
  hooks.save_checkpoint = [&saved](std::string bytes) {
    saved = std::move(bytes);
    return absl::OkStatus();
  };
  const Trained whole = Run(1, hooks);
  ASSERT_TRUE(whole.outcome.ok());
  ASSERT_TRUE(ReadCheckpoint(saved).ok());
  for (const size_t at : {size_t{0}, size_t{9}, size_t{40}, saved.size() / 2, saved.size() - 1}) {
    std::string damaged = saved;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
    TrainHooks resume;
    resume.resume = damaged;
    resume.resumed = [at](int64_t, int64_t) { ADD_FAILURE() << at; };
    const Trained anew = Run(1, resume);
    ASSERT_TRUE(anew.outcome.ok()) << at;
    ASSERT_EQ(anew.outcome->notes.size(), 1u) << at;
    EXPECT_EQ(anew.outcome->notes[0].rfind("trained from the start: ", 0), 0u);
    EXPECT_EQ(anew.bytes(), whole.bytes()) << at;
  }
  for (size_t length = 0; length < saved.size(); length += saved.size() / 37 + 1) {
    EXPECT_FALSE(ReadCheckpoint(absl::string_view(saved).substr(0, length)).ok());
  }
}

TEST_F(TrainerTest, DivergenceIsTriedAgainOnceAtALowerRateAndThenNamed) {
  options_.optimizer.kind = OptimizerKind::kSgd;
  options_.clip_norm = 0;
  options_.warmup = 0;
  options_.schedule = ScheduleKind::kConstant;
  options_.loss.kind = LossKind::kCrossEntropy;
  options_.learning_rate = 1e30;
  const Trained lost = Run(2);
  EXPECT_EQ(ReasonOf(lost.outcome.status()), "DIVERGED") << lost.outcome.status();
  EXPECT_THAT(std::string(lost.outcome.status().message()), HasSubstr("at step"));
  EXPECT_THAT(std::string(lost.outcome.status().message()), HasSubstr("layer '"));
}

TEST_F(TrainerTest, MemoryIsObeyedByCuttingTheBatchOrRefusedWithANumber) {
  const Trained free = Run(1);
  ASSERT_TRUE(free.outcome.ok());
  EXPECT_EQ(free.outcome->micro_batch, 20);
  options_.memory_bytes = free.outcome->peak_bytes / 2;
  const Trained cut = Run(1);
  ASSERT_TRUE(cut.outcome.ok()) << cut.outcome.status();
  EXPECT_LT(cut.outcome->micro_batch, 20);
  EXPECT_LE(cut.outcome->peak_bytes, options_.memory_bytes);
  options_.memory_bytes = 100;
  const Trained refused = Run(1);
  EXPECT_EQ(refused.outcome.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.outcome.status().message()), HasSubstr("100 bytes"));
}

TEST_F(TrainerTest, PrunedWeightsStayZeroAndTheOthersMove) {
  std::vector<float> values = *model_.graph->initializers["w1"].ToFloats();
  for (size_t i = 0; i < values.size(); i += 3) values[i] = 0;
  AddInitializer(*model_.graph, Tensor::FromFloats("w1", {kInputs, kHidden}, values));
  const Trained trained = Run(2);
  ASSERT_TRUE(trained.outcome.ok());
  for (const Parameter& parameter : trained.parameters) {
    if (parameter.name != "w1") continue;
    for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(parameter.values[i] == 0, i % 3 == 0);
  }
}

TEST_F(TrainerTest, TheValuesThatDoBestOnWhatIsKeptBackAreTaken) {
  options_.validation = 0.25;
  options_.patience = 2;
  options_.epochs = 200;
  options_.learning_rate = 0.05;
  options_.schedule = ScheduleKind::kConstant;
  const Trained trained = Run(2);
  ASSERT_TRUE(trained.outcome.ok()) << trained.outcome.status();
  EXPECT_TRUE(trained.outcome->stopped_early);
  EXPECT_LT(trained.outcome->epochs, 200);
  double best = INFINITY;
  int64_t at = -1;
  for (const CurvePoint& point : trained.outcome->curve) {
    if (std::isfinite(point.validation_loss) && point.validation_loss < best) {
      best = point.validation_loss;
      at = point.step;
    }
  }
  EXPECT_EQ(trained.outcome->best_step, at);
}

TEST_F(TrainerTest, AugmentedExamplesAreTheSameForTheSameKeyOnly) {
  Augmentation noise;
  noise.noise = 0.1;
  noise.mixup = 0.4;
  MicroBatch plain;
  const std::vector<int64_t> places = {3, 5, 9};
  set_->Gather(places, {}, 1, &plain);
  MicroBatch mixed;
  set_->Gather(places, noise, 1, &mixed);
  EXPECT_TRUE(mixed.mixed_labels.has_value());
  EXPECT_GT(mixed.mix, 0);
  EXPECT_LT(mixed.mix, 1);
  MicroBatch again;
  set_->Gather(places, noise, 1, &again);
  EXPECT_EQ(mixed.storage["x"], again.storage["x"]);
  set_->Gather(places, noise, 2, &again);
  EXPECT_NE(mixed.storage["x"], again.storage["x"]);
  EXPECT_NE(mixed.storage["x"], plain.storage["x"]);
}

}  // namespace
}  // namespace lathe::engine
