// The JSON header of a .safetensors file.
#ifndef LATHE_COMMON_FORMATS_SAFETENSORS_HEADER_H_
#define LATHE_COMMON_FORMATS_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/dtype.h"

namespace lathe {

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kUndefined;
  Shape shape;        // every axis >= 0
  int64_t begin = 0;  // bytes behind the header; 0 <= begin <= end
  int64_t end = 0;
};

// {"NAME": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}, ..., "__metadata__": {...}}.
// Read as a stream: nothing is kept but the entries. INVALID_ARGUMENT for what is not JSON, other
// keys or values than these, a name or key given twice, nesting past these levels, more than
// limits::kMaxArrays entries, and types that are not read.
absl::StatusOr<std::vector<SafetensorsEntry>> ParseSafetensorsHeader(absl::string_view json);

}  // namespace lathe

#endif  // LATHE_COMMON_FORMATS_SAFETENSORS_HEADER_H_
