// The plain bytes of a zip member, from any place on.
#ifndef LATHE_COMMON_FORMATS_MEMBER_READER_H_
#define LATHE_COMMON_FORMATS_MEMBER_READER_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "common/formats/byte_source.h"
#include "common/formats/zip_directory.h"

namespace lathe {

// Memory: 128 KiB a member, and for a deflated one up to 32 checkpoints of some 40 KiB, from which
// it goes on when asked for what lies behind. The checksum covers each byte once, in order: what a
// stored member's caller skips is read for it too.
class MemberReader {
 public:
  // `source` must outlive the reader.
  static std::unique_ptr<MemberReader> Make(const ByteSource* source, const ZipMember& member);
  virtual ~MemberReader() = default;

  // Plain bytes [offset, offset + count), which must lie within member.plain_bytes.
  // INVALID_ARGUMENT when the stored bytes are damaged, do not give as many as claimed, or, once
  // the last byte was reached, do not have the checksum.
  virtual absl::Status Read(int64_t offset, int64_t count, char* out) = 0;
};

}  // namespace lathe

#endif  // LATHE_COMMON_FORMATS_MEMBER_READER_H_
