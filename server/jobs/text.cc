#include "server/jobs/text.h"

namespace lathe::server {
namespace {

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

}  // namespace

std::string CutUtf8(absl::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return std::string(text);
  size_t end = max_bytes;
  while (end > 0 && IsContinuation(text[end])) --end;
  return std::string(text.substr(0, end));
}

std::string LogLine(absl::string_view text, size_t max_bytes) {
  std::string line = CutUtf8(text, max_bytes);
  for (char& c : line) {
    const auto code = static_cast<unsigned char>(c);
    if ((code < 0x20 && c != '\t') || code == 0x7f) c = ' ';
  }
  return line;
}

}  // namespace lathe::server
