#include "worker/engine/evaluate/trace.h"

#include <gtest/gtest.h>

namespace lathe::engine {
namespace {

using nlohmann::json;

TEST(QualityOf, IsTheLeadingFigureOfTheTask) {
  struct Case {
    const char* evaluation;
    const char* side;
    const char* name;
    std::optional<double> value;
  };
  const Case cases[] = {
      {R"({"before": {"accuracy": 0.9, "log_loss": 1}})", "before", "accuracy", 0.9},
      {R"({"before": {"accuracy": 0.9}, "after": {"accuracy": 0.8}})", "after", "accuracy", 0.8},
      {R"({"before": {"map_50": 0.7, "map_50_95": 0.5}})", "before", "map_50_95", 0.5},
      {R"({"before": {"token_accuracy": 0.7, "perplexity": 12}})", "before", "perplexity", 12},
      {R"({"before": {"perplexity": null}})", "before", "perplexity", std::nullopt},
      {R"({"before": null, "fidelity": {"a": {"sqnr_db": 30}, "b": {"sqnr_db": 20}}})", "after",
       "sqnr_db", 20},
      {R"({"fidelity": {"a": {"sqnr_db": null}, "b": {"not_compared": "shape"}}})", "after",
       "sqnr_db", std::nullopt},
      {R"({"fidelity": {"a": {"sqnr_db": 30}}})", "before", "sqnr_db", std::nullopt},
      {R"({"not_evaluated": "node 3"})", "after", "", std::nullopt},
      {"null", "after", "", std::nullopt},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.evaluation);
    const QualityFigure figure = QualityOf(json::parse(c.evaluation), c.side);
    EXPECT_EQ(figure.name, c.name);
    EXPECT_EQ(figure.value, c.value);
  }
}

json ThreeSteps() {
  return {{"before", {{"file_bytes", 1000}}},
          {"after", {{"file_bytes", 300}}},
          {"steps", {{{"method", "a"}}, {{"method", "b"}}, {{"method", "c"}}}},
          {"evaluation", {{"before", {{"accuracy", 0.9}}}, {"after", {{"accuracy", 0.7}}}}}};
}

TEST(AddTrace, LeadsFromTheOriginalToTheResult) {
  json report = ThreeSteps();
  AddTrace({{800, {"accuracy", 0.85}, false}, {0, {}, true}}, &report);
  const json expected = json::parse(R"([
    {"step": null, "method": null, "file_bytes": 1000, "figure": "accuracy", "value": 0.9},
    {"step": 0, "method": "a", "file_bytes": 800, "figure": "accuracy", "value": 0.85},
    {"step": 1, "method": "b", "file_bytes": 800, "figure": "accuracy", "value": 0.85},
    {"step": 2, "method": "c", "file_bytes": 300, "figure": "accuracy", "value": 0.7}])");
  EXPECT_EQ(report["trace"], expected);
}

TEST(AddTrace, AFirstStepThatDidNothingIsTheOriginal) {
  json report = ThreeSteps();
  AddTrace({{0, {}, true}, {700, {"accuracy", 0.8}, false}}, &report);
  EXPECT_EQ(report["trace"][1]["file_bytes"], 1000);
  EXPECT_EQ(report["trace"][1]["value"], 0.9);
}

TEST(AddTrace, IsAbsentWithoutPointsOrAnEvaluation) {
  json report = ThreeSteps();
  AddTrace({}, &report);
  EXPECT_FALSE(report.contains("trace"));
  report.erase("evaluation");
  AddTrace({{800, {"accuracy", 0.85}, false}}, &report);
  EXPECT_FALSE(report.contains("trace"));
}

}  // namespace
}  // namespace lathe::engine
