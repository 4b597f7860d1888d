// Text from outside, cut to size.
#ifndef LATHE_SERVER_JOBS_TEXT_H_
#define LATHE_SERVER_JOBS_TEXT_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace lathe::server {

// The longest prefix of `text` (UTF-8) of at most `max_bytes` that does not end within a character.
// A cut character would make the message that holds it unreadable: proto3 refuses to parse such a
// string.
std::string CutUtf8(absl::string_view text, size_t max_bytes);

// The same, with control characters as spaces (tabs stay): one line of a log.
std::string LogLine(absl::string_view text, size_t max_bytes);

}  // namespace lathe::server

#endif  // LATHE_SERVER_JOBS_TEXT_H_
