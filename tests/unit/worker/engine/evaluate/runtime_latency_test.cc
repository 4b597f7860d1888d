// What a report says of another runtime, whatever that runtime does.
#include "worker/engine/evaluate/runtime_latency.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace lathe::engine {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// How one model behaves in the runtime: "" for a status that is OK.
struct Behaviour {
  double seconds = 0;
  std::string load_error;
  std::string run_error;
  int fails_from_run = 0;  // the first run that gives run_error
};

// A runtime whose clock runs only while its models do.
class FakeRuntime : public RuntimeProbe {
 public:
  const std::string& version() const override { return version_; }
  absl::StatusOr<std::unique_ptr<RuntimeSession>> Open(const std::string& path,
                                                       const RuntimeOptions& options) override {
    opened_.push_back({path, options});
    const Behaviour& behaviour = models_.at(path);
    if (!behaviour.load_error.empty()) return absl::InvalidArgumentError(behaviour.load_error);
    return std::make_unique<Session>(behaviour, &now_);
  }

  std::map<std::string, Behaviour> models_;
  std::vector<std::pair<std::string, RuntimeOptions>> opened_;
  double now_ = 100;

 private:
  class Session : public RuntimeSession {
   public:
    Session(Behaviour behaviour, double* now) : behaviour_(std::move(behaviour)), now_(now) {}
    const std::vector<std::string>& output_names() const override { return names_; }
    absl::StatusOr<std::vector<Value>> Run(const std::map<std::string, Value>&) override {
      if (!behaviour_.run_error.empty() && runs_++ >= behaviour_.fails_from_run) {
        return absl::InvalidArgumentError(behaviour_.run_error);
      }
      *now_ += behaviour_.seconds;
      return std::vector<Value>{Value()};
    }

   private:
    const std::vector<std::string> names_ = {"y"};
    const Behaviour behaviour_;
    double* const now_;
    int runs_ = 0;
  };

  const std::string version_ = "9.8.7";
};

class RuntimeLatencyTest : public testing::Test {
 protected:
  RuntimeLatencyTest() {
    request_.runtime = [this]() -> absl::StatusOr<RuntimeProbe*> { return &runtime_; };
    request_.before = {"before.onnx", 1000, 50};
    request_.after = {"after.onnx", 300, -1};
    request_.inputs = &inputs_;
    request_.examples = 8;
    request_.seconds = [this] { return runtime_.now_; };
    runtime_.models_ = {{"before.onnx", {0.004, "", "", 0}}, {"after.onnx", {0.001, "", "", 0}}};
  }
  json Measured() {
    const absl::StatusOr<json> figure = MeasureInRuntime(request_);
    EXPECT_TRUE(figure.ok()) << figure.status();
    return figure.value_or(json());
  }

  FakeRuntime runtime_;
  std::map<std::string, Value> inputs_;
  RuntimeLatencyRequest request_;
};

TEST_F(RuntimeLatencyTest, BothModelsAreMeasuredInTurn) {
  const json figure = Measured();
  EXPECT_EQ(figure["version"], "9.8.7");
  EXPECT_EQ(figure["threads"], 1);
  EXPECT_EQ(figure["batch"], 8);
  EXPECT_EQ(figure["runs"], 200);
  // Sums of binary fractions: a few units in the last place of the clock, 100 s.
  EXPECT_NEAR(figure["before_ms"].get<double>(), 4, 1e-8);
  EXPECT_NEAR(figure["after_ms"].get<double>(), 1, 1e-8);
  EXPECT_NEAR(figure["ratio"].get<double>(), 0.25, 1e-8);
  EXPECT_NEAR(figure["after_spread_ms"][1].get<double>(), 1, 1e-8);
  EXPECT_THAT(RuntimeWarnings(figure), IsEmpty());
}

TEST_F(RuntimeLatencyTest, TheRuntimeIsToldWhatTheModelsTake) {
  Measured();
  ASSERT_EQ(runtime_.opened_.size(), 2u);
  EXPECT_EQ(runtime_.opened_[0].second.model_bytes, 1000);
  EXPECT_EQ(runtime_.opened_[0].second.activation_bytes, 50);
  EXPECT_EQ(runtime_.opened_[1].second.activation_bytes, 0);  // -1: not known
  EXPECT_EQ(runtime_.opened_[1].second.threads, 1);
}

TEST_F(RuntimeLatencyTest, OneModelAloneHasNoAfter) {
  request_.after = {};
  const json figure = Measured();
  EXPECT_TRUE(figure.contains("before_ms"));
  for (const char* key : {"after_ms", "after_spread_ms", "after_error", "ratio"}) {
    EXPECT_FALSE(figure.contains(key)) << key;
  }
}

TEST_F(RuntimeLatencyTest, AModelThatCannotBeLoadedIsToldAndTheOtherIsMeasured) {
  runtime_.models_["after.onnx"].load_error = "no kernel for MatMulNBits";
  const json figure = Measured();
  EXPECT_NEAR(figure["before_ms"].get<double>(), 4, 1e-8);
  EXPECT_EQ(figure["after_error"], "cannot be loaded: no kernel for MatMulNBits");
  EXPECT_FALSE(figure.contains("ratio"));
  EXPECT_FALSE(figure.contains("after_ms"));
  EXPECT_THAT(RuntimeWarnings(figure),
              ElementsAre("in ONNX Runtime 9.8.7 the compressed model cannot be loaded: no kernel "
                          "for MatMulNBits"));
}

TEST_F(RuntimeLatencyTest, AModelThatCannotBeRunIsToldAndTheOtherIsMeasured) {
  runtime_.models_["before.onnx"].run_error = "shapes differ";
  const json figure = Measured();
  EXPECT_EQ(figure["before_error"], "cannot be run: shapes differ");
  EXPECT_NEAR(figure["after_ms"].get<double>(), 1, 1e-8);
  EXPECT_THAT(RuntimeWarnings(figure),
              ElementsAre(HasSubstr("the model cannot be run: shapes differ")));
}

TEST_F(RuntimeLatencyTest, WhenNeitherLoadsThereIsNothingButTheErrors) {
  for (auto& [path, behaviour] : runtime_.models_) behaviour.load_error = "bad";
  const json figure = Measured();
  EXPECT_TRUE(figure.contains("before_error") && figure.contains("after_error"));
  EXPECT_FALSE(figure.contains("runs"));
  EXPECT_EQ(RuntimeWarnings(figure).size(), 2u);
}

TEST_F(RuntimeLatencyTest, AModelThatFailsLaterIsNotMeasured) {
  runtime_.models_["after.onnx"].run_error = "out of memory";
  runtime_.models_["after.onnx"].fails_from_run = 3;
  const json figure = Measured();
  EXPECT_EQ(figure["not_measured"], "out of memory");
  EXPECT_FALSE(figure.contains("ratio"));
  EXPECT_THAT(RuntimeWarnings(figure), ElementsAre(HasSubstr("was not measured: out of memory")));
}

TEST_F(RuntimeLatencyTest, ARuntimeThatIsNotThereIsTold) {
  request_.runtime = []() -> absl::StatusOr<RuntimeProbe*> {
    return absl::NotFoundError("there is no file");
  };
  const json figure = Measured();
  EXPECT_EQ(figure, json({{"not_measured", "there is no file"}}));
  EXPECT_THAT(RuntimeWarnings(figure),
              ElementsAre("latency in ONNX Runtime was not measured: there is no file"));
}

TEST_F(RuntimeLatencyTest, AMessageIsCutToWhatAReportCanHold) {
  runtime_.models_["before.onnx"].load_error = std::string(1 << 20, 'x');
  EXPECT_LT(Measured()["before_error"].get<std::string>().size(), 2100u);
}

TEST_F(RuntimeLatencyTest, CancellingEndsItAtAnyMoment) {
  for (const int at : {0, 1, 2, 50}) {
    int asked = 0;
    request_.cancelled = [&asked, at] { return asked++ >= at; };
    EXPECT_EQ(MeasureInRuntime(request_).status().code(), absl::StatusCode::kCancelled) << at;
    EXPECT_LE(asked, at + 2);
  }
}

}  // namespace
}  // namespace lathe::engine
