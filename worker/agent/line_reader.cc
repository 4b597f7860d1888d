#include "worker/agent/line_reader.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace lathe::worker {

LineReader::LineReader(int descriptor, size_t max_line_bytes,
                       std::function<void(absl::string_view)> on_line)
    : descriptor_(descriptor), max_line_bytes_(max_line_bytes), on_line_(std::move(on_line)) {}

LineReader::~LineReader() {
  if (descriptor_ >= 0) close(descriptor_);
}

void LineReader::Take(absl::string_view bytes) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    const absl::string_view part = bytes.substr(0, end);
    line_.append(part.data(), std::min(part.size(), max_line_bytes_ - line_.size()));
    if (end == absl::string_view::npos) return;
    on_line_(line_);
    line_.clear();
    bytes.remove_prefix(end + 1);
  }
}

void LineReader::Close() {
  close(descriptor_);
  descriptor_ = -1;
  if (!line_.empty()) on_line_(line_);
  line_.clear();
}

bool LineReader::ReadAvailable() {
  char buffer[64 << 10];
  for (int i = 0; i < 64 && descriptor_ >= 0; ++i) {
    const ssize_t n = read(descriptor_, buffer, sizeof(buffer));
    if (n > 0) {
      Take(absl::string_view(buffer, static_cast<size_t>(n)));
    } else if (n < 0 && errno == EINTR) {
      continue;
    } else if (n < 0 && errno == EAGAIN) {
      return true;
    } else {
      Close();
    }
  }
  return descriptor_ >= 0;
}

}  // namespace lathe::worker
