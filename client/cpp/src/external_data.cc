// External data is named in TensorProto.external_data by entries {key: "location", value: PATH}. In
// the file's bytes such an entry is 0A 08 "location" 12 LENGTH PATH, wherever it is nested. Weights
// may hold the same bytes by chance or malice: a path found this way only makes the client upload a
// file of that name if the user has one beside the model, inside its folder.
#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "client/cpp/src/mapped_file.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "lathe/client.h"

namespace lathe::client {

absl::StatusOr<std::vector<std::string>> ExternalDataPaths(const std::string& onnx_path) {
  ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(onnx_path));
  const absl::string_view bytes = file.view();
  static constexpr char kMarkerBytes[] = "\x0a\x08location\x12";
  const absl::string_view marker(kMarkerBytes, sizeof(kMarkerBytes) - 1);
  std::set<std::string> paths;
  for (size_t at = bytes.find(marker); at != absl::string_view::npos;
       at = bytes.find(marker, at + 1)) {
    size_t next = at + marker.size();
    uint64_t length = 0;
    for (int shift = 0; next < bytes.size() && shift < 28; shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes[next++]);
      length |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) break;
    }
    if (length == 0 || length > static_cast<uint64_t>(limits::kMaxPathBytes) ||
        length > bytes.size() - next) {
      continue;
    }
    const absl::string_view path = bytes.substr(next, length);
    if (std::any_of(path.begin(), path.end(),
                    [](char c) { return static_cast<unsigned char>(c) < 0x20; })) {
      continue;
    }
    paths.insert(std::string(path));
    if (paths.size() > static_cast<size_t>(limits::kMaxModelFiles)) {
      return absl::InvalidArgumentError(absl::StrCat(
          onnx_path, " names more than ", limits::kMaxModelFiles, " external data files"));
    }
  }
  return std::vector<std::string>(paths.begin(), paths.end());
}

}  // namespace lathe::client
