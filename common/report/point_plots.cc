#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/report/html.h"
#include "common/report/number_text.h"
#include "common/report/plot_axis.h"
#include "common/report/plots.h"
#include "common/report/table.h"

namespace lathe::page {
namespace {

constexpr size_t kMaxLabel = 30;  // characters

// "2 MB", not "2.00 MB".
std::string TickBytes(double bytes) {
  std::string text = Bytes(bytes);
  const size_t space = text.find(' ');
  const size_t point = text.find('.');
  if (point == std::string::npos || point > space) return text;
  size_t end = space;
  while (text[end - 1] == '0') --end;
  if (text[end - 1] == '.') --end;
  return text.erase(end, space - end);
}

// Puts labels beside, above or below their points, where no point and no earlier label is; one that
// has no such place is left out, and the table beside the plot has it.
class Labels {
 public:
  Labels(const std::vector<ScatterPoint>& points, const Axis& x_axis, const Axis& y_axis) {
    for (const ScatterPoint& point : points) {
      const double x = PercentX(x_axis.Share(point.x)) / 100 * kNominalWidth;
      const double y = PixelY(y_axis, point.y);
      taken_.push_back({x - 6, x + 6, y - 6, y + 6});
    }
  }

  void Place(const ScatterPoint& point, double x_percent, double y, std::string* out) {
    const std::string text = Shorten(point.label, kMaxLabel);
    const double width = kCharacterWidth * static_cast<double>(std::min(text.size(), kMaxLabel));
    const double x = x_percent / 100 * kNominalWidth;
    struct Place {
      double dx, dy;
      const char* anchor;
      double left;
    };
    const Place places[] = {{10, 4, "start", x + 8},
                            {-10, 4, "end", x - 8 - width},
                            {0, -11, "middle", x - width / 2},
                            {0, 19, "middle", x - width / 2}};
    // A line runs through steps from one side to the other.
    const bool step = point.kind == ScatterPoint::Kind::kStep;
    for (size_t i = 0; i < 4; ++i) {
      const Place& place = places[step ? (i + 2) % 4 : i];
      const Box box{place.left, place.left + width, y + place.dy - 11, y + place.dy + 3};
      if (box.left < 0 || box.right > kNominalWidth || box.top < 0 || Hits(box)) continue;
      taken_.push_back(box);
      absl::StrAppendFormat(out,
                            "<text class=\"mark%s\" x=\"%.2f%%\" y=\"%.1f\" dx=\"%.0f\" "
                            "text-anchor=\"%s\">%s</text>\n",
                            step || point.kind == ScatterPoint::Kind::kTried ? " extra" : "",
                            x_percent, y + place.dy, place.dx, place.anchor, Escape(text));
      return;
    }
  }

 private:
  static constexpr double kNominalWidth = 900;  // pixels; narrow screens show fewer labels
  static constexpr double kCharacterWidth = 7;
  struct Box {
    double left, right, top, bottom;
  };
  bool Hits(const Box& box) const {
    return std::any_of(taken_.begin(), taken_.end(), [&box](const Box& other) {
      return box.left < other.right && other.left < box.right && box.top < other.bottom &&
             other.top < box.bottom;
    });
  }
  std::vector<Box> taken_;
};

std::string Dot(const char* kind, double x_percent, double y, int radius,
                const std::string& title) {
  return absl::StrFormat(
      "<circle class=\"%s\" cx=\"%.2f%%\" cy=\"%.1f\" r=\"%d\"><title>%s</title></circle>", kind,
      x_percent, y, radius, Escape(title));
}

}  // namespace

std::string DepthPlot(const std::vector<DepthPoint>& points, const std::string& first,
                      const std::string& second) {
  double low = 0;  // 0 dB, where noise is as large as the signal, is always in the picture
  double high = 0;
  bool any_first = false;
  bool any_second = false;
  for (const DepthPoint& point : points) {
    any_first |= point.first.has_value();
    any_second |= point.second.has_value();
    for (const auto& value : {point.first, point.second}) {
      if (!value) continue;
      low = std::min(low, *value);
      high = std::max(high, *value);
    }
  }
  if (points.size() < 2 || (!any_first && !any_second)) return "";
  const Axis axis{low, Axis::Over(low, high, 6).high};
  std::string out = "<p class=\"legend\">";
  const auto key = [&out](const char* kind, const std::string& label) {
    absl::StrAppend(&out, "<span class=\"item\"><span class=\"key dot ", kind, "\"></span>",
                    Escape(label), "</span>");
  };
  if (any_first) key("after", first);
  if (any_second) key("ring", second);
  absl::StrAppend(&out, "</p>\n",
                  OpenPlot("SQNR by layer, in the model's order; the table has the numbers"),
                  HorizontalGrid(axis, [](double tick) { return absl::StrCat(tick, " dB"); }));
  const int radius = points.size() > 150 ? 2 : 4;
  for (size_t i = 0; i < points.size(); ++i) {
    const double x = PercentX(static_cast<double>(i) / static_cast<double>(points.size() - 1));
    const std::string name = Shorten(points[i].name, 80);
    if (points[i].second) {
      out += Dot("ring", x, PixelY(axis, *points[i].second), radius,
                 absl::StrCat(name, ": ", Significant(*points[i].second), " dB, ", second));
    }
    if (points[i].first) {
      out += Dot("after", x, PixelY(axis, *points[i].first), radius,
                 absl::StrCat(name, ": ", Significant(*points[i].first), " dB, ", first));
    }
  }
  absl::StrAppendFormat(
      &out,
      "\n<text x=\"%.1f%%\" y=\"%.0f\">first layer</text>"
      "<text x=\"%.1f%%\" y=\"%.0f\" text-anchor=\"end\">last layer</text></svg>\n",
      100 * kPlotLeft, kPlotHeight - 6, 100 * kPlotRight, kPlotHeight - 6);
  return out;
}

std::string SizePlot(const std::vector<ScatterPoint>& points, const std::string& what,
                     std::string (*text)(double), double least_range) {
  if (points.size() < 2) return "";
  double low = points[0].y;
  double high = points[0].y;
  double largest = 0;
  for (const ScatterPoint& point : points) {
    low = std::min(low, point.y);
    high = std::max(high, point.y);
    largest = std::max(largest, point.x);
  }
  // All equal: some room above and below.
  const double room = std::max(least_range, high > low ? 0 : std::max(1e-6, std::abs(high) * 0.01));
  const Axis y_axis = Axis::Over(low, high, room);
  const Axis x_axis{0, largest > 0 ? largest * 1.02 : 1};
  const double range = y_axis.high - y_axis.low;
  const bool share = least_range > 0;
  const auto tick_text = [share, range, text](double tick) {
    return share ? Percent(tick, range < 0.04 ? 2 : range < 0.2 ? 1 : 0) : text(tick);
  };
  std::string out = absl::StrCat(OpenPlot(what + " against file size; the table has the numbers"),
                                 HorizontalGrid(y_axis, tick_text));
  for (const double tick : x_axis.Ticks()) {
    absl::StrAppendFormat(&out, "<text x=\"%.2f%%\" y=\"%.0f\" text-anchor=\"middle\">%s</text>\n",
                          PercentX(x_axis.Share(tick)), kPlotHeight - 6, TickBytes(tick));
  }
  const auto at = [&](const ScatterPoint& point) {
    return std::pair(PercentX(x_axis.Share(point.x)), PixelY(y_axis, point.y));
  };
  const bool stepped = std::any_of(points.begin(), points.end(), [](const ScatterPoint& point) {
    return point.kind == ScatterPoint::Kind::kStep;
  });
  const ScatterPoint* last = nullptr;
  for (const ScatterPoint& point : points) {
    if (!stepped || point.kind == ScatterPoint::Kind::kTried) continue;
    if (last != nullptr) {
      absl::StrAppendFormat(
          &out, "<line class=\"way\" x1=\"%.2f%%\" y1=\"%.1f\" x2=\"%.2f%%\" y2=\"%.1f\"/>\n",
          at(*last).first, at(*last).second, at(point).first, at(point).second);
    }
    last = &point;
  }
  Labels labels(points, x_axis, y_axis);
  for (const ScatterPoint& point : points) {
    const bool ring =
        point.kind == ScatterPoint::Kind::kTried || point.kind == ScatterPoint::Kind::kStep;
    const char* kind = ring                                        ? "ring"
                       : point.kind == ScatterPoint::Kind::kBefore ? "before"
                                                                   : "after";
    const auto [x, y] = at(point);
    out += Dot(kind, x, y, ring ? 5 : 6,
               absl::StrCat(point.label, ": ", text(point.y), ", ", Bytes(point.x)));
    labels.Place(point, x, y, &out);
  }
  return absl::StrCat(out, "</svg>\n");
}

}  // namespace lathe::page
