// A file mapped for reading.
#ifndef LATHE_CLIENT_CPP_SRC_MAPPED_FILE_H_
#define LATHE_CLIENT_CPP_SRC_MAPPED_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lathe::client {

// Movable owner of a mapping. A file that shrinks while it is mapped ends the process by SIGBUS, as
// with any mapped file: do not truncate a model while it is being uploaded.
class MappedFile {
 public:
  // NOT_FOUND, FAILED_PRECONDITION (not readable) or INVALID_ARGUMENT (a folder, a device), naming
  // the path.
  static absl::StatusOr<MappedFile> Open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  absl::string_view view() const { return view_; }

 private:
  explicit MappedFile(absl::string_view view) : view_(view) {}
  absl::string_view view_;
};

}  // namespace lathe::client

#endif  // LATHE_CLIENT_CPP_SRC_MAPPED_FILE_H_
