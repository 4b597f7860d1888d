#include "common/file_error.h"

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/status_reason.h"

namespace lathe {

absl::Status FileError(int error, absl::string_view doing) {
  const absl::Status plain = absl::ErrnoToStatus(error, absl::StrCat("cannot ", doing));
  if (error == ENOSPC || error == EDQUOT) {
    return WithReason(absl::ResourceExhaustedError(absl::StrCat(
                          plain.message(), "; free space on this disk, or use a larger one")),
                      kDiskFull);
  }
  if (error == EFBIG) {
    return WithReason(
        absl::ResourceExhaustedError(absl::StrCat(
            plain.message(), "; raise the limit on the size of a file (--file-limit-mb)")),
        kDiskFull);
  }
  return plain;
}

}  // namespace lathe
