// Follows an operand back to the constant it comes from.
#ifndef LATHE_WORKER_ENGINE_GRAPH_TRACE_H_
#define LATHE_WORKER_ENGINE_GRAPH_TRACE_H_

#include <string>
#include <unordered_map>
#include <vector>

#include "worker/engine/graph/scopes.h"

namespace lathe::engine {

// Where an operand comes from, through Identity, Cast between float types and Transpose.
struct Origin {
  enum class Kind {
    kNone,       // not a constant: computed, a graph input, missing
    kConstant,   // `tensor`, an initializer or the value of a Constant node
    kSparse,     // a sparse initializer
    kFormal,     // a parameter of a function, or a Constant whose value is an attribute of the
                 // function's call
    kComputed,   // computed from constants alone by other operators
    kQuantized,  // likewise, and the largest constant among them holds integers, or passes a
                 // QuantizeLinear
  };
  Kind kind = Kind::kNone;
  Definition* source = nullptr;    // kConstant, kSparse, kFormal, and kQuantized where it is known
  const Tensor* tensor = nullptr;  // kConstant, kQuantized
  std::vector<int64_t> permutation;  // operand = transpose(source, permutation); empty: as it is
  const Node* by = nullptr;          // kComputed, kQuantized: the node next to the operand
  std::string problem;  // non-empty: a Transpose on the way is broken; the operand is a constant
                        // all the same
};

class Tracer {
 public:
  explicit Tracer(const ScopeIndex& index) : index_(index) {}

  Origin Trace(const Graph* graph, const std::string& value);

 private:
  // What a value that no chain explains is computed from.
  struct Derived {
    bool constant = false;  // from constants alone
    bool quantized = false;
    Definition* largest_source = nullptr;
    const Tensor* largest = nullptr;
  };
  const Derived& Derive(Definition* definition, int depth);

  const ScopeIndex& index_;
  std::unordered_map<const Definition*, Derived> derived_;
};

// The tensor of an initializer's or Constant node's definition; nullptr for others, and for
// Constants without a tensor value.
const Tensor* ConstantTensor(const Definition& definition);

// Whether `node` is a link of the chains that Trace follows: it passes its first input on.
bool IsChainLink(const Node& node);

// Integers of sixteen bits and fewer, and 8-bit floats: what weights are quantized to.
bool IsQuantizedType(DType dtype);

// A float cast is a link, a cast to integers is not.
bool IsFloatCast(const Node& node);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_TRACE_H_
