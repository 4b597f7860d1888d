// Any bytes: named arrays whose rows can be read, or a clear error. What a file claims never costs
// more memory or time than its own size allows.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "common/formats/array_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lathe;  // NOLINT
  absl::StatusOr<std::unique_ptr<ArrayFile>> file =
      ArrayFile::Open(ByteSource::OfString(std::string(reinterpret_cast<const char*>(data), size)));
  if (!file.ok()) {
    if (file.status().message().empty()) std::abort();
    return 0;
  }
  const int count = static_cast<int>((*file)->arrays().size());
  for (int i = 0; i < count; ++i) {
    const ArrayInfo& info = (*file)->arrays()[i];
    if ((*file)->Find(info.name) != i) std::abort();
    // Deflate's best ratio bounds what any input can stand for.
    const int64_t bytes = info.rows * info.row_bytes;
    if (bytes > static_cast<int64_t>(size) * 1100) std::abort();
    std::string out(static_cast<size_t>(std::max<int64_t>(info.row_bytes, 1)), '\0');
    // From the middle, then back to the front: both directions of a compressed member.
    for (const int64_t row : {info.rows / 2, int64_t{0}, info.rows - 1}) {
      if (row < 0 || row >= info.rows) continue;
      const absl::Status status = (*file)->ReadRows(i, row, 1, out.data());
      if (!status.ok() && status.message().empty()) std::abort();
    }
  }
  return 0;
}
