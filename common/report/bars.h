// Horizontal bars, drawn when the page is made: a row each, its name above or beside, its numbers
// as text.
#ifndef LATHE_COMMON_REPORT_BARS_H_
#define LATHE_COMMON_REPORT_BARS_H_

#include <optional>
#include <string>
#include <vector>

namespace lathe::page {

// Most rows that a chart shows: the largest ones, and one row more, in numbers alone, for the sum
// of all others.
inline constexpr size_t kMaxBars = 30;

struct Bar {
  std::string name;  // from the model, or plain text
  double before = 0;
  std::optional<double> after;  // without: one bar a row
};

// Largest first, by the larger of the two. Negative values count as 0. `text` prints a value,
// `what` says what the bars are ("Bytes by layer") for those who do not see them. "" when nothing
// is above 0.
std::string BarChart(std::vector<Bar> bars, const std::string& what, std::string (*text)(double));

// The two bars alone, as wide as their box.
std::string PairOfBars(double before, std::optional<double> after, double largest);

// "before" and "after" with their colours.
std::string PairLegend();

}  // namespace lathe::page

#endif  // LATHE_COMMON_REPORT_BARS_H_
