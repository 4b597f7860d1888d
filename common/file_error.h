// What errno of a file operation means, told the same way wherever the worker writes files.
#ifndef LATHE_COMMON_FILE_ERROR_H_
#define LATHE_COMMON_FILE_ERROR_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace lathe {

// Reason (common/status_reason.h) of a disk, a quota or a file limit that is full.
inline constexpr char kDiskFull[] = "DISK_FULL";

// "cannot {doing}: {errno's text}", `doing` naming the file: "write /tmp/x". ENOSPC, EDQUOT and
// EFBIG are RESOURCE_EXHAUSTED with reason DISK_FULL and say what to do; any other errno has the
// code of absl::ErrnoToStatus.
absl::Status FileError(int error, absl::string_view doing);

}  // namespace lathe

#endif  // LATHE_COMMON_FILE_ERROR_H_
