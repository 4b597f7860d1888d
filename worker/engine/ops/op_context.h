// What a shape rule sees and fills in.
#ifndef LATHE_WORKER_ENGINE_OPS_OP_CONTEXT_H_
#define LATHE_WORKER_ENGINE_OPS_OP_CONTEXT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "worker/engine/graph/model.h"
#include "worker/engine/ops/value_fact.h"

namespace lathe::engine {

class OpContext {
 public:
  // `inputs` one a node input, nullptr where it is left out. `opset` is the version of the node's
  // domain.
  OpContext(const Node& node, int64_t opset, std::vector<const ValueFact*> inputs)
      : node_(node), opset_(opset), inputs_(std::move(inputs)), outputs_(node.outputs.size()) {}

  const Node& node() const { return node_; }
  int64_t opset() const { return opset_; }

  size_t input_count() const { return inputs_.size(); }
  // Whether input `i` is given.
  bool Has(size_t i) const { return i < inputs_.size() && inputs_[i] != nullptr; }
  // Whether input `i` is given and its shape is known.
  bool Ranked(size_t i) const { return Has(i) && inputs_[i]->ranked; }
  // What is known of input `i`; an empty fact when it is not given.
  const ValueFact& In(size_t i) const { return Has(i) ? *inputs_[i] : Nothing(); }
  const Shape& Dims(size_t i) const { return In(i).dims; }
  int64_t Rank(size_t i) const { return static_cast<int64_t>(In(i).dims.size()); }
  // The elements of input `i` as integers, when known.
  std::optional<std::vector<int64_t>> Ints(size_t i) const;
  // The elements of input `i` as reals, when known.
  std::optional<std::vector<double>> Reals(size_t i) const;

  size_t output_count() const { return outputs_.size(); }
  // Sets type and shape of output `i`; no effect when the node has no such output. Returns the fact
  // to fill in values (of a scratch fact in that case).
  ValueFact& Set(size_t i, DType dtype, Shape dims);
  const ValueFact& Out(size_t i) const { return outputs_[i]; }
  std::vector<ValueFact>& outputs() { return outputs_; }

  // An extent that only the data decide was taken to be something: why.
  void Assume(std::string what) { assumption_ = std::move(what); }
  const std::string& assumption() const { return assumption_; }

 private:
  static const ValueFact& Nothing();

  const Node& node_;
  int64_t opset_;
  std::vector<const ValueFact*> inputs_;
  std::vector<ValueFact> outputs_;
  ValueFact scratch_;
  std::string assumption_;
};

// `axis` counted from the front; nullopt when it does not lie in [-rank, rank).
std::optional<int64_t> NormalAxis(int64_t axis, int64_t rank);

// Numpy's broadcasting; nullopt when the shapes do not fit.
std::optional<Shape> Broadcast(const Shape& a, const Shape& b);

// Row-major strides in elements.
std::vector<int64_t> Strides(const Shape& dims);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_OP_CONTEXT_H_
