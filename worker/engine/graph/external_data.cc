#include "worker/engine/graph/external_data.h"

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace lathe::engine {
namespace {

// A plain decimal number of at least 0.
absl::StatusOr<int64_t> ParseSize(absl::string_view key, absl::string_view text) {
  int64_t value;
  const bool digits = text.find_first_not_of("0123456789") == absl::string_view::npos;
  if (text.empty() || !digits || !absl::SimpleAtoi(text, &value)) {
    return absl::InvalidArgumentError(absl::StrCat("external data: ", key, " '", text.substr(0, 40),
                                                   "' is not a number of bytes in 0..2^63-1"));
  }
  return value;
}

}  // namespace

absl::StatusOr<Bytes> ExternalData::Resolve(const ExternalEntries& entries,
                                            std::optional<int64_t> expected_bytes) {
  std::string location;
  int64_t offset = 0;
  std::optional<int64_t> length;
  for (const auto& [key, value] : entries) {
    if (key == "location") {
      location = std::string(value);
    } else if (key == "offset") {
      ASSIGN_OR_RETURN(offset, ParseSize(key, value));
    } else if (key == "length") {
      ASSIGN_OR_RETURN(length, ParseSize(key, value));
    }
  }
  if (location.empty()) {
    return absl::InvalidArgumentError(
        "external data: the entry 'location' (a file name) is missing");
  }
  if (!folder_.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("external data: file '", location,
                     "' is not here; give the model's folder, or save the model as one file"));
  }
  if (length.has_value() && expected_bytes.has_value() && *length != *expected_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("external data: length ", *length,
                                                   " disagrees with type and dims, which take ",
                                                   *expected_bytes, " bytes"));
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file, Map(location));
  const auto size = static_cast<int64_t>(file->bytes().size());
  const int64_t left = size - offset;  // both are at least 0: no overflow
  const int64_t wanted = length.has_value() ? *length : expected_bytes.value_or(left);
  if (left < 0 || wanted > left) {
    return absl::InvalidArgumentError(absl::StrCat(
        "external data: file '", location, "' has ", size, " bytes, the tensor needs ", wanted,
        " at offset ", offset, "; the file is truncated or belongs to another model"));
  }
  return Bytes::Map(file->bytes().substr(offset, wanted), file);
}

absl::StatusOr<std::shared_ptr<const MappedFile>> ExternalData::Map(const std::string& location) {
  ASSIGN_OR_RETURN(const std::vector<std::string> components, SafePathComponents(location));
  const std::string path = absl::StrJoin(components, "/");
  if (const auto it = maps_.find(path); it != maps_.end()) return it->second;
  if (maps_.size() >= limits::kMaxModelFiles) {
    return absl::InvalidArgumentError(
        absl::StrCat("external data: more than ", limits::kMaxModelFiles, " files"));
  }
  absl::StatusOr<std::shared_ptr<const MappedFile>> file =
      MappedFile::Open(*folder_, path, MappedFile::Links::kRefuse);
  if (absl::IsNotFound(file.status())) {
    return absl::InvalidArgumentError(
        absl::StrCat("external data: ", file.status().message(),
                     " in the model's folder; upload it with the model"));
  }
  if (!file.ok()) return file.status();
  maps_.emplace(path, *file);
  files_.push_back(path);
  return *file;
}

}  // namespace lathe::engine
