#include "common/report/table.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/report/html.h"

namespace lathe::page {
namespace {

constexpr size_t kRowsWorthSearching = 20;
constexpr char kDash[] = "<span class=\"none\">\xE2\x80\x93</span>";

std::string Box(const std::string& caption, const std::string& table) {
  return absl::StrCat("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"",
                      Escape(caption), "\">\n", table, "</div>\n");
}

}  // namespace

Cell Cell::Plain(const std::string& text) { return {Escape(text), std::nullopt}; }

Cell Cell::OfName(const std::string& name) { return {Name(name), std::nullopt}; }

Cell Cell::Of(const std::optional<double>& value, std::string (*text)(double)) {
  if (!value) return {kDash, std::nullopt};
  return {Escape(text(*value)), value};
}

std::string Table::Html() const {
  if (rows_.empty()) return "";
  std::vector<bool> shown(columns_.size(), false);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < columns_.size() && i < row.size(); ++i) {
      if (!row[i].html.empty() && row[i].html != kDash) shown[i] = true;
    }
  }
  std::string out = absl::StrCat("<table id=\"", id_, "\"", sortable_ ? " class=\"sortable\"" : "",
                                 "><caption>", Escape(caption_), "</caption>\n<thead><tr>");
  for (size_t i = 0; i < columns_.size(); ++i) {
    const Column& column = columns_[i];
    if (!shown[i]) continue;
    const char* kind = column.kind == kText  ? ""
                       : column.kind == kLow ? " class=\"n low\""
                                             : " class=\"n\"";
    absl::StrAppend(&out, "<th scope=\"col\"", kind,
                    column.hint.empty() ? "" : absl::StrCat(" title=\"", Escape(column.hint), "\""),
                    sorted_ == i ? " aria-sort=\"ascending\"" : "", ">", Escape(column.title),
                    "</th>");
  }
  absl::StrAppend(&out, "</tr></thead>\n<tbody>\n");
  for (const auto& row : rows_) {
    out += "<tr>";
    for (size_t i = 0; i < columns_.size() && i < row.size(); ++i) {
      if (!shown[i]) continue;
      const char* tag = i == 0 ? "th" : "td";
      absl::StrAppend(&out, "<", tag, i == 0 ? " scope=\"row\"" : "",
                      columns_[i].kind != kText ? " class=\"n\"" : "");
      if (columns_[i].kind != kText && sortable_) {
        absl::StrAppend(&out, " data-v=\"",
                        row[i].value ? absl::StrFormat("%.10g", *row[i].value) : "", "\"");
      }
      absl::StrAppend(&out, ">", row[i].html, "</", tag, ">");
    }
    out += "</tr>\n";
  }
  out = Box(caption_, absl::StrCat(out, "</tbody></table>\n"));
  if (!sortable_ || rows_.size() < kRowsWorthSearching) return out;
  return absl::StrCat("<p class=\"find\" hidden><label>Find <input type=\"search\" data-table=\"",
                      id_, "\"></label> <output></output></p>\n", out);
}

std::string Facts(const std::string& caption,
                  const std::vector<std::pair<std::string, std::string>>& facts) {
  std::string rows;
  for (const auto& [what, value] : facts) {
    if (value.empty()) continue;
    absl::StrAppend(&rows, "<tr><th scope=\"row\">", Escape(what), "</th><td>", value,
                    "</td></tr>\n");
  }
  if (rows.empty()) return "";
  return Box(caption, absl::StrCat("<table class=\"facts\"><caption>", Escape(caption),
                                   "</caption>\n<tbody>\n", rows, "</tbody></table>\n"));
}

}  // namespace lathe::page
