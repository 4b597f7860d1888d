// Named arrays in a file: NumPy's .npz or Hugging Face's .safetensors, told apart by their bytes.
//
// Only headers are read when a file is opened; rows are read as they are asked for, with memory
// that does not grow with the file. Every size that a file claims is held against the bytes it has,
// so a caller may allocate what ArrayInfo says.
#ifndef LATHE_COMMON_FORMATS_ARRAY_FILE_H_
#define LATHE_COMMON_FORMATS_ARRAY_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/dtype.h"
#include "common/formats/byte_source.h"

namespace lathe {

struct ArrayInfo {
  std::string name;  // for .npz without its ".npy"
  // bool, (u)int8 to (u)int64, float16, bfloat16, float32, float64.
  DType dtype = DType::kUndefined;
  Shape shape;            // [rows, ...]; [] is a single number
  int64_t rows = 0;       // shape[0]; 1 for a single number
  int64_t row_bytes = 0;  // of one row; rows * row_bytes does not overflow
};

// Not thread-safe: a reader keeps its place.
class ArrayFile {
 public:
  // Reads the headers. INVALID_ARGUMENT (not one of the formats, damaged, hostile, an array whose
  // type is not supported: by name), NOT_FOUND. The caller adds the file's name to messages.
  static absl::StatusOr<std::unique_ptr<ArrayFile>> Open(const std::string& path);
  static absl::StatusOr<std::unique_ptr<ArrayFile>> Open(std::unique_ptr<ByteSource> source);

  virtual ~ArrayFile() = default;
  ArrayFile(const ArrayFile&) = delete;
  ArrayFile& operator=(const ArrayFile&) = delete;

  // In the file's order, each name once.
  const std::vector<ArrayInfo>& arrays() const { return arrays_; }
  // -1 when there is none.
  int Find(absl::string_view name) const;

  // Rows [first, first + count) of array `index`, row-major and little-endian, into `out` of
  // count * row_bytes bytes. INVALID_ARGUMENT when they are outside, or when the file's bytes are
  // damaged. A .npz's checksum is checked as its bytes go by: the call that gets to an array's last
  // byte fails when the array is damaged anywhere. Cost: rows in order cost their bytes. In a
  // compressed member, going forward costs the bytes passed over, going back at most 1/32 of the
  // array.
  absl::Status ReadRows(int index, int64_t first, int64_t count, char* out);

 protected:
  // `arrays`: rows and row_bytes are set by SetSizes.
  explicit ArrayFile(std::vector<ArrayInfo> arrays) : arrays_(std::move(arrays)) {}
  // Fills rows and row_bytes from dtype and shape. INVALID_ARGUMENT on rank or overflow.
  static absl::Status SetSizes(ArrayInfo* info);

 private:
  virtual absl::Status DoReadRows(int index, int64_t first, int64_t count, char* out) = 0;

  const std::vector<ArrayInfo> arrays_;
};

// "array 'x': ".
std::string ArrayPrefix(absl::string_view name);
// Checks a name from a file: not empty, at most limits::kMaxArrayNameBytes, UTF-8 without NUL.
absl::Status CheckArrayName(absl::string_view name);

}  // namespace lathe

#endif  // LATHE_COMMON_FORMATS_ARRAY_FILE_H_
