#include "common/report/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "common/recipe/text.h"
#include "common/report/html.h"
#include "common/report/plots.h"
#include "common/report/sections.h"

namespace lathe {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kHostile[] = "</script><img src=x onerror=alert(1)>\"'&\xE2\x80\xA8";

json Layer(const std::string& name, double before, double after) {
  return {{"name", name},
          {"op", "Gemm"},
          {"dims", {4, 8}},
          {"scheme", "8-bit"},
          {"bits", 8},
          {"requested_bits", 8},
          {"rank", nullptr},
          {"sparsity", nullptr},
          {"sqnr_db", 41.2},
          {"relative_error", 0.009},
          {"bytes_before", before},
          {"bytes_after", after},
          {"skipped_reason", nullptr}};
}

json SmallReport() {
  return {
      {"before", {{"file_bytes", 4000}, {"macs", 123456}}},
      {"after", {{"file_bytes", 1000}, {"macs", 123456}}},
      {"inputs", {{"files", {{{"path", "digits.onnx"}, {"sha256", "abc"}, {"size_bytes", 4000}}}}}},
      {"layers", {Layer("fc1", 3000, 800), Layer("fc2", 900, 150)}},
      {"steps", {{{"method", "quantize_weights"}, {"params", {{"bits", 8}}}}}},
      {"warnings", {"something to look at"}},
      {"advice", {"try 4 bits"}}};
}

// What a reader would take for a defect.
void ExpectNoGarbage(const std::string& page) {
  const std::string shown = page.substr(0, page.find("<script"));
  for (const char* garbage :
       {"undefined", "nan ", ">nan", "inf ", ">inf", "NaN", ">null<", "[object"}) {
    const size_t at = shown.find(garbage);
    EXPECT_EQ(at, std::string::npos) << shown.substr(at < 80 ? 0 : at - 80, 160);
  }
}

TEST(ReportPageTest, ShowsWhatTheReportSays) {
  const std::string page = ReportPage(SmallReport());
  for (const char* words :
       {"digits", "quantize_weights (bits 8)", "The file is 4.00x smaller: 4.00&nbsp;kB before",
        "something to look at", "try 4&nbsp;bits", "4,000", "fc1", "41.2", "123,456"}) {
    EXPECT_THAT(page, HasSubstr(words));
  }
  ExpectNoGarbage(page);
}

TEST(ReportPageTest, LeavesOutWhatTheReportLacks) {
  const std::string whole = ReportPage(SmallReport());
  EXPECT_THAT(whole, HasSubstr("id=\"size\""));
  const std::string page = ReportPage(json::object());
  for (const char* section :
       {"summary", "size", "error", "evaluation", "confusion", "weights", "latency", "recipe"}) {
    EXPECT_THAT(page, Not(HasSubstr("id=\"" + std::string(section) + "\"")));
  }
  ExpectNoGarbage(page);
}

TEST(ReportPageTest, EveryKeyMayBeMissing) {
  const json report = SmallReport();
  for (const auto& [key, value] : report.items()) {
    json without = report;
    without.erase(key);
    ExpectNoGarbage(ReportPage(without));
  }
}

// Each value of the report, at any depth, replaced by one of another type.
void ForEachReplaced(json& whole, json& at, const json& by,
                     const std::function<void(const json&)>& see) {
  const json kept = at;
  at = by;
  see(whole);
  at = kept;
  if (!at.is_structured()) return;
  for (json& inner : at) ForEachReplaced(whole, inner, by, see);
}

TEST(ReportPageTest, LatencyInOnnxRuntimeIsARowOfItsOwn) {
  json report = SmallReport();
  report["latency"]["onnxruntime"] = {
      {"version", "1.32.0"}, {"before_ms", 7.5}, {"before_spread_ms", {7.25, 7.75}}};
  const std::string page = ReportPage(report);
  for (const char* text : {"ONNX Runtime 1.32.0", "7.50 ms", "7.25 to 7.75 ms"}) {
    EXPECT_NE(page.find(text), std::string::npos) << text;
  }
  report["latency"]["onnxruntime"] = {{"version", "1.32.0"}, {"after_error", "x"}};
  EXPECT_EQ(ReportPage(report).find("ONNX Runtime 1.32.0"), std::string::npos);
}

TEST(ReportPageTest, ValuesOfOtherTypesDoNotHarm) {
  json report = SmallReport();
  report["evaluation"] = {
      {"before",
       {{"accuracy", 0.9}, {"top_k", {{"5", 1.0}}}, {"confusion_matrix", {{1, 2}, {3, 4}}}}},
      {"after", {{"accuracy", 0.8}, {"confusion_matrix", {{1, 2}, {3, 4}}}}},
      {"fidelity", {{"out", {{"sqnr_db", 20}, {"worst", {{{"index", 1}}}}}}}}};
  report["recipe"] = {{"steps", {{{"fp16", json::object()}}}}, {"seed", 3}};
  report["latency"] = {{"before_ms", 1},
                       {"after_ms", 2},
                       {"before_spread_ms", {1, 2}},
                       {"onnxruntime", {{"version", "1"}, {"after_spread_ms", {1, 2}}}}};
  report["layers"][0]["histogram"] = {{"before", {{"edges", {0, 1, 2}}, {"counts", {1, 2}}}}};
  report["tried"] = {{{"label", "x"}, {"accuracy", 0.7}, {"file_bytes", 100}}};
  report["trace"] = {
      {{"step", nullptr}, {"file_bytes", 9}, {"figure", "accuracy"}, {"value", 0.9}},
      {{"step", 0}, {"method", "m"}, {"file_bytes", 8}, {"figure", "accuracy"}, {"value", 0.8}}};
  for (const char* side : {"before", "after"}) {
    report[side]["bytes_moved_by_op"] = {{"Conv", 7}};
    report[side]["macs_by_op"] = {{"Conv", 3}};
    report[side]["energy_by_op"] = {{"Conv", {{"compute_pj", 1}, {"memory_pj", 2}}}};
  }
  const json kOthers[] = {nullptr,
                          "text",
                          7,
                          -1.5,
                          true,
                          json::array(),
                          json::object(),
                          json::array({json::object()}),
                          std::numeric_limits<double>::quiet_NaN(),
                          1e308};
  size_t seen = 0;
  for (const json& other : kOthers) {
    ForEachReplaced(report, report, other, [&seen](const json& changed) {
      ++seen;
      ExpectNoGarbage(ReportPage(changed));
      ModelPage(changed);
    });
  }
  EXPECT_GT(seen, 500u);
}

TEST(ReportPageTest, NamesCannotBecomeMarkup) {
  json report = SmallReport();
  report["layers"][0]["name"] = kHostile;
  report["layers"][0]["scheme"] = kHostile;
  report["layers"][0]["op"] = kHostile;
  report["layers"][1]["skipped_reason"] = kHostile;
  report["inputs"]["files"][0]["path"] = kHostile;
  report["warnings"] = {kHostile};
  report["steps"][0]["notes"] = {kHostile};
  report["recipe"] = {{"steps", {{{"fp16", {{"targets", {kHostile}}}}}}}};
  report["evaluation"] = {{"not_evaluated", kHostile},
                          {"fidelity", {{kHostile, {{"sqnr_db", 3}}}}}};
  const std::string page = ReportPage(report);
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  EXPECT_THAT(page, HasSubstr("&lt;img src=x onerror=alert(1)&gt;"));
  size_t scripts = 0;
  for (size_t at = 0; (at = page.find("</script", at)) != std::string::npos; ++at) ++scripts;
  EXPECT_EQ(scripts, 2u);  // the data and the page's own
}

TEST(ReportPageTest, FetchesNothing) {
  const std::string page = ReportPage(SmallReport());
  for (const char* fetch : {"http:", "https:", "src=", "@import", "url("})
    EXPECT_THAT(page, Not(HasSubstr(fetch)));
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
}

TEST(ReportPageTest, ChartsOfLargeModelsSumTheSmallLayersAndTheTableHasAll) {
  json report = SmallReport();
  report["layers"] = json::array();
  for (int i = 0; i < 2000; ++i)
    report["layers"].push_back(Layer("layer" + std::to_string(i), 4000 + i, 1000));
  const std::string page = ReportPage(report);
  EXPECT_THAT(page, HasSubstr("the other 1,970 together"));
  EXPECT_THAT(page, HasSubstr("layer1234"));
  EXPECT_THAT(page, HasSubstr("layer0<"));
}

TEST(ModelPageTest, ShowsWhatTheSummarySays) {
  const json summary = {
      {"main_file", "m.onnx"},
      {"parameters", 20},
      {"inputs", {{{"name", "x"}, {"dtype", "float32"}, {"dims", {"batch", nullptr, 3}}}}},
      {"outputs", {{{"name", kHostile}, {"dtype", "float32"}, {"dims", nullptr}}}},
      {"ops", {{"Conv", 3}}},
      {"layers",
       {{{"name", "conv1"},
         {"dims", {2, 10}},
         {"parameters", 20},
         {"macs", nullptr},
         {"methods", {"fp16"}},
         {"not_applicable", {{"low_rank", "it is a vector"}}}}}}};
  const std::string page = ModelPage(summary);
  for (const char* words : {"batch \xC3\x97 ? \xC3\x97 3", "rank unknown", "Conv",
                            "low_rank: it is a vector", "conv1"}) {
    EXPECT_THAT(page, HasSubstr(words));
  }
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  ExpectNoGarbage(page);
}

TEST(RecipeYamlTest, IsReadBackAsTheSameRecipe) {
  for (const char* text : {"{steps: [fp16]}",
                           "{steps: [{quantize_weights: {bits: 4, granularity: group, targets: ['a "
                           "b*', \"c'd: #\"]}}], seed: 7}",
                           "{steps: [{prune_weights: {sparsity: 0.25}}, {low_rank: {energy: "
                           "0.9}}], seed: 18446744073709551615}"}) {
    const auto recipe = ParseRecipe(text);
    ASSERT_TRUE(recipe.ok()) << recipe.status();
    const std::string canonical = CanonicalJson(*recipe);
    const std::string yaml = page::RecipeYaml(json::parse(canonical));
    const auto again = ParseRecipe(yaml);
    ASSERT_TRUE(again.ok()) << yaml << again.status();
    EXPECT_EQ(CanonicalJson(*again), canonical) << yaml;
  }
}

TEST(HistogramPlotTest, RefusesWhatIsNoHistogram) {
  const json good = {{"edges", {-1, 0, 1}}, {"counts", {3, 5}}};
  EXPECT_NE(page::HistogramPlot("w", {{"before", good}}), "");
  for (const json& bad :
       {json{{"edges", {0, 1}}, {"counts", {1, 2}}}, json{{"edges", {0, 0, 1}}, {"counts", {1, 2}}},
        json{{"edges", {0, 1, 2}}, {"counts", {1, -2}}},
        json{{"edges", {0, 1, 2}}, {"counts", {0, 0}}},
        json{{"edges", {-1.7e308, 0, 1.7e308}}, {"counts", {1, 2}}},
        json{{"edges", {0, 1, nullptr}}, {"counts", {1, 2}}}}) {
    EXPECT_EQ(page::HistogramPlot("w", {{"before", bad}}), "") << bad;
  }
}

TEST(HeatMapTest, ShowsNumbersOnlyWhereThereIsRoom) {
  const auto matrix = [](size_t classes) {
    return json(std::vector<std::vector<int>>(classes, std::vector<int>(classes, 77)));
  };
  EXPECT_THAT(page::HeatMap("m", "M", matrix(12), {}), HasSubstr(">77<"));
  EXPECT_THAT(page::HeatMap("m", "M", matrix(13), {}), Not(HasSubstr(">77<")));
  EXPECT_EQ(page::HeatMap("m", "M", matrix(41), {}), "");
  EXPECT_EQ(page::HeatMap("m", "M", {{1, 2}, {3}}, {}), "");
  EXPECT_THAT(page::MostConfused(matrix(41), matrix(41), {}), HasSubstr("77"));
}

}  // namespace
}  // namespace lathe
