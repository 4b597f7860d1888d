// Tables of a page: they scroll inside their box, sort where asked to, and are read out with their
// heads.
#ifndef LATHE_COMMON_REPORT_TABLE_H_
#define LATHE_COMMON_REPORT_TABLE_H_

#include <optional>
#include <string>
#include <vector>

namespace lathe::page {

struct Cell {
  std::string html;             // shown; "" is shown as nothing
  std::optional<double> value;  // of a numeric column; without one it sorts last

  static Cell Plain(const std::string& text);  // escaped
  static Cell OfName(const std::string& name);
  // `text` where there is a value, a dash where there is none.
  static Cell Of(const std::optional<double>& value, std::string (*text)(double));
};

class Table {
 public:
  // `id` is unique on the page; the caption, plain text, names the table for those who hear it.
  Table(std::string id, std::string caption) : id_(std::move(id)), caption_(std::move(caption)) {}

  enum Kind {
    kText,
    kNumber,  // right-aligned, sorts by Cell::value, by a first click from the largest on
    kLow,     // a number that is worth a look when small: from the smallest on
  };
  // Plain text both; the hint is shown on hover.
  void AddColumn(std::string title, Kind kind = kText, std::string hint = "") {
    columns_.push_back({std::move(title), kind, std::move(hint)});
  }
  void AddRow(std::vector<Cell> cells) { rows_.push_back(std::move(cells)); }
  size_t size() const { return rows_.size(); }

  // Rows are in the order of this column, ascending.
  void SetSorted(size_t column) { sorted_ = column; }
  void SetSortable() { sortable_ = true; }

  // Columns in which no row shows anything are left out. With many rows there is a field to search
  // in them. "" when there is no row.
  std::string Html() const;

 private:
  struct Column {
    std::string title;
    Kind kind;
    std::string hint;
  };
  std::string id_;
  std::string caption_;
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
  std::optional<size_t> sorted_;
  bool sortable_ = false;
};

// A table of two columns without a head: what, and its value (HTML). Pairs with an empty value are
// left out; "" when none remains.
std::string Facts(const std::string& caption,
                  const std::vector<std::pair<std::string, std::string>>& facts);

}  // namespace lathe::page

#endif  // LATHE_COMMON_REPORT_TABLE_H_
