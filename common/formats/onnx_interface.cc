#include "common/formats/onnx_interface.h"

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace lathe {
namespace {

// Numbers of onnx.proto's fields.
constexpr uint32_t kModelGraph = 7;
constexpr uint32_t kGraphInitializer = 5;
constexpr uint32_t kGraphInput = 11;
constexpr uint32_t kGraphOutput = 12;
constexpr uint32_t kGraphSparseInitializer = 15;
constexpr uint32_t kTensorName = 8;
constexpr uint32_t kSparseValues = 1;
constexpr uint32_t kInfoName = 1;
constexpr uint32_t kInfoType = 2;
constexpr uint32_t kTypeTensor = 1;
constexpr uint32_t kTensorElement = 1;
constexpr uint32_t kTensorShape = 2;
constexpr uint32_t kShapeDim = 1;
constexpr uint32_t kDimValue = 1;
constexpr uint32_t kDimParam = 2;

constexpr int64_t kWindowBytes = 16 << 10;
constexpr size_t kMaxNameBytes = 64 << 10;
constexpr size_t kMaxInterfaceNames = 100'000;

// A field of a message: a number, or bytes [begin, end) of the file.
struct Field {
  uint32_t number = 0;
  bool is_bytes = false;
  uint64_t value = 0;  // of a varint; 0 for fixed numbers, which nothing here has
  int64_t begin = 0;
  int64_t end = 0;
};

class Reader {
 public:
  explicit Reader(const ByteSource& source) : source_(source) {}

  // Calls fn for each field of the message that lies in [begin, end).
  absl::Status ForFields(int64_t begin, int64_t end,
                         const std::function<absl::Status(const Field&)>& fn) {
    for (int64_t at = begin; at < end;) {
      ASSIGN_OR_RETURN(const uint64_t tag, Varint(&at, end));
      Field field;
      field.number = static_cast<uint32_t>(tag >> 3);
      if (field.number == 0 || tag >> 3 > 0x1fffffff) return NotOnnx(at);
      switch (tag & 7) {
        case 0: {
          ASSIGN_OR_RETURN(field.value, Varint(&at, end));
          break;
        }
        case 1:
        case 5: {
          const int64_t bytes = (tag & 7) == 1 ? 8 : 4;
          if (end - at < bytes) return NotOnnx(at);
          at += bytes;
          break;
        }
        case 2: {
          ASSIGN_OR_RETURN(const uint64_t bytes, Varint(&at, end));
          if (bytes > static_cast<uint64_t>(end - at)) return NotOnnx(at);
          field.is_bytes = true;
          field.begin = at;
          at += static_cast<int64_t>(bytes);
          field.end = at;
          break;
        }
        default:
          return NotOnnx(at);
      }
      RETURN_IF_ERROR(fn(field));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Text(const Field& field) {
    if (!field.is_bytes || field.end - field.begin > static_cast<int64_t>(kMaxNameBytes)) {
      return NotOnnx(field.begin);
    }
    return source_.ReadString(field.begin, field.end - field.begin);
  }

 private:
  static absl::Status NotOnnx(int64_t at) {
    return absl::InvalidArgumentError(absl::StrCat("no ONNX file: damaged at byte ", at));
  }

  absl::StatusOr<uint64_t> Varint(int64_t* at, int64_t end) {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (*at >= end) return NotOnnx(*at);
      if (*at < window_begin_ || *at >= window_begin_ + static_cast<int64_t>(window_.size())) {
        window_begin_ = *at;
        ASSIGN_OR_RETURN(window_,
                         source_.ReadString(*at, std::min(kWindowBytes, source_.size() - *at)));
      }
      const auto byte = static_cast<uint8_t>(window_[static_cast<size_t>(*at - window_begin_)]);
      ++*at;
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    return NotOnnx(*at);
  }

  const ByteSource& source_;
  std::string window_;
  int64_t window_begin_ = 0;
};

class InterfaceReader {
 public:
  explicit InterfaceReader(const ByteSource& source) : source_(source), reader_(source) {}

  absl::StatusOr<OnnxInterface> Read() {
    bool graph = false;
    RETURN_IF_ERROR(reader_.ForFields(0, source_.size(), [&](const Field& field) {
      if (field.number != kModelGraph || !field.is_bytes) return absl::OkStatus();
      graph = true;
      return ReadGraph(field);
    }));
    if (!graph) return absl::InvalidArgumentError("no ONNX file: it holds no graph");
    // Initializers are defaults of inputs, wherever they stand.
    auto& inputs = out_.inputs;
    inputs.erase(std::remove_if(inputs.begin(), inputs.end(),
                                [this](const OnnxInterface::Input& input) {
                                  return defaults_.count(input.name) != 0;
                                }),
                 inputs.end());
    return std::move(out_);
  }

 private:
  absl::Status ReadGraph(const Field& graph) {
    return reader_.ForFields(graph.begin, graph.end, [this](const Field& field) -> absl::Status {
      if (!field.is_bytes) return absl::OkStatus();
      switch (field.number) {
        case kGraphInitializer:
          return ReadDefault(field);
        case kGraphSparseInitializer:
          return reader_.ForFields(field.begin, field.end, [this](const Field& part) {
            return part.number == kSparseValues && part.is_bytes ? ReadDefault(part)
                                                                 : absl::OkStatus();
          });
        case kGraphInput:
          return ReadInput(field);
        case kGraphOutput: {
          ASSIGN_OR_RETURN(const OnnxInterface::Input output, ReadInfo(field));
          out_.outputs.push_back(output.name);
          return CheckCount(out_.outputs.size());
        }
        default:
          return absl::OkStatus();
      }
    });
  }

  static absl::Status CheckCount(size_t names) {
    if (names <= kMaxInterfaceNames) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("more than ", kMaxInterfaceNames, " inputs or outputs"));
  }

  absl::Status ReadDefault(const Field& tensor) {
    return reader_.ForFields(tensor.begin, tensor.end, [this](const Field& field) -> absl::Status {
      if (field.number != kTensorName) return absl::OkStatus();
      ASSIGN_OR_RETURN(std::string name, reader_.Text(field));
      if (defaults_.size() >= static_cast<size_t>(limits::kMaxTensors)) {
        return absl::InvalidArgumentError("too many initializers");
      }
      defaults_.insert(std::move(name));
      return absl::OkStatus();
    });
  }

  absl::Status ReadInput(const Field& info) {
    ASSIGN_OR_RETURN(OnnxInterface::Input input, ReadInfo(info));
    out_.inputs.push_back(std::move(input));
    return CheckCount(out_.inputs.size());
  }

  absl::StatusOr<OnnxInterface::Input> ReadInfo(const Field& info) {
    OnnxInterface::Input out;
    RETURN_IF_ERROR(
        reader_.ForFields(info.begin, info.end, [&](const Field& field) -> absl::Status {
          if (field.number == kInfoName) {
            ASSIGN_OR_RETURN(out.name, reader_.Text(field));
          }
          if (field.number != kInfoType || !field.is_bytes) return absl::OkStatus();
          return reader_.ForFields(field.begin, field.end, [&](const Field& kind) {
            return kind.number == kTypeTensor && kind.is_bytes ? ReadTensorType(kind, &out)
                                                               : absl::OkStatus();
          });
        }));
    return out;
  }

  absl::Status ReadTensorType(const Field& type, OnnxInterface::Input* out) {
    return reader_.ForFields(type.begin, type.end, [&](const Field& field) -> absl::Status {
      if (field.number == kTensorElement && !field.is_bytes) {
        out->dtype = static_cast<DType>(static_cast<int32_t>(field.value));
      }
      if (field.number != kTensorShape || !field.is_bytes) return absl::OkStatus();
      out->shape.emplace();
      return reader_.ForFields(field.begin, field.end, [&](const Field& dim) -> absl::Status {
        if (dim.number != kShapeDim || !dim.is_bytes) return absl::OkStatus();
        if (out->shape->size() >= static_cast<size_t>(limits::kMaxTensorRank)) {
          return absl::InvalidArgumentError("an input has too many axes");
        }
        OnnxInterface::Axis& axis = out->shape->emplace_back();
        return reader_.ForFields(dim.begin, dim.end, [&](const Field& part) -> absl::Status {
          if (part.number == kDimValue && !part.is_bytes) {
            axis.value = static_cast<int64_t>(part.value);
          } else if (part.number == kDimParam) {
            ASSIGN_OR_RETURN(axis.symbol, reader_.Text(part));
          }
          return absl::OkStatus();
        });
      });
    });
  }

  const ByteSource& source_;
  Reader reader_;
  OnnxInterface out_;
  std::set<std::string> defaults_;
};

}  // namespace

absl::StatusOr<OnnxInterface> ReadOnnxInterface(const ByteSource& source) {
  return InterfaceReader(source).Read();
}

}  // namespace lathe
