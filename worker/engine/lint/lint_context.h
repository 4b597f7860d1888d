// A model as the rules of the linter see it: who produces what, which values are constants, which
// pass a QuantizeLinear or a DequantizeLinear, and the groups that a runtime is meant to fuse.
#ifndef LATHE_WORKER_ENGINE_LINT_LINT_CONTEXT_H_
#define LATHE_WORKER_ENGINE_LINT_LINT_CONTEXT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "worker/engine/graph/scopes.h"
#include "worker/engine/ops/shape_inference.h"

namespace lathe::engine {

// A QuantizeLinear or DequantizeLinear with its parameters.
struct Quantizer {
  const Graph* graph = nullptr;
  const Node* node = nullptr;
  bool dequantizes = false;
  DType dtype = DType::kUndefined;     // of the integers
  const Tensor* scale = nullptr;       // nullptr: not a constant
  const Tensor* zero_point = nullptr;  // nullptr: left out, or not a constant
  bool zero_point_computed = false;    // given, and not a constant
  const Tensor* integers = nullptr;    // of a DequantizeLinear of a constant
  int64_t axis = 1;                    // as given: may be negative
  int64_t block_size = 0;              // 0: not in blocks
  bool constant_parameters() const { return scale != nullptr && !zero_point_computed; }
  bool per_tensor() const { return scale != nullptr && scale->size() == 1; }
};

// A Conv, ConvTranspose, MatMul or Gemm and what feeds it.
struct LinearGroup {
  const Graph* graph = nullptr;
  const Node* node = nullptr;
  std::optional<Quantizer> data;    // DequantizeLinear on input 0
  std::optional<Quantizer> weight;  // on input 1; `integers` is set when it is a constant
  // Along which `weight` counts output channels: of a [O, I/g, k...] kernel 0, of [K, N] 1.
  int64_t output_axis = 0;
  // The bias as an input of the node, or as the other operand of the Add that alone reads a MatMul.
  std::string bias;
  std::optional<Quantizer> bias_dequantizer;
  const Tensor* float_bias = nullptr;  // the bias when it is a float constant
  const Node* add = nullptr;           // that Add
  // The value after bias, and after a Relu or Clip that alone reads it.
  std::string output;
  const Node* activation = nullptr;
  std::optional<Quantizer> quantized_output;  // a QuantizeLinear among the readers of `output`
  // Readers of `output` that are no QuantizeLinear (graph outputs included).
  int64_t other_readers = 0;
};

class LintContext {
 public:
  // `model` must outlive it, unchanged.
  LintContext(const Model& model, const Bindings& bindings);

  const Model& model() const { return model_; }
  const std::vector<ScopeIndex::Place>& nodes() const { return index_.nodes(); }
  const ScopeIndex& index() const { return index_; }
  // Opset of ai.onnx that a node of `graph` is written in.
  int64_t Opset(const Graph* graph) const;

  // The node that produces a value; nullptr for inputs, initializers, and names nobody produces.
  const Node* Producer(const Graph* graph, const std::string& value) const;
  const std::vector<Reader>& Readers(const Graph* graph, const std::string& value) const;
  // The one node that reads a value; nullptr when there are more, or it is a graph output.
  const Node* OnlyReader(const Graph* graph, const std::string& value) const;
  // An initializer or a Constant's value, also behind Identity; nullptr for others.
  const Tensor* Constant(const Graph* graph, const std::string& value) const;
  DType TypeOf(const Graph* graph, const std::string& value) const;
  // Extents; empty when unknown or a scalar.
  Shape DimsOf(const Graph* graph, const std::string& value) const;

  // The parameters of a QuantizeLinear or DequantizeLinear; nullopt for other nodes.
  std::optional<Quantizer> AsQuantizer(const Graph* graph, const Node& node) const;
  // The DequantizeLinear that produces a value.
  std::optional<Quantizer> Dequantizer(const Graph* graph, const std::string& value) const;
  // The first QuantizeLinear that reads a value.
  std::optional<Quantizer> QuantizedReader(const Graph* graph, const std::string& value) const;

  // Every Conv, ConvTranspose, MatMul and Gemm with a DequantizeLinear on an input.
  const std::vector<LinearGroup>& groups() const { return groups_; }

 private:
  std::optional<LinearGroup> AsGroup(const Graph* graph, const Node& node) const;
  void FindBias(LinearGroup& group) const;
  void FindOutput(LinearGroup& group) const;

  const Model& model_;
  const ScopeIndex index_;
  const Inference inference_;
  std::vector<LinearGroup> groups_;
};

// Whether a node is of ai.onnx or of com.microsoft, where operators of the same name live that mean
// the same.
bool IsOp(const Node& node, absl::string_view op);
// Of a short constant; empty for other types. Scales are floats, zero points of at most 32 bits.
std::vector<float> Floats(const Tensor* tensor);
std::vector<int64_t> Integers(const Tensor* tensor);
// The one zero point of a Quantizer: 0 when left out; nullopt when there are several, or it is
// computed.
std::optional<int64_t> ZeroPoint(const Quantizer& quantizer);
// Whether two constant quantizations map the same integers to the same values.
bool SameParameters(const Quantizer& a, const Quantizer& b);
bool IsEightBit(DType dtype);
bool IsSixteenBit(DType dtype);
// The name of an input; "" when the node has no such input.
const std::string& InputOf(const Node& node, size_t index);
const std::string& OutputOf(const Node& node);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_LINT_LINT_CONTEXT_H_
