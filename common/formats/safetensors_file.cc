#include "common/formats/safetensors_file.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/formats/safetensors_header.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace lathe {
namespace {

constexpr int64_t kLengthBytes = 8;

class SafetensorsFile : public ArrayFile {
 public:
  static absl::StatusOr<std::unique_ptr<ArrayFile>> Open(std::unique_ptr<ByteSource> source);

 private:
  SafetensorsFile(std::unique_ptr<ByteSource> source, std::vector<ArrayInfo> arrays,
                  std::vector<int64_t> offsets)
      : ArrayFile(std::move(arrays)), source_(std::move(source)), offsets_(std::move(offsets)) {}

  absl::Status DoReadRows(int index, int64_t first, int64_t count, char* out) override {
    const int64_t row_bytes = arrays()[index].row_bytes;
    return source_->Read(offsets_[index] + first * row_bytes, count * row_bytes, out);
  }

  const std::unique_ptr<ByteSource> source_;
  const std::vector<int64_t> offsets_;  // of each array's first byte in the file
};

// The arrays, by place, must follow one another from 0 to the end.
absl::Status CheckPlaces(std::vector<SafetensorsEntry> entries, int64_t data_bytes) {
  std::stable_sort(entries.begin(), entries.end(),
                   [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
                     return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
                   });
  int64_t end = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.end > data_bytes) {
      return absl::InvalidArgumentError(absl::StrCat(
          ArrayPrefix(entry.name), "its bytes [", entry.begin, ", ", entry.end,
          ") lie outside of the ", data_bytes, " behind the header; the file may be cut short"));
    }
    if (entry.begin != end) {
      return absl::InvalidArgumentError(
          absl::StrCat(ArrayPrefix(entry.name), "its bytes begin at ", entry.begin,
                       entry.begin < end ? ", within another array that ends at "
                                         : ", but the one before ends at ",
                       end));
    }
    end = entry.end;
  }
  if (end != data_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("not a sound .safetensors file: ", data_bytes,
                     " bytes follow the header, but its arrays end at ", end));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ArrayFile>> SafetensorsFile::Open(
    std::unique_ptr<ByteSource> source) {
  ASSIGN_OR_RETURN(const std::string length, source->ReadString(0, kLengthBytes));
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, length.data(), sizeof(header_bytes));
  if (header_bytes > static_cast<uint64_t>(limits::kMaxSafetensorsHeaderBytes) ||
      static_cast<int64_t>(header_bytes) > source->size() - kLengthBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("is neither .npz nor .safetensors: as the latter its header would have ",
                     header_bytes, " bytes; at most ",
                     std::min(limits::kMaxSafetensorsHeaderBytes, source->size() - kLengthBytes),
                     " are possible"));
  }
  ASSIGN_OR_RETURN(const std::string header,
                   source->ReadString(kLengthBytes, static_cast<int64_t>(header_bytes)));
  if (header.empty() || header[0] != '{') {
    return absl::InvalidArgumentError(
        "is neither .npz nor .safetensors: as the latter its header would begin with '{'");
  }
  ASSIGN_OR_RETURN(const std::vector<SafetensorsEntry> entries, ParseSafetensorsHeader(header));
  const int64_t data_begin = kLengthBytes + static_cast<int64_t>(header_bytes);
  std::vector<ArrayInfo> arrays;
  std::vector<int64_t> offsets;
  for (const SafetensorsEntry& entry : entries) {
    ArrayInfo info;
    info.name = entry.name;
    info.dtype = entry.dtype;
    info.shape = entry.shape;
    RETURN_IF_ERROR(SetSizes(&info));
    if (info.rows * info.row_bytes != entry.end - entry.begin) {
      return absl::InvalidArgumentError(
          absl::StrCat(ArrayPrefix(info.name), "its shape [", absl::StrJoin(info.shape, ","),
                       "] of ", DTypeName(info.dtype), " takes ", info.rows * info.row_bytes,
                       " bytes, but its data_offsets hold ", entry.end - entry.begin));
    }
    offsets.push_back(data_begin + entry.begin);
    arrays.push_back(std::move(info));
  }
  RETURN_IF_ERROR(CheckPlaces(entries, source->size() - data_begin));
  return std::unique_ptr<ArrayFile>(
      new SafetensorsFile(std::move(source), std::move(arrays), std::move(offsets)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ArrayFile>> OpenSafetensors(std::unique_ptr<ByteSource> source) {
  return SafetensorsFile::Open(std::move(source));
}

}  // namespace lathe
