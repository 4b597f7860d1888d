#include "common/report/bars.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/report/html.h"
#include "common/report/number_text.h"

namespace lathe::page {
namespace {

constexpr size_t kMaxLabel = 48;  // characters

double Larger(const Bar& bar) { return std::max(bar.before, bar.after.value_or(0)); }

std::string Rectangle(const char* kind, int y, int height, double share) {
  return absl::StrFormat("<rect class=\"%s\" y=\"%d\" height=\"%d\" width=\"%.3f%%\"/>", kind, y,
                         height, 100 * std::clamp(share, 0.0, 1.0));
}

// Keeps the largest kMaxBars, in order, and sums the others into one more; false when all are kept.
bool SumSmallest(std::vector<Bar>* bars) {
  if (bars->size() <= kMaxBars + 1) return false;
  Bar rest;
  const size_t count = bars->size() - kMaxBars;
  for (size_t i = kMaxBars; i < bars->size(); ++i) {
    const Bar& bar = (*bars)[i];
    rest.before += bar.before;
    if (bar.after) rest.after = rest.after.value_or(0) + *bar.after;
  }
  bars->resize(kMaxBars);
  rest.name = absl::StrCat("the other ", Grouped(static_cast<double>(count)), " together");
  bars->push_back(rest);
  return true;
}

}  // namespace

std::string PairOfBars(double before, std::optional<double> after, double largest) {
  const double scale = largest > 0 ? largest : 1;
  std::string out = absl::StrCat("<svg class=\"pair\" width=\"100%\" height=\"", after ? 15 : 9,
                                 "\" aria-hidden=\"true\" focusable=\"false\">");
  absl::StrAppend(&out, Rectangle(after ? "before" : "after", 0, after ? 7 : 9, before / scale));
  if (after) absl::StrAppend(&out, Rectangle("after", 8, 7, *after / scale));
  return absl::StrCat(out, "</svg>");
}

std::string PairLegend() {
  return "<p class=\"legend\"><span class=\"item\"><span class=\"key before\"></span>before</span>"
         "<span class=\"item\"><span class=\"key after\"></span>after</span></p>\n";
}

std::string BarChart(std::vector<Bar> bars, const std::string& what, std::string (*text)(double)) {
  bool pairs = false;
  for (Bar& bar : bars) {
    bar.before = std::max(bar.before, 0.0);
    if (bar.after) bar.after = std::max(*bar.after, 0.0);
    pairs |= bar.after.has_value();
  }
  std::stable_sort(bars.begin(), bars.end(),
                   [](const Bar& a, const Bar& b) { return Larger(a) > Larger(b); });
  while (!bars.empty() && Larger(bars.back()) <= 0) bars.pop_back();
  if (bars.empty()) return "";
  const double largest = Larger(bars.front());
  const bool summed = SumSmallest(&bars);
  std::string out = absl::StrCat(pairs ? PairLegend() : "", "<ol class=\"bars\" aria-label=\"",
                                 Escape(what), "\">\n");
  for (const Bar& bar : bars) {
    absl::StrAppend(
        &out, "<li><span class=\"label\" title=\"", Escape(Shorten(bar.name, 400)), "\">",
        Name(Shorten(bar.name, kMaxLabel)), "</span>",
        // Drawn to scale, the sum of thousands would leave nothing to see of the others.
        summed && &bar == &bars.back() ? "<span></span>"
                                       : PairOfBars(bar.before, bar.after, largest),
        "<span class=\"value\">", Escape(text(bar.before)));
    if (bar.after) absl::StrAppend(&out, " <i>\xE2\x86\x92</i> ", Escape(text(*bar.after)));
    absl::StrAppend(&out, "</span></li>\n");
  }
  return absl::StrCat(out, "</ol>\n");
}

}  // namespace lathe::page
