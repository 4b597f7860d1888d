// Plain-text tables.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_TEXT_TABLE_H_
#define LATHE_WORKER_ENGINE_EVALUATE_TEXT_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

namespace lathe::engine {

// Columns two spaces apart, as wide as their widest cell; the first `left` are aligned to the left,
// the others to the right. A line a row, without trailing spaces. Width counts characters of UTF-8.
std::string AlignColumns(const std::vector<std::vector<std::string>>& rows, size_t left);

// 1234567 -> "1,234,567".
std::string GroupDigits(int64_t value);

// Cut in the middle, with "..." in between, to at most `width` characters, and never within one.
std::string ShortenMiddle(const std::string& text, size_t width);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_TEXT_TABLE_H_
