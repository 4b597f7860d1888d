// What an ONNX file says of its inputs and outputs, read without its weights: for a client that
// looks at a model before it sends it. What a model means is the engine's to say.
#ifndef LATHE_COMMON_FORMATS_ONNX_INTERFACE_H_
#define LATHE_COMMON_FORMATS_ONNX_INTERFACE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/dtype.h"
#include "common/formats/byte_source.h"

namespace lathe {

struct OnnxInterface {
  struct Axis {
    std::optional<int64_t> value;
    std::string symbol;  // "" when it has none
  };
  struct Input {
    std::string name;
    DType dtype = DType::kUndefined;         // kUndefined too for what is no tensor
    std::optional<std::vector<Axis>> shape;  // nullopt: of any
  };
  std::vector<Input> inputs;  // those without a default; in the graph's order
  std::vector<std::string> outputs;
};

// Reads the tags of the file's protobuf messages and skips what lies between: cost and memory do
// not grow with the weights. INVALID_ARGUMENT for what is not such a file.
absl::StatusOr<OnnxInterface> ReadOnnxInterface(const ByteSource& source);

}  // namespace lathe

#endif  // LATHE_COMMON_FORMATS_ONNX_INTERFACE_H_
