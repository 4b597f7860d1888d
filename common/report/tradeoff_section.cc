// Quality against file size: the original, the model after each step, the result, and what was
// tried beside them.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/report/html.h"
#include "common/report/json_access.h"
#include "common/report/number_text.h"
#include "common/report/plots.h"
#include "common/report/sections.h"
#include "common/report/table.h"

namespace lathe::page {
namespace {

using nlohmann::json;

constexpr size_t kMaxPoints = 200;

std::string InDecibels(double value) { return absl::StrFormat("%.1f dB", value); }

// The figure of the trace; accuracy where there is none.
std::string FigureOf(const json& report) {
  for (const json& point : List(report, "trace")) {
    if (std::string figure = Text(point, "figure"); !figure.empty()) return figure;
  }
  return "accuracy";
}

MetricText Shown(const std::string& figure) {
  if (figure == "sqnr_db") return {"Outputs, SQNR", InDecibels, false};
  if (const auto text = FindMetricText(figure)) return *text;
  return {figure, Significant, false};
}

// In their order, the original first and the result last; a step that has no figure is left out.
std::vector<ScatterPoint> Traced(const json& report) {
  std::vector<ScatterPoint> points;
  const json& trace = List(report, "trace");
  for (size_t i = 0; i < trace.size() && i < kMaxPoints; ++i) {
    const auto value = Number(trace[i], "value");
    const auto bytes = Number(trace[i], "file_bytes");
    if (!value || !bytes) continue;
    const auto step = Number(trace[i], "step");
    std::string label = "original";
    if (step) label = absl::StrFormat("%.0f. %s", *step + 1, Text(trace[i], "method"));
    points.push_back({std::move(label), *bytes, *value,
                      !step                   ? ScatterPoint::Kind::kBefore
                      : i + 1 == trace.size() ? ScatterPoint::Kind::kAfter
                                              : ScatterPoint::Kind::kStep});
  }
  return points;
}

std::vector<ScatterPoint> BeforeAndAfter(const json& report, const char* figure) {
  std::vector<ScatterPoint> points;
  for (const char* side : {"before", "after"}) {
    const auto value = Number(report, {"evaluation", side, figure});
    const auto bytes = Number(report, {side, "file_bytes"});
    if (!value || !bytes) continue;
    const bool before = side == std::string("before");
    points.push_back({before ? "original" : "this job", *bytes, *value,
                      before ? ScatterPoint::Kind::kBefore : ScatterPoint::Kind::kAfter});
  }
  return points;
}

}  // namespace

std::string TradeoffTitle(const json& report) {
  return absl::StrCat(Shown(FigureOf(report)).label, " against size");
}

std::string QualityAgainstSize(const json& report) {
  const std::string figure = FigureOf(report);
  std::vector<ScatterPoint> points = Traced(report);
  if (points.empty()) points = BeforeAndAfter(report, figure.c_str());
  for (const json& tried : List(report, "tried")) {
    const auto value = Number(tried, figure.c_str());
    const auto bytes = Number(tried, "file_bytes");
    if (value && bytes && points.size() < kMaxPoints) {
      points.push_back({Text(tried, "label"), *bytes, *value, ScatterPoint::Kind::kTried});
    }
  }
  const MetricText shown = Shown(figure);
  const std::string plot = SizePlot(points, shown.label, shown.text, shown.share ? 0.004 : 0);
  if (plot.empty()) return "";
  const bool traced = !List(report, "trace").empty();
  Table table("tried", traced ? "The model after each step" : "What was tried");
  table.AddColumn("Model");
  table.AddColumn(shown.label, Table::kNumber);
  table.AddColumn("File", Table::kNumber);
  for (const ScatterPoint& point : points) {
    table.AddRow(
        {Cell::OfName(point.label), Cell::Of(point.y, shown.text), Cell::Of(point.x, Bytes)});
  }
  table.SetSortable();
  std::string hint;
  if (traced) {
    const bool lower = figure == "perplexity" || figure == "mae";
    hint = absl::StrCat(
        "<p class=\"hint\">Grey is the original, a ring the model after a step, the filled dot the "
        "result; the line follows the recipe. ",
        lower ? "Lower" : "Upper", " left is better.</p>\n");
  }
  return absl::StrCat(hint, plot, table.Html());
}

}  // namespace lathe::page
