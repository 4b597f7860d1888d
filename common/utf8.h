// Whether text from outside is UTF-8.
#ifndef LATHE_COMMON_UTF8_H_
#define LATHE_COMMON_UTF8_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace lathe {

// True for well-formed sequences of one to four bytes. Surrogates and some overlong forms pass:
// this keeps out what protobuf and JSON choke on, no more.
inline bool IsValidUtf8(absl::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80                   ? 1
                          : lead >= 0xc2 && lead < 0xe0 ? 2
                          : lead >= 0xe0 && lead < 0xf0 ? 3
                          : lead >= 0xf0 && lead < 0xf5 ? 4
                                                        : 0;
    if (length == 0 || i + length > text.size()) return false;
    for (size_t j = 1; j < length; ++j) {
      if ((static_cast<unsigned char>(text[i + j]) & 0xc0) != 0x80) return false;
    }
    i += length;
  }
  return true;
}

}  // namespace lathe

#endif  // LATHE_COMMON_UTF8_H_
