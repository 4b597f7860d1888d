// The directory of a zip file: what members there are and where their bytes lie.
#ifndef LATHE_COMMON_FORMATS_ZIP_DIRECTORY_H_
#define LATHE_COMMON_FORMATS_ZIP_DIRECTORY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/formats/byte_source.h"

namespace lathe {

struct ZipMember {
  std::string name;
  bool deflated = false;     // otherwise stored
  uint32_t crc32 = 0;        // of the plain bytes
  int64_t stored_bytes = 0;  // as they lie in the file
  int64_t plain_bytes = 0;   // as claimed; what deflate cannot reach from stored_bytes is refused
  int64_t offset = 0;        // of the first stored byte in the file
};

// The members in the directory's order, each name once. zip64 is read; encryption, several disks
// and methods other than stored and deflated are refused. INVALID_ARGUMENT for those and for every
// damaged or hostile form: a directory that is not where the end record says, members outside of
// the file or over one another, a local header that contradicts the directory.
absl::StatusOr<std::vector<ZipMember>> ReadZipDirectory(const ByteSource& source);

}  // namespace lathe

#endif  // LATHE_COMMON_FORMATS_ZIP_DIRECTORY_H_
