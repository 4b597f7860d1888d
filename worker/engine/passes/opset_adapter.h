// What an opset adapter sees and may do (internal to passes/upgrade_opset).
#ifndef LATHE_WORKER_ENGINE_PASSES_OPSET_ADAPTER_H_
#define LATHE_WORKER_ENGINE_PASSES_OPSET_ADAPTER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

// One node on its way from the version before to `version`.
class AdapterContext {
 public:
  AdapterContext(const Model& model, Graph& graph, NameScope& names, int64_t target)
      : model_(model), graph_(graph), names_(names), target_(target) {}

  void Start(Node& node) { node_ = &node; }
  Node& node() { return *node_; }
  Graph& graph() { return graph_; }
  int64_t target() const { return target_; }

  // Constants of the graph; equal ones share one value.
  std::string Int64s(const std::string& what, const Shape& dims, std::span<const int64_t> values);
  std::string Int64s(const std::string& what, std::span<const int64_t> values) {
    return Int64s(what, {static_cast<int64_t>(values.size())}, values);
  }
  std::string Floats(const std::string& what, DType dtype, const Shape& dims,
                     const std::vector<float>& values);

  // A node to stand before / after the current one. `what` completes the names; the output is
  // fresh.
  Node& Before(const std::string& op, std::vector<std::string> inputs, const std::string& what);
  Node& After(const std::string& op, std::vector<std::string> inputs, const std::string& what);
  std::string FreshValue(const std::string& what);

  // What is known of a value: from declarations and initializers of this graph and the enclosing
  // ones.
  std::optional<int64_t> RankOf(const std::string& value) const;
  // The float type of `value`; float32 too where it is not declared and the model mentions no other
  // float type.
  std::optional<DType> FloatTypeOf(const std::string& value) const;
  // The value of an initializer or Constant node.
  const Tensor* ConstantOf(const std::string& value) const;
  bool IsRead(const std::string& value) const { return CountReaders(graph_, value) > 0; }

  std::vector<std::unique_ptr<Node>> before;
  std::vector<std::unique_ptr<Node>> after;
  std::vector<Tensor> constants;  // to be added when the graph's nodes are in place

 private:
  std::string Stem() const;
  std::string Share(Tensor tensor, const std::string& what);
  bool MentionsOtherFloats() const;

  const Model& model_;
  Graph& graph_;
  NameScope& names_;
  int64_t target_;
  Node* node_ = nullptr;
  std::map<std::string, std::string> shared_;
  mutable std::optional<bool> mentions_other_floats_;
};

// Rewrites ctx.node(). Returns why it cannot, or "".
using AdaptFn = std::string (*)(AdapterContext& ctx);

// The adapter that takes `op` from version - 1 to version; nullptr when nothing changes there.
AdaptFn FindAdapter(const std::string& op, int64_t version);

// Whether the table knows the operator at all.
bool IsKnownOp(const std::string& op);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_OPSET_ADAPTER_H_
