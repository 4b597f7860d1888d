// How the training of a recipe's steps went.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/report/html.h"
#include "common/report/json_access.h"
#include "common/report/number_text.h"
#include "common/report/plots.h"
#include "common/report/sections.h"
#include "common/report/table.h"

namespace lathe::page {

using nlohmann::json;

namespace {

std::string LossText(double value) { return absl::StrFormat("%.4g", value); }
std::string ShareText(double value) { return absl::StrFormat("%.1f %%", 100 * value); }

std::vector<CurveSeries> Series(const json& curve, const char* train, const char* validation) {
  std::vector<CurveSeries> out;
  for (const char* key : {train, validation}) {
    CurveSeries series;
    series.label = key == train ? "training" : "validation";
    for (const json& point : curve) {
      const auto x = Number(point, "step");
      const auto y = Number(point, key);
      if (x && y) series.points.emplace_back(*x, *y);
    }
    if (series.points.size() >= 2) out.push_back(std::move(series));
  }
  return out;
}

}  // namespace

std::string TrainingCurves(const json& report) {
  std::string out;
  for (const json& step : List(report, "steps")) {
    const json& training = At(step, "training");
    const json& curve = List(training, "curve");
    if (curve.empty()) continue;
    const std::string loss = CurvePlot(Series(curve, "loss", "validation_loss"), "loss", LossText);
    const std::string accuracy =
        CurvePlot(Series(curve, "accuracy", "validation_accuracy"), "accuracy", ShareText);
    if (loss.empty()) continue;
    absl::StrAppend(&out, "<h3>", Name(Text(step, "method")), "</h3>\n");
    const auto steps = Number(training, "steps");
    const auto batch = Number(training, "batch_size");
    const auto rate = Number(training, "learning_rate");
    if (steps && batch && rate) {
      absl::StrAppend(&out, "<p class=\"hint\">",
                      Escape(absl::StrFormat("Loss %s over %.0f steps of %.0f examples, learning "
                                             "rate %.3g.",
                                             Text(training, "loss"), *steps, *batch, *rate)),
                      "</p>\n");
    }
    absl::StrAppend(&out, loss, accuracy);
  }
  return out;
}

}  // namespace lathe::page
