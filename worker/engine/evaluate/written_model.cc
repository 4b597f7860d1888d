#include "worker/engine/evaluate/written_model.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/scopes.h"

namespace lathe::engine {
namespace {

// Large ones a piece at a time: pages of the files that both lie in need not stay in memory.
bool SameBytes(const Bytes& a, const Bytes& b) {
  if (a.size() != b.size()) return false;
  constexpr int64_t kPieceBytes = 4 << 20;
  for (int64_t at = 0; at < a.size(); at += kPieceBytes) {
    const auto from = static_cast<size_t>(at);
    const bool same = a.view().substr(from, kPieceBytes) == b.view().substr(from, kPieceBytes);
    const int64_t count = std::min(kPieceBytes, a.size() - at);
    a.DropPages(at, count);
    b.DropPages(at, count);
    if (!same) return false;
  }
  return true;
}

std::string TensorDifference(const Tensor& a, const Tensor& b) {
  if (a.dtype != b.dtype) return "its type";
  if (a.dims != b.dims) return "its shape";
  if (!SameBytes(a.data, b.data) || a.strings != b.strings) return "its values";
  return "";
}

// Floats are compared by their bits: a NaN equals itself.
bool SameFloats(const std::vector<float>& a, const std::vector<float>& b) {
  const auto bytes = [](const std::vector<float>& values) {
    return absl::string_view(reinterpret_cast<const char*>(values.data()),
                             values.size() * sizeof(float));
  };
  return bytes(a) == bytes(b);
}

std::string AttributeDifference(const Attribute& a, const Attribute& b) {
  if (a.name != b.name || a.kind != b.kind) return "its name or kind";
  const bool same = SameFloats({a.f}, {b.f}) && a.i == b.i && a.s == b.s &&
                    SameFloats(a.floats, b.floats) && a.ints == b.ints && a.strings == b.strings &&
                    a.tensors.size() == b.tensors.size() && a.graphs.size() == b.graphs.size();
  if (!same) return "its value";
  for (size_t i = 0; i < a.tensors.size(); ++i) {
    std::string difference = TensorDifference(a.tensors[i], b.tensors[i]);
    if (!difference.empty()) return difference;
  }
  return "";
}

std::string NodeDifference(const Node& a, const Node& b) {
  if (a.op_type != b.op_type || a.domain != b.domain || a.name != b.name) return "the operator";
  if (a.inputs != b.inputs) return "the inputs";
  if (a.outputs != b.outputs) return "the outputs";
  if (a.attributes.size() != b.attributes.size()) return "the number of attributes";
  for (size_t i = 0; i < a.attributes.size(); ++i) {
    const std::string difference = AttributeDifference(a.attributes[i], b.attributes[i]);
    if (!difference.empty()) {
      return absl::StrCat("attribute '", a.attributes[i].name, "': ", difference);
    }
  }
  return "";
}

std::string GraphDifference(const Graph& a, const Graph& b) {
  if (a.nodes.size() != b.nodes.size()) {
    return absl::StrCat(a.nodes.size(), " nodes became ", b.nodes.size());
  }
  for (size_t i = 0; i < a.nodes.size(); ++i) {
    const std::string difference = NodeDifference(*a.nodes[i], *b.nodes[i]);
    if (!difference.empty()) return absl::StrCat(DescribeNode(*a.nodes[i]), ": ", difference);
  }
  if (a.initializers.size() != b.initializers.size()) {
    return absl::StrCat(a.initializers.size(), " initializers became ", b.initializers.size());
  }
  for (const auto& [name, tensor] : a.initializers) {
    const auto found = b.initializers.find(name);
    if (found == b.initializers.end()) return absl::StrCat("initializer '", name, "' is missing");
    const std::string difference = TensorDifference(tensor, found->second);
    if (!difference.empty()) return absl::StrCat("initializer '", name, "': ", difference);
  }
  const bool same_sparse = std::equal(a.sparse_initializers.begin(), a.sparse_initializers.end(),
                                      b.sparse_initializers.begin(), b.sparse_initializers.end(),
                                      [](const auto& x, const auto& y) {
                                        return x.first == y.first && SameBytes(x.second, y.second);
                                      });
  if (!same_sparse) return "the sparse initializers";
  const auto names = [](const std::vector<ValueInfo>& infos) {
    std::vector<std::string> out;
    for (const ValueInfo& info : infos) out.push_back(info.name);
    return out;
  };
  if (names(a.inputs) != names(b.inputs)) return "the inputs";
  if (names(a.outputs) != names(b.outputs)) return "the outputs";
  return "";
}

}  // namespace

std::string FirstDifference(const Model& model, const Model& written) {
  if (model.ir_version != written.ir_version) return "the IR version";
  if (model.opset_imports != written.opset_imports) return "the opset imports";
  std::vector<const Graph*> graphs;
  std::vector<const Graph*> others;
  ForEachGraph(model, [&graphs](const Graph& graph) { graphs.push_back(&graph); });
  ForEachGraph(written, [&others](const Graph& graph) { others.push_back(&graph); });
  if (graphs.size() != others.size()) return "the number of graphs";
  for (size_t i = 0; i < graphs.size(); ++i) {
    std::string difference = GraphDifference(*graphs[i], *others[i]);
    if (!difference.empty()) return absl::StrCat("graph '", graphs[i]->name, "': ", difference);
  }
  return "";
}

}  // namespace lathe::engine
