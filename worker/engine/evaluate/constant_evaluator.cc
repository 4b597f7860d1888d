#include "worker/engine/evaluate/constant_evaluator.h"

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "common/checked.h"

namespace lathe::engine {
namespace {

constexpr int kMaxChain = 64;

std::optional<FloatArray> FromTensor(const Tensor& tensor) {
  FloatArray out;
  out.dims = tensor.dims;
  if (IsFloat(tensor.dtype)) {
    auto values = tensor.ToFloats();
    if (!values.ok()) return std::nullopt;
    out.values = *std::move(values);
    return out;
  }
  const absl::string_view data = tensor.data.view();
  if (tensor.dtype == DType::kInt4 || tensor.dtype == DType::kUint4) {
    out.values.resize(static_cast<size_t>(tensor.size()));
    for (size_t i = 0; i < out.values.size(); ++i) {
      const auto byte = static_cast<unsigned char>(data[i / 2]);
      const int nibble = (i % 2 == 0 ? byte : byte >> 4) & 0xf;
      out.values[i] =
          static_cast<float>(tensor.dtype == DType::kInt4 && nibble > 7 ? nibble - 16 : nibble);
    }
    return out;
  }
  auto values = tensor.ToInt64s();
  if (!values.ok()) return std::nullopt;
  out.values.assign(values->begin(), values->end());
  return out;
}

std::optional<FloatArray> FromSparse(const std::string& serialized) {
  onnx::SparseTensorProto sparse;
  if (!sparse.ParseFromString(serialized) ||
      sparse.values().data_type() != onnx::TensorProto::FLOAT)
    return std::nullopt;
  FloatArray out;
  out.dims.assign(sparse.dims().begin(), sparse.dims().end());
  const auto size = CheckedProduct(out.dims);
  const std::string& values = sparse.values().raw_data();
  const std::string& indices = sparse.indices().raw_data();
  if (!size || indices.size() != values.size() * 2)
    return std::nullopt;  // float32 values, flat int64 indices
  out.values.assign(static_cast<size_t>(*size), 0.0f);
  for (size_t i = 0; i < values.size() / 4; ++i) {
    int64_t index = 0;
    std::memcpy(&index, indices.data() + i * 8, 8);
    if (index < 0 || index >= *size) return std::nullopt;
    std::memcpy(&out.values[static_cast<size_t>(index)], values.data() + i * 4, 4);
  }
  return out;
}

std::vector<int64_t> Strides(const Shape& dims) {
  std::vector<int64_t> strides(dims.size(), 1);
  for (int i = static_cast<int>(dims.size()) - 2; i >= 0; --i)
    strides[i] = strides[i + 1] * dims[i + 1];
  return strides;
}

// Calls fn(flat, index) over all indices of `dims`, row-major.
template <typename Fn>
void ForEachIndex(const Shape& dims, Fn fn) {
  const int64_t size = CheckedProduct(dims).value_or(0);
  std::vector<int64_t> index(dims.size(), 0);
  for (int64_t flat = 0; flat < size; ++flat) {
    fn(static_cast<size_t>(flat), index);
    for (int d = static_cast<int>(dims.size()) - 1; d >= 0 && ++index[d] == dims[d]; --d)
      index[d] = 0;
  }
}

template <typename Op>
std::optional<FloatArray> Broadcast(const FloatArray& a, const FloatArray& b, Op op) {
  FloatArray out;
  const size_t rank = std::max(a.dims.size(), b.dims.size());
  const auto strides_of = [rank](const FloatArray& x) {
    std::vector<int64_t> strides(rank, 0);
    const std::vector<int64_t> own = Strides(x.dims);
    const size_t shift = rank - x.dims.size();
    for (size_t i = 0; i < own.size(); ++i) strides[shift + i] = x.dims[i] == 1 ? 0 : own[i];
    return strides;
  };
  for (size_t i = 0; i < rank; ++i) {
    const int64_t da = i + a.dims.size() >= rank ? a.dims[i + a.dims.size() - rank] : 1;
    const int64_t db = i + b.dims.size() >= rank ? b.dims[i + b.dims.size() - rank] : 1;
    if (da != db && da != 1 && db != 1) return std::nullopt;
    out.dims.push_back(std::max(da, db));
  }
  const auto size = CheckedProduct(out.dims);
  if (!size) return std::nullopt;
  out.values.resize(static_cast<size_t>(*size));
  const std::vector<int64_t> sa = strides_of(a);
  const std::vector<int64_t> sb = strides_of(b);
  // Row by row: the last dimension is the inner loop.
  const int64_t inner = rank == 0 ? 1 : out.dims[rank - 1];
  const int64_t step_a = rank == 0 ? 0 : sa[rank - 1];
  const int64_t step_b = rank == 0 ? 0 : sb[rank - 1];
  Shape outer(out.dims.begin(), out.dims.begin() + static_cast<int64_t>(rank == 0 ? 0 : rank - 1));
  ForEachIndex(outer, [&](size_t row, const std::vector<int64_t>& index) {
    const float* pa =
        a.values.data() + std::inner_product(index.begin(), index.end(), sa.begin(), int64_t{0});
    const float* pb =
        b.values.data() + std::inner_product(index.begin(), index.end(), sb.begin(), int64_t{0});
    float* to = out.values.data() + static_cast<int64_t>(row) * inner;
    for (int64_t i = 0; i < inner; ++i) to[i] = op(pa[i * step_a], pb[i * step_b]);
  });
  return out;
}

std::optional<FloatArray> Transpose(const FloatArray& in, std::vector<int64_t> perm) {
  const size_t rank = in.dims.size();
  if (perm.empty()) {
    for (size_t i = 0; i < rank; ++i) perm.push_back(static_cast<int64_t>(rank - 1 - i));
  }
  if (perm.size() != rank) return std::nullopt;
  const std::vector<int64_t> strides = Strides(in.dims);
  FloatArray out;
  std::vector<int64_t> moved;
  for (const int64_t p : perm) {
    if (p < 0 || p >= static_cast<int64_t>(rank)) return std::nullopt;
    out.dims.push_back(in.dims[p]);
    moved.push_back(strides[p]);
  }
  out.values.resize(in.values.size());
  ForEachIndex(out.dims, [&](size_t flat, const std::vector<int64_t>& index) {
    out.values[flat] = in.values[static_cast<size_t>(
        std::inner_product(index.begin(), index.end(), moved.begin(), int64_t{0}))];
  });
  return out;
}

std::optional<FloatArray> Reshape(FloatArray in, std::vector<int64_t> dims) {
  int64_t known = 1;
  int unknown = -1;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == 0 && i < in.dims.size()) dims[i] = in.dims[i];
    if (dims[i] == -1) {
      unknown = static_cast<int>(i);
    } else {
      known *= dims[i];
    }
  }
  const auto size = static_cast<int64_t>(in.values.size());
  if (unknown >= 0 && known > 0) dims[unknown] = size / known;
  if (CheckedProduct(dims) != size) return std::nullopt;
  in.dims = std::move(dims);
  return in;
}

std::optional<FloatArray> Dequantize(const FloatArray& q, const FloatArray& scale,
                                     const std::optional<FloatArray>& zero, int64_t axis,
                                     int64_t block) {
  const auto rank = static_cast<int64_t>(q.dims.size());
  if (axis < 0) axis += rank;
  FloatArray out = q;
  bool fits = true;
  const std::vector<int64_t> strides = Strides(scale.dims);
  ForEachIndex(q.dims, [&](size_t flat, const std::vector<int64_t>& index) {
    int64_t at = 0;
    if (scale.values.size() == 1) {
      at = 0;
    } else if (block == 0) {
      if (axis >= rank) {
        fits = false;
        return;
      }
      at = index[static_cast<size_t>(axis)];
    } else {
      for (int64_t d = 0; d < rank; ++d) {
        at += (d == axis ? index[static_cast<size_t>(d)] / block : index[static_cast<size_t>(d)]) *
              strides[static_cast<size_t>(d)];
      }
    }
    if (at < 0 || at >= static_cast<int64_t>(scale.values.size())) {
      fits = false;
      return;
    }
    const float z = zero ? zero->values[static_cast<size_t>(at) % zero->values.size()] : 0.0f;
    out.values[flat] = (q.values[flat] - z) * scale.values[static_cast<size_t>(at)];
  });
  return fits ? std::optional<FloatArray>(out) : std::nullopt;
}

}  // namespace

ConstantEvaluator::ConstantEvaluator(const Graph& graph) : graph_(graph) {
  for (const auto& node : graph.nodes) {
    for (const std::string& output : node->outputs) {
      if (!output.empty()) producers_.emplace(output, node.get());
    }
  }
}

std::optional<std::vector<int64_t>> ConstantEvaluator::Integers(const std::string& value) const {
  const std::optional<FloatArray> array = Evaluate(value);
  if (!array) return std::nullopt;
  return std::vector<int64_t>(array->values.begin(), array->values.end());
}

std::optional<FloatArray> ConstantEvaluator::Evaluate(const std::string& value) const {
  if (const auto it = graph_.initializers.find(value); it != graph_.initializers.end())
    return FromTensor(it->second);
  if (const auto it = graph_.sparse_initializers.find(value);
      it != graph_.sparse_initializers.end()) {
    return FromSparse(it->second);
  }
  if (const auto it = producers_.find(value); it != producers_.end()) {
    if (depth_ >= kMaxChain) return std::nullopt;
    ++depth_;
    std::optional<FloatArray> out = EvaluateNode(*it->second);
    --depth_;
    return out;
  }
  if (graph_.IsInput(value) || graph_.parent == nullptr) return std::nullopt;
  return ConstantEvaluator(*graph_.parent).Evaluate(value);
}

std::optional<FloatArray> ConstantEvaluator::EvaluateNode(const Node& node) const {
  if (!node.domain.empty()) return std::nullopt;
  if (node.op_type == "Constant") {
    const Attribute* attribute = node.FindAttribute("value");
    return attribute != nullptr && !attribute->tensors.empty() ? FromTensor(attribute->tensors[0])
                                                               : std::nullopt;
  }
  if (node.inputs.empty()) return std::nullopt;
  const std::optional<FloatArray> in = Evaluate(node.inputs[0]);
  if (!in) return std::nullopt;
  const auto other = [&](size_t i) -> std::optional<FloatArray> {
    return i < node.inputs.size() && !node.inputs[i].empty() ? Evaluate(node.inputs[i])
                                                             : std::nullopt;
  };
  if (node.op_type == "Identity") return in;
  if (node.op_type == "Cast") {
    FloatArray out = *in;
    const auto to = static_cast<DType>(node.IntAttribute("to", 1));
    if (to == DType::kFloat16) {
      for (float& v : out.values) v = HalfToFloat(FloatToHalf(v));
    } else if (!IsFloat(to)) {
      return std::nullopt;
    }
    return out;
  }
  if (node.op_type == "Mul" || node.op_type == "Add" || node.op_type == "Sub") {
    const std::optional<FloatArray> b = other(1);
    if (!b) return std::nullopt;
    if (node.op_type == "Mul") return Broadcast(*in, *b, [](float x, float y) { return x * y; });
    if (node.op_type == "Add") return Broadcast(*in, *b, [](float x, float y) { return x + y; });
    return Broadcast(*in, *b, [](float x, float y) { return x - y; });
  }
  if (node.op_type == "Transpose") return Transpose(*in, node.IntsAttribute("perm"));
  if (node.op_type == "Reshape") {
    const auto dims = node.inputs.size() > 1 ? Integers(node.inputs[1]) : std::nullopt;
    return dims ? Reshape(*in, *dims) : std::nullopt;
  }
  if (node.op_type == "Slice" && node.inputs.size() >= 4) {
    // What our own quantizer emits: one axis, step 1, from 0.
    const auto starts = Integers(node.inputs[1]);
    const auto ends = Integers(node.inputs[2]);
    const auto axes = Integers(node.inputs[3]);
    if (!starts || !ends || !axes || axes->size() != 1 || (*starts)[0] != 0 ||
        node.inputs.size() > 4)
      return std::nullopt;
    const auto axis = static_cast<size_t>((*axes)[0]);
    if (axis >= in->dims.size() || (*ends)[0] > in->dims[axis] || (*ends)[0] < 0)
      return std::nullopt;
    FloatArray out;
    out.dims = in->dims;
    out.dims[axis] = (*ends)[0];
    const std::vector<int64_t> strides = Strides(in->dims);
    out.values.resize(static_cast<size_t>(CheckedProduct(out.dims).value_or(0)));
    ForEachIndex(out.dims, [&](size_t flat, const std::vector<int64_t>& index) {
      out.values[flat] = in->values[static_cast<size_t>(
          std::inner_product(index.begin(), index.end(), strides.begin(), int64_t{0}))];
    });
    return out;
  }
  if (node.op_type == "DequantizeLinear") {
    const std::optional<FloatArray> scale = other(1);
    if (!scale) return std::nullopt;
    return Dequantize(*in, *scale, other(2), node.IntAttribute("axis", 1),
                      node.IntAttribute("block_size", 0));
  }
  return std::nullopt;
}

}  // namespace lathe::engine
