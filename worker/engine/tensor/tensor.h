// A constant tensor: dtype, shape and bytes, owned or borrowed.
#ifndef LATHE_WORKER_ENGINE_TENSOR_TENSOR_H_
#define LATHE_WORKER_ENGINE_TENSOR_TENSOR_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/tensor/dtype.h"

namespace lathe::engine {

using Shape = std::vector<int64_t>;

// Immutable bytes: owned, or a view into a mapped file that `keep_alive` holds. Copying shares.
class Bytes {
 public:
  Bytes() = default;
  static Bytes Own(std::string data);
  static Bytes Borrow(absl::string_view data, std::shared_ptr<const void> keep_alive);
  // Borrows from a file mapped read-only.
  static Bytes Map(absl::string_view data, std::shared_ptr<const void> keep_alive);

  absl::string_view view() const { return view_; }
  int64_t size() const { return static_cast<int64_t>(view_.size()); }
  // Whether the bytes lie elsewhere, as a rule in a mapped file (and so cost no memory of their
  // own).
  bool borrowed() const { return borrowed_; }
  // Lets the system take back the memory of mapped bytes; they are read from the file again when
  // next looked at. For large constants that will not be needed for a while. No effect on others.
  void DropPages() const { DropPages(0, size()); }
  // Likewise, of bytes [begin, begin + count) alone.
  void DropPages(int64_t begin, int64_t count) const;

 private:
  absl::string_view view_;
  std::shared_ptr<const void> keep_alive_;
  bool borrowed_ = false;
  bool mapped_ = false;
};

// Row-major, little-endian, as ONNX's raw_data (sub-byte types packed low nibble first). Invariant,
// kept by the reader and by Tensor::Make: data.size() == DTypeBytes(dtype, product(dims)) for every
// type but strings and unknown ones.
struct Tensor {
  std::string name;
  DType dtype = DType::kUndefined;
  Shape dims;
  Bytes data;
  std::string doc_string;
  // Elements of a string tensor.
  std::vector<std::string> strings;
  // Fields of the TensorProto that the IR does not model (unknown fields, metadata_props),
  // serialized; written back as they are.
  std::string extra;

  // The checked way to make one. INVALID_ARGUMENT when the size of `data` does not fit dtype and
  // dims.
  static absl::StatusOr<Tensor> Make(std::string name, DType dtype, Shape dims, std::string data);
  // Conveniences for new tensors; they die when the sizes do not fit (a bug of the caller).
  static Tensor FromFloats(std::string name, Shape dims, std::span<const float> values);
  static Tensor FromInt64s(std::string name, Shape dims, std::span<const int64_t> values);

  // Number of elements.
  int64_t size() const;
  int64_t byte_size() const { return data.size(); }

  // All elements as float32; float16, bfloat16 and float64 are converted. FAILED_PRECONDITION for
  // other types.
  absl::StatusOr<std::vector<float>> ToFloats() const;
  // All elements of an int64, int32, int8, uint8 or bool tensor. FAILED_PRECONDITION for other
  // types.
  absl::StatusOr<std::vector<int64_t>> ToInt64s() const;
  // Direct view of a float32 tensor when its bytes are aligned for it; empty otherwise (use
  // ToFloats).
  std::span<const float> FloatView() const;
};

// IEEE half precision, round to nearest even; overflow gives infinity.
uint16_t FloatToHalf(float value);
float HalfToFloat(uint16_t half);
// bfloat16 (the upper half of a float32), round to nearest even.
uint16_t FloatToBfloat16(float value);
float Bfloat16ToFloat(uint16_t bits);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TENSOR_TENSOR_H_
