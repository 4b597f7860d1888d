#include "worker/engine/evaluate/constraints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lathe::engine {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json Report() {
  return {{"before", {{"file_bytes", 1000}}},
          {"after", {{"file_bytes", 250}, {"macs", 5000}, {"parameters", 80}}},
          {"latency", {{"ratio", 1.04}}},
          {"evaluation",
           {{"before", {{"accuracy", 0.97}}},
            {"after", {{"accuracy", 0.95}}},
            {"fidelity",
             {{"y", {{"sqnr_db", 31.5}}},
              {"z", {{"sqnr_db", 40.0}}},
              {"same", {{"sqnr_db", nullptr}}}}}}}};
}

struct Case {
  const char* name;
  double just_met;
  double just_missed;
};

TEST(ConstraintsTest, EachIsJudgedByItsFigure) {
  for (const Case& c : {Case{"max_accuracy_drop", 0.0201, 0.0199}, Case{"max_file_bytes", 250, 249},
                        Case{"max_file_ratio", 0.25, 0.2499}, Case{"max_latency_ratio", 1.04, 1.03},
                        Case{"min_sqnr_db", 31.5, 31.6}, Case{"max_macs", 5000, 4999},
                        Case{"max_parameters", 80, 79}}) {
    const auto met = JudgeConstraints({{c.name, c.just_met}}, Report());
    ASSERT_EQ(met.size(), 1u) << c.name;
    EXPECT_TRUE(met[0].met) << c.name << ": " << met[0].explanation;
    EXPECT_EQ(MissedConstraints(met), "");
    const auto missed = JudgeConstraints({{c.name, c.just_missed}}, Report());
    EXPECT_FALSE(missed[0].met) << c.name;
    EXPECT_THAT(MissedConstraints(missed), HasSubstr(c.name));
  }
}

TEST(ConstraintsTest, WithoutAFigureTheyAreNotMetAndSayWhatIsMissing) {
  const json bare = {{"before", {{"file_bytes", 10}}}, {"after", {{"file_bytes", 5}}}};
  for (const char* name : {"max_accuracy_drop", "max_latency_ratio", "min_sqnr_db"}) {
    const auto results = JudgeConstraints({{name, 1e6}}, bare);
    ASSERT_EQ(results.size(), 1u);
    EXPECT_FALSE(results[0].met) << name;
    EXPECT_FALSE(results[0].value.has_value()) << name;
    EXPECT_THAT(results[0].explanation, HasSubstr("--data")) << name;
  }
}

TEST(ConstraintsTest, OnnxRuntimesLatencyCountsWhereItIsThere) {
  json report = Report();
  report["latency"]["onnxruntime"] = {{"version", "1.32.0"}, {"ratio", 0.5}};
  const auto in_runtime = JudgeConstraints({{"max_latency_ratio", 0.6}}, report);
  EXPECT_TRUE(in_runtime[0].met);
  EXPECT_EQ(in_runtime[0].value, 0.5);
  EXPECT_THAT(in_runtime[0].explanation, HasSubstr("ONNX Runtime 1.32.0"));
  const auto without = JudgeConstraints({{"max_latency_ratio", 0.6}}, Report());
  EXPECT_FALSE(without[0].met);
  EXPECT_THAT(without[0].explanation, HasSubstr("Lathe's executor"));
}

TEST(ConstraintsTest, AResultThatOnnxRuntimeCannotLoadIsNotFastEnough) {
  json report = Report();
  report["latency"]["onnxruntime"] = {{"version", "1.32.0"},
                                      {"after_error", "cannot be loaded: x"}};
  const auto refused = JudgeConstraints({{"max_latency_ratio", 9}}, report);
  EXPECT_FALSE(refused[0].met);
  EXPECT_FALSE(refused[0].value.has_value());
  EXPECT_THAT(refused[0].explanation, HasSubstr("cannot be loaded: x"));
  // An original that it cannot load either says nothing about the result.
  report["latency"]["onnxruntime"]["before_error"] = "cannot be loaded: x";
  EXPECT_TRUE(JudgeConstraints({{"max_latency_ratio", 1.05}}, report)[0].met);
}

TEST(ConstraintsTest, EqualOutputsMeetAnySqnr) {
  json report = Report();
  report["evaluation"]["fidelity"] = {{"y", {{"sqnr_db", nullptr}}}};
  EXPECT_TRUE(JudgeConstraints({{"min_sqnr_db", 300}}, report)[0].met);
}

TEST(ConstraintsTest, JsonNamesLimitValueAndVerdict) {
  const json out = ConstraintsJson(
      JudgeConstraints({{"max_file_bytes", 100}, {"max_accuracy_drop", 0.5}}, Report()));
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out[0]["name"], "max_accuracy_drop");
  EXPECT_EQ(out[0]["met"], true);
  EXPECT_EQ(out[1]["value"], 250);
  EXPECT_EQ(out[1]["limit"], 100);
  EXPECT_EQ(out[1]["met"], false);
}

}  // namespace
}  // namespace lathe::engine
