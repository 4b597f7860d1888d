// Finds the weights of a model: which constants feed which weighted operators, however untidily.
//
// A weight is a constant tensor (its *source*) and the places that use it. Between source and
// operator may lie Identity, Cast between float types, Transpose, and scope borders (If/Loop/Scan
// subgraphs that capture it). Sources are initializers (also when listed as graph inputs with IR 3)
// and Constant nodes, in the main graph, in subgraphs and in function bodies.
#ifndef LATHE_WORKER_ENGINE_GRAPH_LAYERS_H_
#define LATHE_WORKER_ENGINE_GRAPH_LAYERS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

// How an operator uses its weight operand.
enum class WeightRole {
  kConv,           // W [O, I/g, k...]: 1-D, 2-D, 3-D, grouped, depthwise
  kConvTranspose,  // W [I, O/g, k...]
  kGemmB,          // B [K, N], or [N, K] when transB
  kMatMulRight,    // B [..., K, N]: X * W (W may be 1-D [K])
  kMatMulLeft,     // A [..., M, K]: W * X
  kEmbedding,      // Gather axis 0, data [V, D...]
  kRnnInput,       // LSTM/GRU/RNN W [dirs, gates * H, I]
  kRnnRecurrent,   // LSTM/GRU/RNN R [dirs, gates * H, H]
};

// The name used in reports: "Conv", "LSTM.R", ...
std::string RoleName(const Node& node, WeightRole role);

// One use of a weight by an operator.
struct WeightUse {
  Graph* graph = nullptr;  // holds `node`
  Node* node = nullptr;
  int input = 0;  // index among node->inputs
  WeightRole role = WeightRole::kConv;
  // The operator sees transpose(source, permutation); empty: the source as it is.
  std::vector<int64_t> permutation;
  // Shape as the operator sees it.
  Shape dims;
  // Axis of `dims` that counts output channels (rows of an embedding table count as output
  // channels), and that of the reduction (kConv: the I/g axis; the kernel's axes are reduced too;
  // kEmbedding has none: its last axis, along which blocks lie). -1: none (the output axis of 1-D
  // operands).
  int output_axis = -1;
  int reduction_axis = -1;
  // The same two axes of the *source* tensor.
  int source_output_axis = -1;
  int source_reduction_axis = -1;
  // Groups of a convolution; 1 elsewhere.
  int64_t groups = 1;
};

// Where the constant lies.
struct WeightSource {
  enum class Kind { kInitializer, kConstantNode };
  Kind kind = Kind::kInitializer;
  Graph* graph = nullptr;    // the graph that owns it
  Node* constant = nullptr;  // kConstantNode: the Constant node
  std::string value;         // its value name
};

struct Weight {
  // Unique within the model, stable across runs: the first use's node name (or "<OpType>_<index>"
  // where it has none), with
  // ".W"/".R" for recurrent ops and a "#2" suffix where a name repeats. Reports and globs use it.
  std::string name;
  WeightSource source;
  std::string source_name;  // the initializer's (or Constant's) value name; globs match this too
  DType dtype = DType::kFloat;
  Shape dims;                   // of the source
  std::vector<WeightUse> uses;  // at least one; in model order
  // Non-empty: methods must leave it alone, and report this reason: already quantized, also read by
  // a non-weight consumer (named), a graph output, a function parameter that could not be inlined,
  // a dtype that is not float, a sparse initializer, ...
  std::string blocked_reason;

  // Elements.
  int64_t size() const;
};

// All weights of the model, in order of first use: main graph, subgraphs where they occur, then
// functions. Also lists already quantized weighted layers (DequantizeLinear-fed, QLinear*,
// *Integer, MatMulNBits, DynamicQuantize*, ...) as blocked entries, so that a report can name them;
// such an entry may have no source (source.graph == nullptr), and then dtype and dims say what is
// known. Biases and normalization parameters are not weights.
std::vector<Weight> FindWeights(Model& model);

// The source's bytes as they are. The pointer lives until the source is replaced.
const Tensor& SourceTensor(const Weight& weight);

// The source's values as float32, in the source's layout. INVALID_ARGUMENT naming the weight when a
// value is NaN or infinite.
absl::StatusOr<std::vector<float>> ReadWeight(const Weight& weight);

// Replaces the source's values, same shape, same dtype (values are rounded to it); every use sees
// them.
absl::Status WriteWeight(const Weight& weight, std::vector<float> values);

// Makes `value` (already produced in weight.source.graph by new nodes placed by
// InsertConstantProducer, of graph/edit.h) take the place of the source, and removes the source
// (initializer, IR 3 graph input, value_info, Constant node). See graph/edit.h for the editing
// primitives methods build on.

// True when `targets` is empty or a glob matches the weight's name, a use's node name or the source
// name, and no `skip` glob does. Globs: '*' any run, '?' one character, '[...]' a set.
bool Selected(const Weight& weight, const std::vector<std::string>& targets,
              const std::vector<std::string>& skip);
bool GlobMatch(absl::string_view pattern, absl::string_view text);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_LAYERS_H_
