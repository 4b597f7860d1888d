// The header of a NumPy .npy array.
#ifndef LATHE_COMMON_FORMATS_NPY_HEADER_H_
#define LATHE_COMMON_FORMATS_NPY_HEADER_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/dtype.h"

namespace lathe {

struct NpyHeader {
  DType dtype = DType::kUndefined;
  Shape shape;  // every axis >= 0
  bool fortran_order = false;
  bool big_endian = false;
};

// Bytes of the fixed part, which tells the length of the rest.
inline constexpr int64_t kNpyPrefixBytes = 12;

// Where the elements begin, from the first kNpyPrefixBytes. Versions 1, 2 and 3. INVALID_ARGUMENT
// when it is no .npy, or its header is longer than limits::kMaxNpyHeaderBytes.
absl::StatusOr<int64_t> NpyHeaderBytes(absl::string_view prefix);

// Reads the whole header, NpyHeaderBytes long: a Python dict with exactly descr, fortran_order and
// shape. INVALID_ARGUMENT for anything else; types other than numbers and booleans are refused by
// their NumPy name (objects, strings, records, dates, complex and extended numbers).
absl::StatusOr<NpyHeader> ParseNpyHeader(absl::string_view header);

}  // namespace lathe

#endif  // LATHE_COMMON_FORMATS_NPY_HEADER_H_
