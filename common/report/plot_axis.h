// What the plots of points and curves share: axes, grid, and where a value lies (internal to
// plots.h).
#ifndef LATHE_COMMON_REPORT_PLOT_AXIS_H_
#define LATHE_COMMON_REPORT_PLOT_AXIS_H_

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/report/html.h"

namespace lathe::page {

inline constexpr double kPlotHeight = 240;  // pixels
inline constexpr double kPlotTop = 18;
inline constexpr double kPlotBottom = 24;
inline constexpr double kPlotLeft = 0.13;  // shares of the width that points lie within
inline constexpr double kPlotRight = 0.97;

// The smallest of 1, 2, 5 times a power of ten that divides `range` into at most four.
inline double TickStep(double range) {
  const double power = std::pow(10, std::floor(std::log10(range / 4)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power * 4 >= range) return factor * power;
  }
  return 10 * power;
}

// An axis over [low, high], which differ.
struct Axis {
  double low = 0;
  double high = 1;

  static Axis Over(double low, double high, double least_range) {
    const double room = std::max((high - low) * 0.08, least_range / 2);
    return {low - room, high + room};
  }
  double Share(double value) const { return (value - low) / (high - low); }
  std::vector<double> Ticks() const {
    const double step = TickStep(high - low);
    std::vector<double> ticks;
    for (double at = std::ceil(low / step) * step; at <= high && ticks.size() < 8; at += step) {
      ticks.push_back(std::abs(at) < step / 1000 ? 0 : at);
    }
    return ticks;
  }
};

inline double PixelY(const Axis& axis, double value) {
  return kPlotTop + (1 - axis.Share(value)) * (kPlotHeight - kPlotTop - kPlotBottom);
}

inline double PercentX(double share) {
  return 100 * (kPlotLeft + share * (kPlotRight - kPlotLeft));
}

inline std::string OpenPlot(const std::string& what) {
  return absl::StrCat("<svg class=\"plot\" width=\"100%\" height=\"", kPlotHeight,
                      "\" role=\"img\" aria-label=\"", Escape(what), "\">\n");
}

template <typename Label>
std::string HorizontalGrid(const Axis& axis, Label&& label) {
  std::string out;
  for (const double tick : axis.Ticks()) {
    const double y = PixelY(axis, tick);
    absl::StrAppendFormat(&out,
                          "<line class=\"grid\" x1=\"0\" x2=\"100%%\" y1=\"%.1f\" y2=\"%.1f\"/>"
                          "<text x=\"0\" y=\"%.1f\">%s</text>\n",
                          y, y, y - 4, Escape(label(tick)));
  }
  return out;
}

}  // namespace lathe::page

#endif  // LATHE_COMMON_REPORT_PLOT_AXIS_H_
