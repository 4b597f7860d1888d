// Plots of a page, drawn as SVG when it is made. Coordinates are shares of the box, so that text
// keeps its size on a narrow screen.
#ifndef LATHE_COMMON_REPORT_PLOTS_H_
#define LATHE_COMMON_REPORT_PLOTS_H_

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lathe::page {

// `pair` is {before: {edges, counts}, after: {edges, counts}}, either may be missing: edges
// ascending, one more than counts, counts not negative. Densities over a common axis, heights as
// square roots so that a spike of zeros hides nothing. "" when neither side is a histogram.
std::string HistogramPlot(const std::string& name, const nlohmann::json& pair);

// One figure for each of `names` in the model's order, each point a value in dB; lower is worse.
struct DepthPoint {
  std::string name;
  std::optional<double> first;   // drawn as a filled dot
  std::optional<double> second;  // drawn as a ring
};
// "" when there are fewer than two points.
std::string DepthPlot(const std::vector<DepthPoint>& points, const std::string& first,
                      const std::string& second);

struct ScatterPoint {
  enum class Kind { kBefore, kStep, kAfter, kTried };
  std::string label;
  double x = 0;
  double y = 0;
  Kind kind = Kind::kTried;
};
// A figure, y, called `what` and printed by `text`, against bytes, x; the axis of y spans at least
// `least_range`. A line follows the points that were not merely tried, in their order, where one of
// them is a step's. "" when there are fewer than two points.
std::string SizePlot(const std::vector<ScatterPoint>& points, const std::string& what,
                     std::string (*text)(double), double least_range);

// A figure by step of a training, for one set of examples.
struct CurveSeries {
  std::string label;                              // "training"
  std::vector<std::pair<double, double>> points;  // step, figure; in order
};
// `what` names the figure, printed by `text`. "" when there are fewer than two points.
std::string CurvePlot(const std::vector<CurveSeries>& series, const std::string& what,
                      std::string (*text)(double));

// `matrix[true class][predicted class]` counts of examples, square. `id` is unique on the page.
// Numbers in the cells up to 12 classes, cells alone up to 40, beyond that nothing is drawn;
// `labels` may be empty.
std::string HeatMap(const std::string& id, const std::string& title, const nlohmann::json& matrix,
                    const std::vector<std::string>& labels);

// Of the same matrices, the pairs of classes confused most often; "" when there is none.
std::string MostConfused(const nlohmann::json& before, const nlohmann::json& after,
                         const std::vector<std::string>& labels);

}  // namespace lathe::page

#endif  // LATHE_COMMON_REPORT_PLOTS_H_
