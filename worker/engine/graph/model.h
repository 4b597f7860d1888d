// The engine's own graph IR. It mirrors ONNX: values are names, scopes are graphs. What the IR does
// not model is kept, serialized, beside the thing it belongs to (`extra`), and written back as it
// was, so that files newer than this code pass through.
//
// Invariants (checked by graph/verifier.h):
//   1. Within a graph, every value name is produced once (graph input, initializer or node output;
//   an initializer may repeat an
//      input's name: that is its default value).
//   2. Nodes stand in topological order; a node's inputs are "", or produced before it in its graph
//   or an enclosing one.
//   3. Every graph output is produced in its graph or (subgraphs) visible from it.
//   4. Sibling subgraphs may reuse each other's names; names are resolved from the inside out.
#ifndef LATHE_WORKER_ENGINE_GRAPH_MODEL_H_
#define LATHE_WORKER_ENGINE_GRAPH_MODEL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

class Scratch;
struct Graph;

// An attribute of a node. Kinds are numbered as ONNX's AttributeProto.AttributeType.
struct Attribute {
  enum class Kind : int32_t {
    kUndefined = 0,
    kFloat = 1,
    kInt = 2,
    kString = 3,
    kTensor = 4,
    kGraph = 5,
    kFloats = 6,
    kInts = 7,
    kStrings = 8,
    kTensors = 9,
    kGraphs = 10,
    // Sparse tensors and type protos (11 to 14, and whatever comes later) live in `extra`.
  };
  std::string name;
  Kind kind = Kind::kUndefined;
  float f = 0;
  int64_t i = 0;
  std::string s;
  std::vector<float> floats;
  std::vector<int64_t> ints;
  std::vector<std::string> strings;
  std::vector<Tensor> tensors;                 // kTensor: exactly one
  std::vector<std::unique_ptr<Graph>> graphs;  // kGraph: exactly one
  std::string extra;  // unmodelled fields of the AttributeProto (ref_attr_name, doc_string, ...)
};

// Where a node comes from: for reports, and so that later steps know their predecessors' work.
struct Provenance {
  // Display name of the original layer (Layer::name of graph/layers.h) this node computes, or part
  // of it; "" for a node read from the file.
  std::string origin;
  // Method that made it: "low_rank"; "" for a node read from the file.
  std::string method;
};

struct Node {
  std::string name;  // may be empty
  std::string op_type;
  std::string domain;  // "" is ai.onnx
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  std::vector<Attribute> attributes;
  std::string doc_string;
  std::string extra;  // unmodelled fields of the NodeProto (overload, metadata_props, unknown ones)
  Provenance provenance;

  const Attribute* FindAttribute(absl::string_view attribute) const;
  Attribute* FindAttribute(absl::string_view attribute);
  int64_t IntAttribute(absl::string_view attribute, int64_t fallback) const;
  float FloatAttribute(absl::string_view attribute, float fallback) const;
  std::string StringAttribute(absl::string_view attribute, absl::string_view fallback) const;
  std::vector<int64_t> IntsAttribute(absl::string_view attribute,
                                     std::vector<int64_t> fallback = {}) const;
  void SetInt(absl::string_view attribute, int64_t value);
  void SetInts(absl::string_view attribute, std::vector<int64_t> value);
  void SetFloat(absl::string_view attribute, float value);
  void SetString(absl::string_view attribute, std::string value);
  void RemoveAttribute(absl::string_view attribute);
  bool Is(absl::string_view op, absl::string_view op_domain = "") const {
    return op_type == op && domain == op_domain;
  }
};

// A dimension: a number, a symbol, or neither (unknown).
struct Dim {
  std::optional<int64_t> value;
  std::string symbol;
};

// A name with its declared type. Non-tensor types (sequence, map, optional, sparse) have dtype
// kUndefined and live in `extra`.
struct ValueInfo {
  std::string name;
  DType dtype = DType::kUndefined;
  std::optional<std::vector<Dim>> dims;  // nullopt: unknown rank
  // The serialized ValueInfoProto it was read from. When `modified` is false the writer writes
  // exactly this.
  std::string original;
  bool modified = true;
};

struct Graph {
  std::string name;
  std::vector<std::unique_ptr<Node>> nodes;    // pointers are stable while the node lives
  std::map<std::string, Tensor> initializers;  // by name; the writer keeps this order
  std::vector<ValueInfo> inputs;
  std::vector<ValueInfo> outputs;
  std::map<std::string, ValueInfo> value_infos;
  // Serialized SparseTensorProtos by the name of their values; passed through, or made by
  // prune_weights with storage: sparse.
  std::map<std::string, Bytes> sparse_initializers;
  std::string doc_string;
  std::string extra;        // quantization_annotation, metadata_props, unknown fields
  Graph* parent = nullptr;  // enclosing graph, or nullptr

  bool IsInput(absl::string_view value) const;
  bool IsOutput(absl::string_view value) const;
  // A name starting with `stem` that is not used in this graph, its ancestors or any of its
  // descendants, nor among `Node::name`s. Cost: linear in the graph on the first call after a
  // change; callers that need many names use NameScope of graph/edit.h.
};

// A model-local function. Its body is a graph whose inputs and outputs carry names only.
struct Function {
  std::string domain;
  std::string name;
  std::string overload;
  std::unique_ptr<Graph> body;
  std::map<std::string, int64_t> opset_imports;
  std::string extra;  // attribute names and defaults, doc_string, value_info, unknown fields
};

struct Model {
  int64_t ir_version = 0;
  std::map<std::string, int64_t> opset_imports;  // domain -> version; "ai.onnx" is stored as ""
  std::unique_ptr<Graph> graph;
  std::vector<Function> functions;
  std::string extra;  // producer, metadata_props, training_info, unknown fields
  // Files the model was read from, main file first, relative to its folder.
  std::vector<std::string> source_files;
  // Takes large new constants out of memory; null: they stay there. Not part of the model: clones
  // have none.
  std::shared_ptr<Scratch> scratch;

  int64_t OpsetVersion(absl::string_view domain) const;  // 0 when not imported
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_MODEL_H_
