#include "worker/engine/passes/emit_matmul_nbits.h"

#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/engine/graph/function_parameters.h"

namespace lathe::engine {
namespace {

constexpr char kMicrosoft[] = "com.microsoft";
constexpr int kMiddle = 8;  // what MatMulNBits takes for zero where no zero points are given

const std::string& Operand(const WeightUse& use) { return use.node->inputs[0]; }

// [N, K], row n = (outer, inner).
class Packed {
 public:
  explicit Packed(const BlockConstants& c) : c_(c) {}

  int64_t rows() const { return c_.outer * c_.inner; }

  std::string Integers() const {
    const int64_t length = c_.blocks * c_.block;
    std::string out(static_cast<size_t>(rows() * length / 2), '\0');
    const int add = c_.zero_points.empty() ? kMiddle : 0;
    for (int64_t n = 0; n < rows(); ++n) {
      for (int64_t k = 0; k < length; ++k) {
        // Padding decodes to anything: what it meets is zero.
        const char stored = c_.integers[At(n, k, length)];
        const int value =
            add != 0 ? static_cast<signed char>(stored) + add : static_cast<unsigned char>(stored);
        char& byte = out[static_cast<size_t>((n * length + k) / 2)];
        byte = static_cast<char>(byte | (value & 15) << (k % 2 * 4));
      }
    }
    return out;
  }

  std::vector<float> Scales() const {
    std::vector<float> out;
    out.reserve(c_.scales.size());
    for (int64_t n = 0; n < rows(); ++n) {
      for (int64_t b = 0; b < c_.blocks; ++b) out.push_back(c_.scales[At(n, b, c_.blocks)]);
    }
    return out;
  }

  // Two a byte, each row from a byte of its own.
  std::string ZeroPoints() const {
    const int64_t a_row = (c_.blocks + 1) / 2;
    std::string out(static_cast<size_t>(rows() * a_row), '\0');
    for (int64_t n = 0; n < rows(); ++n) {
      for (int64_t b = 0; b < c_.blocks; ++b) {
        char& byte = out[static_cast<size_t>(n * a_row + b / 2)];
        const int value = static_cast<unsigned char>(c_.zero_points[At(n, b, c_.blocks)]);
        byte = static_cast<char>(byte | (value & 15) << (b % 2 * 4));
      }
    }
    return out;
  }

 private:
  // Element `at` of row n, of [outer, length, inner].
  size_t At(int64_t n, int64_t at, int64_t length) const {
    return static_cast<size_t>((n / c_.inner * length + at) * c_.inner + n % c_.inner);
  }

  const BlockConstants& c_;
};

std::unique_ptr<Node> MakeNode(const Weight& weight, NameScope& names, const std::string& op,
                               std::vector<std::string> inputs, const std::string& output) {
  auto node = std::make_unique<Node>();
  node->name = names.Fresh(absl::StrCat(output, "/", op));
  node->op_type = op;
  node->inputs = std::move(inputs);
  node->outputs = {output};
  node->provenance = {weight.name, "quantize_weights"};
  return node;
}

Tensor Bytes8(std::string name, Shape dims, std::string data) {
  // Sizes are ours: a mismatch is a bug, and dies here.
  return *Tensor::Make(std::move(name), DType::kUint8, std::move(dims), std::move(data));
}

void ImportMicrosoft(Model& model, const Graph& graph) {
  const Graph* root = &graph;
  while (root->parent != nullptr) root = root->parent;
  for (Function& function : model.functions) {
    if (function.body.get() == root) function.opset_imports.emplace(kMicrosoft, 1);
  }
  model.opset_imports.emplace(kMicrosoft, 1);
}

}  // namespace

bool AllowsMatMulNBits(const Model& model, const Weight& weight, const Inference& shapes) {
  if (weight.dtype != DType::kFloat || weight.dims.size() != 2 || weight.uses.empty()) return false;
  for (const WeightUse& use : weight.uses) {
    const Node& node = *use.node;
    const bool gemm = use.role == WeightRole::kGemmB && node.IntAttribute("transA", 0) == 0 &&
                      node.FloatAttribute("alpha", 1) == 1 && node.FloatAttribute("beta", 1) == 1;
    if (!gemm && use.role != WeightRole::kMatMulRight) return false;
    if (use.source_reduction_axis != weight.uses[0].source_reduction_axis) return false;
    const ValueFact* x = shapes.Find(use.graph, Operand(use));
    const ValueFact* w = shapes.Find(use.graph, node.inputs[static_cast<size_t>(use.input)]);
    if (x == nullptr || !x->ranked || x->dims.size() < 2 || x->dtype != DType::kFloat ||
        w == nullptr || w->dtype != DType::kFloat) {
      return false;
    }
  }
  return true;
}

int64_t EmitMatMulNBits(Model& model, const Weight& weight, const BlockConstants& c,
                        const Inference& shapes, NameScope& names) {
  Graph& home = *weight.source.graph;
  const std::string value = weight.source.value;
  const Packed packed(c);
  const int64_t n = packed.rows();
  int64_t bytes = 0;
  const auto put = [&](Tensor tensor) {
    bytes += tensor.byte_size();
    std::string name = tensor.name;
    AddConstant(model, home, std::move(tensor));
    return name;
  };
  const auto next = [&](absl::string_view what) {
    return names.Fresh(absl::StrCat(value, "_", what));
  };
  const std::string q = put(Bytes8(next("q"), {n, c.blocks, c.block / 2}, packed.Integers()));
  const std::string scales = put(Tensor::FromFloats(next("scale"), {n, c.blocks}, packed.Scales()));
  std::string zeros;
  if (!c.zero_points.empty()) {
    zeros = put(Bytes8(next("zero_point"), {n, (c.blocks + 1) / 2}, packed.ZeroPoints()));
  }
  std::string input_scale;
  if (!c.input_scales.empty()) {
    input_scale = put(Tensor::FromFloats(
        next("input_scale"), {static_cast<int64_t>(c.input_scales.size())}, c.input_scales));
  }
  for (const WeightUse& use : weight.uses) {
    Node& node = *use.node;
    std::string x = Operand(use);
    if (!input_scale.empty()) {
      const std::string scaled = names.Fresh(absl::StrCat(node.outputs[0], "_rescaled"));
      std::vector<std::unique_ptr<Node>> before;
      before.push_back(MakeNode(weight, names, "Mul", {x, input_scale}, scaled));
      InsertBefore(*use.graph, &node, std::move(before));
      x = scaled;
    }
    const std::string bias =
        use.role == WeightRole::kGemmB && node.inputs.size() > 2 ? node.inputs[2] : "";
    const ValueFact* fact = bias.empty() ? nullptr : shapes.Find(use.graph, bias);
    const bool inside = fact != nullptr && fact->ranked && fact->dims == Shape{n};
    node.op_type = "MatMulNBits";
    node.domain = kMicrosoft;
    node.attributes.clear();
    node.SetInt("K", c.k);
    node.SetInt("N", n);
    node.SetInt("bits", 4);
    node.SetInt("block_size", c.block);
    node.SetInt("accuracy_level", 4);
    node.provenance = {weight.name, "quantize_weights"};
    node.inputs = {x, q, scales};
    if (!zeros.empty()) node.inputs.push_back(zeros);
    if (inside) {
      node.inputs.resize(5);
      node.inputs.push_back(bias);
    } else if (!bias.empty()) {
      const std::string y = node.outputs[0];
      node.outputs[0] = names.Fresh(absl::StrCat(y, "_product"));
      std::vector<std::unique_ptr<Node>> after;
      after.push_back(MakeNode(weight, names, "Add", {node.outputs[0], bias}, y));
      InsertAfter(*use.graph, &node, std::move(after));
    }
    ImportMicrosoft(model, *use.graph);
  }
  if (CountReaders(home, value) == 0) RemoveSource(weight);
  return bytes;
}

}  // namespace lathe::engine
