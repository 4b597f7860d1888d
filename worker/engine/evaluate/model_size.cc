#include "worker/engine/evaluate/model_size.h"

#include <fcntl.h>
#include <onnx/onnx_pb.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/checked.h"
#include "common/status_macros.h"
#include "worker/engine/graph/edit.h"

namespace lathe::engine {
namespace {

bool IsSmallInteger(DType dtype) {
  switch (dtype) {
    case DType::kInt8:
    case DType::kUint8:
    case DType::kInt4:
    case DType::kUint4:
    case DType::kInt2:
    case DType::kUint2:
      return true;
    default:
      return false;
  }
}

bool ReadsQuantized(const Node& node) {
  static const std::set<std::string>* ops = new std::set<std::string>{"Cast",
                                                                      "DequantizeLinear",
                                                                      "QLinearConv",
                                                                      "QLinearMatMul",
                                                                      "ConvInteger",
                                                                      "MatMulInteger",
                                                                      "MatMulNBits",
                                                                      "GatherBlockQuantized",
                                                                      "DynamicQuantizeLSTM",
                                                                      "DynamicQuantizeMatMul",
                                                                      "QGemm",
                                                                      "QLinearGemm",
                                                                      "QAttention",
                                                                      "MatMulIntegerToFloat",
                                                                      "Gather"};
  return ops->count(node.op_type) != 0;
}

// Which inputs of a node are scales and zero points.
bool IsScaleInput(const Node& node, size_t input) {
  if (node.op_type == "DequantizeLinear" || node.op_type == "QuantizeLinear") return input >= 1;
  if (node.op_type == "MatMulNBits" || node.op_type == "GatherBlockQuantized")
    return input >= 2 && input <= 4;
  if (node.op_type == "QLinearConv" || node.op_type == "QLinearMatMul")
    return input != 0 && input != 3 && input != 8;
  if (node.op_type == "ConvInteger" || node.op_type == "MatMulInteger") return input >= 2;
  return false;
}

// A Mul or Sub of something that comes from an integer constant: its other input is a scale or a
// zero point.
class ScaleFinder {
 public:
  explicit ScaleFinder(const Graph& graph) {
    std::set<std::string> decoded;  // values that are integers turned to float
    for (const auto& node : graph.nodes) {
      if (node->op_type == "Cast" && !node->inputs.empty()) {
        const auto it = graph.initializers.find(node->inputs[0]);
        if ((it != graph.initializers.end() && IsSmallInteger(it->second.dtype)) ||
            gathered_.count(node->inputs[0]) != 0) {
          decoded.insert(node->outputs[0]);
        }
      } else if (node->op_type == "Gather" && node->inputs.size() >= 2) {
        const auto it = graph.initializers.find(node->inputs[0]);
        if (it != graph.initializers.end() && IsSmallInteger(it->second.dtype))
          gathered_.insert(node->outputs[0]);
        gathers_[node->outputs[0]] = node->inputs[0];
      } else if ((node->op_type == "Mul" || node->op_type == "Sub") && node->inputs.size() == 2) {
        for (int side = 0; side < 2; ++side) {
          if (decoded.count(node->inputs[side]) == 0) continue;
          const std::string& other = node->inputs[1 - side];
          scales_.insert(other);
          if (auto it = gathers_.find(other); it != gathers_.end()) scales_.insert(it->second);
          decoded.insert(node->outputs[0]);
        }
      } else if ((node->op_type == "Reshape" || node->op_type == "Slice") &&
                 !node->inputs.empty() && decoded.count(node->inputs[0]) != 0) {
        decoded.insert(node->outputs[0]);
      }
      for (size_t i = 0; i < node->inputs.size(); ++i) {
        if (IsScaleInput(*node, i)) scales_.insert(node->inputs[i]);
        if (ReadsQuantized(*node) && !IsScaleInput(*node, i)) quantized_.insert(node->inputs[i]);
      }
    }
  }
  bool IsScale(const std::string& value) const { return scales_.count(value) != 0; }
  bool IsQuantizedWeight(const std::string& value) const { return quantized_.count(value) != 0; }

 private:
  std::set<std::string> scales_;
  std::set<std::string> quantized_;
  std::set<std::string> gathered_;
  std::map<std::string, std::string> gathers_;
};

// Elements whose stored bits are not all zero; +-0 both count as zero for floats.
int64_t CountNonZero(const Tensor& tensor) {
  const absl::string_view data = tensor.data.view();
  const auto count = [&](size_t width, uint64_t mask) {
    int64_t nonzero = 0;
    for (size_t at = 0; at + width <= data.size(); at += width) {
      uint64_t bits = 0;
      std::memcpy(&bits, data.data() + at, width);
      nonzero += (bits & mask) != 0 ? 1 : 0;
    }
    return nonzero;
  };
  switch (tensor.dtype) {
    case DType::kFloat:
      return count(4, 0x7fffffffu);
    case DType::kDouble:
      return count(8, 0x7fffffffffffffffull);
    case DType::kFloat16:
    case DType::kBfloat16:
      return count(2, 0x7fffu);
    case DType::kInt8:
    case DType::kUint8:
      return count(1, 0xffu);
    case DType::kInt4:
    case DType::kUint4: {
      int64_t nonzero = 0;
      for (int64_t i = 0; i < tensor.size(); ++i) {
        const auto byte = static_cast<unsigned char>(data[static_cast<size_t>(i / 2)]);
        nonzero += ((i % 2 == 0 ? byte : byte >> 4) & 0xf) != 0 ? 1 : 0;
      }
      return nonzero;
    }
    default:
      return tensor.size();
  }
}

void CountTensor(const Tensor& tensor, const std::string& name, const ScaleFinder& finder,
                 ConstantCounts* out) {
  const bool integer = IsSmallInteger(tensor.dtype) && finder.IsQuantizedWeight(name);
  if (!IsFloat(tensor.dtype) && !integer && !(IsSmallInteger(tensor.dtype) && finder.IsScale(name)))
    return;
  out->weight_bytes += tensor.byte_size();
  if (finder.IsScale(name)) return;
  out->parameters += tensor.size();
  out->nonzero_parameters += CountNonZero(tensor);
}

}  // namespace

ConstantCounts CountConstants(const Model& model) {
  ConstantCounts out;
  ForEachGraph(model, [&](const Graph& graph) {
    const ScaleFinder finder(graph);
    for (const auto& [name, tensor] : graph.initializers) CountTensor(tensor, name, finder, &out);
    for (const auto& node : graph.nodes) {
      if (!node->Is("Constant") || node->outputs.empty()) continue;
      for (const Attribute& attribute : node->attributes) {
        for (const Tensor& tensor : attribute.tensors)
          CountTensor(tensor, node->outputs[0], finder, &out);
      }
    }
    for (const auto& [unused, bytes] : graph.sparse_initializers) {
      onnx::SparseTensorProto sparse;
      if (!sparse.ParseFromString(bytes)) continue;
      const auto elements =
          CheckedProduct(std::vector<int64_t>(sparse.dims().begin(), sparse.dims().end()));
      const auto stored = CheckedProduct(
          std::vector<int64_t>(sparse.values().dims().begin(), sparse.values().dims().end()));
      out.parameters += elements.value_or(0);
      out.nonzero_parameters += stored.value_or(0);
      out.weight_bytes += static_cast<int64_t>(bytes.size());
    }
  });
  return out;
}

absl::StatusOr<FileBytes> MeasureFiles(const std::string& folder,
                                       const std::vector<std::string>& paths) {
  FileBytes out;
  std::vector<unsigned char> in(1 << 18);
  std::vector<unsigned char> packed(1 << 18);
  for (const std::string& path : paths) {
    const std::string full = absl::StrCat(folder, "/", path);
    const int fd = open(full.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
      return absl::InternalError(absl::StrCat("cannot open ", path, ": ", std::strerror(errno)));
    z_stream stream{};
    constexpr int kGzipWindow = 15 + 16;
    deflateInit2(&stream, /*level=*/1, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY);
    bool last = false;
    while (!last) {
      const ssize_t got = read(fd, in.data(), in.size());
      last = got <= 0;
      stream.next_in = in.data();
      stream.avail_in = static_cast<uInt>(std::max<ssize_t>(got, 0));
      out.file_bytes += std::max<ssize_t>(got, 0);
      do {
        stream.next_out = packed.data();
        stream.avail_out = static_cast<uInt>(packed.size());
        deflate(&stream, last ? Z_FINISH : Z_NO_FLUSH);
        out.gzip_bytes += static_cast<int64_t>(packed.size() - stream.avail_out);
      } while (stream.avail_out == 0);
    }
    deflateEnd(&stream);
    close(fd);
  }
  return out;
}

}  // namespace lathe::engine
