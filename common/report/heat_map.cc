#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/report/html.h"
#include "common/report/json_access.h"
#include "common/report/number_text.h"
#include "common/report/plots.h"
#include "common/report/table.h"

namespace lathe::page {
namespace {

using nlohmann::json;

constexpr size_t kMaxNumbered = 12;
constexpr size_t kMaxDrawn = 40;
constexpr size_t kMaxPairs = 10;
constexpr size_t kMaxClasses = 2000;

// Rows of equal length, as many as there are columns; empty for anything else.
std::vector<std::vector<double>> Square(const json& matrix) {
  std::vector<std::vector<double>> rows;
  if (!matrix.is_array() || matrix.size() > kMaxClasses) return {};
  for (const json& item : matrix) {
    rows.push_back(Numbers(item));
    if (rows.back().size() != matrix.size()) return {};
  }
  return rows;
}

std::string ClassName(const std::vector<std::string>& labels, size_t index) {
  return index < labels.size() ? Shorten(labels[index], 24) : absl::StrCat(index);
}

}  // namespace

std::string HeatMap(const std::string& id, const std::string& title, const json& matrix,
                    const std::vector<std::string>& labels) {
  const auto rows = Square(matrix);
  if (rows.size() < 2 || rows.size() > kMaxDrawn) return "";
  const bool numbered = rows.size() <= kMaxNumbered;
  std::string out = absl::StrCat(
      "<div class=\"scroll heat-box\" tabindex=\"0\" role=\"region\" aria-label=\"", Escape(title),
      "\"><table class=\"heat", numbered ? "" : " small", "\" id=\"", id, "\"><caption>",
      Escape(title), "</caption>\n<thead><tr><td class=\"corner\">true \\ predicted</td>");
  for (size_t c = 0; c < rows.size(); ++c) {
    absl::StrAppend(&out, "<th scope=\"col\">", Escape(ClassName(labels, c)), "</th>");
  }
  absl::StrAppend(&out, "</tr></thead>\n<tbody>\n");
  for (size_t r = 0; r < rows.size(); ++r) {
    double sum = 0;
    for (const double count : rows[r]) sum += std::max(count, 0.0);
    absl::StrAppend(&out, "<tr><th scope=\"row\">", Escape(ClassName(labels, r)), "</th>");
    for (size_t c = 0; c < rows.size(); ++c) {
      const double share = sum > 0 ? std::clamp(rows[r][c] / sum, 0.0, 1.0) : 0;
      absl::StrAppendFormat(&out, "<td style=\"--s:%.3f\" title=\"%s as %s: %s\">%s</td>",
                            std::sqrt(share), Escape(ClassName(labels, r)),
                            Escape(ClassName(labels, c)), Grouped(rows[r][c]),
                            numbered ? Grouped(rows[r][c]) : "");
    }
    absl::StrAppend(&out, "</tr>\n");
  }
  return absl::StrCat(out, "</tbody></table></div>\n");
}

std::string MostConfused(const json& before, const json& after,
                         const std::vector<std::string>& labels) {
  const auto old_rows = Square(before);
  const auto new_rows = Square(after);
  const auto& rows = new_rows.empty() ? old_rows : new_rows;
  struct Pair {
    size_t truth, predicted;
    double count;
  };
  std::vector<Pair> pairs;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t c = 0; c < rows.size(); ++c) {
      if (r != c && rows[r][c] > 0) pairs.push_back({r, c, rows[r][c]});
    }
  }
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const Pair& a, const Pair& b) { return a.count > b.count; });
  if (pairs.size() > kMaxPairs) pairs.resize(kMaxPairs);
  Table table("confused", "Classes taken for another most often");
  table.AddColumn("True class");
  table.AddColumn("Predicted");
  table.AddColumn("Before", Table::kNumber);
  table.AddColumn("After", Table::kNumber);
  const auto count = [](const std::vector<std::vector<double>>& matrix, const Pair& pair) {
    return matrix.size() > std::max(pair.truth, pair.predicted)
               ? Cell::Of(matrix[pair.truth][pair.predicted], Grouped)
               : Cell{};
  };
  for (const Pair& pair : pairs) {
    table.AddRow({Cell::OfName(ClassName(labels, pair.truth)),
                  Cell::OfName(ClassName(labels, pair.predicted)), count(old_rows, pair),
                  count(new_rows, pair)});
  }
  return table.Html();
}

}  // namespace lathe::page
