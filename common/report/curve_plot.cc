#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/report/html.h"
#include "common/report/plot_axis.h"
#include "common/report/plots.h"

namespace lathe::page {

std::string CurvePlot(const std::vector<CurveSeries>& series, const std::string& what,
                      std::string (*text)(double)) {
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  double first = low;
  double last = high;
  size_t points = 0;
  for (const CurveSeries& one : series) {
    for (const auto& [x, y] : one.points) {
      if (!std::isfinite(x) || !std::isfinite(y)) continue;
      low = std::min(low, y);
      high = std::max(high, y);
      first = std::min(first, x);
      last = std::max(last, x);
      ++points;
    }
  }
  if (points < 2 || first >= last) return "";
  const Axis y_axis = Axis::Over(low, high, high > low ? 0 : 1e-3 + std::abs(high) * 0.1);
  const Axis x_axis{first, last};
  std::string out = OpenPlot(what + " by step of the training");
  absl::StrAppend(&out, HorizontalGrid(y_axis, text));
  // Coordinates of a path cannot be shares of the width: each piece is a line of its own.
  for (size_t s = 0; s < series.size(); ++s) {
    const char* kind = s == 0 ? "curve" : "curve second";
    const std::pair<double, double>* before = nullptr;
    for (const auto& point : series[s].points) {
      if (!std::isfinite(point.first) || !std::isfinite(point.second)) continue;
      if (before != nullptr) {
        absl::StrAppendFormat(
            &out, "<line class=\"%s\" x1=\"%.2f%%\" y1=\"%.1f\" x2=\"%.2f%%\" y2=\"%.1f\"/>\n",
            kind, PercentX(x_axis.Share(before->first)), PixelY(y_axis, before->second),
            PercentX(x_axis.Share(point.first)), PixelY(y_axis, point.second));
      }
      before = &point;
    }
    if (before != nullptr && series.size() > 1) {
      absl::StrAppendFormat(&out,
                            "<text class=\"mark\" x=\"%.2f%%\" y=\"%.1f\" text-anchor=\"end\">%s"
                            "</text>\n",
                            PercentX(1), PixelY(y_axis, before->second) + (s == 0 ? 14 : -6),
                            Escape(series[s].label));
    }
  }
  absl::StrAppendFormat(&out, "<text x=\"%.2f%%\" y=\"%.0f\">%s</text>\n", PercentX(0.5), 12.0,
                        Escape(what));
  absl::StrAppendFormat(&out,
                        "<text x=\"%.2f%%\" y=\"%.0f\">step %.0f</text>"
                        "<text x=\"%.2f%%\" y=\"%.0f\" text-anchor=\"end\">step "
                        "%.0f</text>\n",
                        PercentX(0), kPlotHeight - 6, first, PercentX(1), kPlotHeight - 6, last);
  absl::StrAppend(&out, "</svg>\n");
  return out;
}

}  // namespace lathe::page
