#include "common/formats/array_file.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/checked.h"
#include "common/formats/npz_file.h"
#include "common/formats/safetensors_file.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/utf8.h"

namespace lathe {

absl::StatusOr<std::unique_ptr<ArrayFile>> ArrayFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<ByteSource> source, ByteSource::OpenFile(path));
  return Open(std::move(source));
}

absl::StatusOr<std::unique_ptr<ArrayFile>> ArrayFile::Open(std::unique_ptr<ByteSource> source) {
  if (source->size() < 8) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", source->size(), " bytes; expected a .npz or .safetensors file"));
  }
  ASSIGN_OR_RETURN(const std::string magic, source->ReadString(0, 8));
  if (absl::StartsWith(magic, "\x93NUMPY")) {
    return absl::InvalidArgumentError(
        "is a single .npy array, without the names of the inputs; expected .npz: "
        "numpy.savez(path, INPUT=array, labels=...)");
  }
  // As a header's length of .safetensors this would be 64 MiB, which is over its limit.
  if (absl::StartsWith(magic, "PK")) return OpenNpz(std::move(source));
  return OpenSafetensors(std::move(source));
}

int ArrayFile::Find(absl::string_view name) const {
  for (size_t i = 0; i < arrays_.size(); ++i) {
    if (arrays_[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

absl::Status ArrayFile::ReadRows(int index, int64_t first, int64_t count, char* out) {
  if (index < 0 || index >= static_cast<int>(arrays_.size())) {
    return absl::InvalidArgumentError(absl::StrCat("there is no array ", index));
  }
  const ArrayInfo& info = arrays_[index];
  if (first < 0 || count < 0 || count > info.rows || first > info.rows - count) {
    return absl::InvalidArgumentError(absl::StrCat(ArrayPrefix(info.name), "rows [", first, ", +",
                                                   count, ") are outside of its ", info.rows));
  }
  if (count == 0 || info.row_bytes == 0) return absl::OkStatus();
  const absl::Status status = DoReadRows(index, first, count, out);
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(ArrayPrefix(info.name), status.message()));
}

absl::Status ArrayFile::SetSizes(ArrayInfo* info) {
  if (info->shape.size() > static_cast<size_t>(limits::kMaxTensorRank)) {
    return absl::InvalidArgumentError(absl::StrCat(ArrayPrefix(info->name), "has ",
                                                   info->shape.size(), " axes; at most ",
                                                   limits::kMaxTensorRank, " are allowed"));
  }
  const std::optional<int64_t> elements = CheckedProduct(info->shape);
  const std::optional<int64_t> bytes = elements ? DTypeBytes(info->dtype, *elements) : std::nullopt;
  // Of one row alone too: with zero rows it may still be past any bound.
  const std::span<const int64_t> row =
      std::span<const int64_t>(info->shape).subspan(info->shape.empty() ? 0 : 1);
  const std::optional<int64_t> row_elements = CheckedProduct(row);
  const std::optional<int64_t> row_bytes =
      row_elements ? DTypeBytes(info->dtype, *row_elements) : std::nullopt;
  if (!bytes || !row_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        ArrayPrefix(info->name), "its shape [", absl::StrJoin(info->shape, ","), "] of ",
        DTypeName(info->dtype), " is not one: a negative axis, or more than 2^63 bytes"));
  }
  info->rows = info->shape.empty() ? 1 : info->shape[0];
  info->row_bytes = *row_bytes;
  return absl::OkStatus();
}

std::string ArrayPrefix(absl::string_view name) {
  return absl::StrCat("array '", absl::Utf8SafeCHexEscape(name.substr(0, 80)), "': ");
}

absl::Status CheckArrayName(absl::string_view name) {
  if (name.empty()) return absl::InvalidArgumentError("an array has an empty name");
  if (name.size() > static_cast<size_t>(limits::kMaxArrayNameBytes)) {
    return absl::InvalidArgumentError(absl::StrCat(ArrayPrefix(name), "its name has ", name.size(),
                                                   " bytes; at most ", limits::kMaxArrayNameBytes,
                                                   " are allowed"));
  }
  if (name.find('\0') != absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(ArrayPrefix(name), "its name holds a NUL byte"));
  }
  if (!IsValidUtf8(name)) {
    return absl::InvalidArgumentError(absl::StrCat(ArrayPrefix(name), "its name is not UTF-8"));
  }
  return absl::OkStatus();
}

}  // namespace lathe
