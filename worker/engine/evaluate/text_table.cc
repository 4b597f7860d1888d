#include "worker/engine/evaluate/text_table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace lathe::engine {
namespace {

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

size_t Width(const std::string& text) {
  return text.size() - static_cast<size_t>(std::count_if(text.begin(), text.end(), IsContinuation));
}

// The byte at which character `at` starts.
size_t ByteOf(const std::string& text, size_t at) {
  size_t byte = 0;
  for (; byte < text.size(); ++byte) {
    if (IsContinuation(text[byte])) continue;
    if (at-- == 0) break;
  }
  return byte;
}

}  // namespace

std::string AlignColumns(const std::vector<std::vector<std::string>>& rows, size_t left) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string pad(widths[i] - Width(row[i]), ' ');
      absl::StrAppend(&line, i == 0 ? "" : "  ", i < left ? row[i] + pad : pad + row[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&out, line, "\n");
  }
  return out;
}

std::string GroupDigits(int64_t value) {
  std::string digits = absl::StrCat(value);
  const int first = value < 0 ? 1 : 0;
  for (int at = static_cast<int>(digits.size()) - 3; at > first; at -= 3) {
    digits.insert(static_cast<size_t>(at), ",");
  }
  return digits;
}

std::string ShortenMiddle(const std::string& text, size_t width) {
  const size_t characters = Width(text);
  if (characters <= width) return text;
  const size_t kept = width < 3 ? 0 : width - 3;
  const size_t head = (kept + 1) / 2;
  return absl::StrCat(text.substr(0, ByteOf(text, head)), "...",
                      text.substr(ByteOf(text, characters - (kept - head))));
}

}  // namespace lathe::engine
