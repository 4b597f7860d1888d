#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/report/html.h"
#include "common/report/json_access.h"
#include "common/report/number_text.h"
#include "common/report/plots.h"

namespace lathe::page {
namespace {

using nlohmann::json;

constexpr size_t kMaxBins = 1024;
constexpr double kHeight = 100;  // of the plot's own coordinates, as wide as high

struct Histogram {
  std::vector<double> edges;    // ascending, one more than density
  std::vector<double> density;  // share of all per unit of the axis
  double zero_share = 0;        // of the bin that holds 0
};

Histogram Read(const json& value) {
  Histogram out;
  std::vector<double> counts = Numbers(At(value, "counts"));
  std::vector<double> edges = Numbers(At(value, "edges"));
  if (counts.empty() || counts.size() > kMaxBins || edges.size() != counts.size() + 1) return out;
  double total = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] < 0 || !(edges[i] < edges[i + 1])) return out;
    total += counts[i];
  }
  if (!(total > 0) || !std::isfinite(total) || !std::isfinite(edges.back() - edges.front()))
    return out;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double share = counts[i] / total;
    out.density.push_back(share / (edges[i + 1] - edges[i]));
    if (edges[i] <= 0 && 0 < edges[i + 1]) out.zero_share = share;
  }
  out.edges = std::move(edges);
  return out;
}

// The outline of the bins in the plot's coordinates: x of [low, high] and the square root of
// density over `peak` to [0, kHeight].
std::string Outline(const Histogram& histogram, double low, double high, double peak) {
  const auto x = [&](double value) { return kHeight * ((value - low) / (high - low)); };
  std::string path = absl::StrFormat("M%.2f %.2f", x(histogram.edges.front()), kHeight);
  for (size_t i = 0; i < histogram.density.size(); ++i) {
    const double y = kHeight - (kHeight - 3) * std::sqrt(histogram.density[i] / peak);
    absl::StrAppendFormat(&path, "V%.2fH%.2f", y, x(histogram.edges[i + 1]));
  }
  return absl::StrFormat("%sV%.2fZ", path, kHeight);
}

}  // namespace

std::string HistogramPlot(const std::string& name, const json& pair) {
  const Histogram before = Read(At(pair, "before"));
  const Histogram after = Read(At(pair, "after"));
  if (before.edges.empty() && after.edges.empty()) return "";
  double low = HUGE_VAL;
  double high = -HUGE_VAL;
  double peak = 0;
  for (const Histogram* side : {&before, &after}) {
    if (side->edges.empty()) continue;
    low = std::min(low, side->edges.front());
    high = std::max(high, side->edges.back());
    peak = std::max(peak, *std::max_element(side->density.begin(), side->density.end()));
  }
  if (!(peak > 0) || !std::isfinite(peak) || !std::isfinite(high - low)) return "";
  std::string out =
      absl::StrCat("<figure class=\"histogram\"><figcaption title=\"", Escape(Shorten(name, 400)),
                   "\">", Name(Shorten(name, 40)),
                   "</figcaption>\n<svg viewBox=\"0 0 100 100\" preserveAspectRatio=\"none\" "
                   "role=\"img\" aria-label=\"Histogram from ",
                   Significant(low), " to ", Significant(high), "\">");
  if (!before.edges.empty()) {
    absl::StrAppend(&out, "<path class=\"before\" d=\"", Outline(before, low, high, peak), "\"/>");
  }
  if (!after.edges.empty()) {
    absl::StrAppend(&out, "<path class=\"after-line\" d=\"", Outline(after, low, high, peak),
                    "\"/>");
  }
  absl::StrAppend(&out, "</svg>\n<p class=\"axis\"><span>", Significant(low), "</span>");
  if (low < 0 && high > 0 && after.zero_share >= 0.2) {
    absl::StrAppend(&out, "<span>", Percent(after.zero_share, 0), " in the bin at 0</span>");
  }
  return absl::StrCat(out, "<span>", Significant(high), "</span></p></figure>\n");
}

}  // namespace lathe::page
