// MatMulNBits of com.microsoft, and which of its forms have a fast kernel.
#include "absl/strings/str_cat.h"
#include "worker/engine/lint/rule_checks.h"

namespace lathe::engine {
namespace {

template <typename Fn>
void ForEachBlockProduct(const LintContext& lint, Fn fn) {
  for (const ScopeIndex::Place& place : lint.nodes()) {
    if (place.node->Is("MatMulNBits", "com.microsoft")) fn(place.graph, *place.node);
  }
}

}  // namespace

void CheckAccuracyLevel(const LintContext& lint, Findings& findings) {
  ForEachBlockProduct(lint, [&](const Graph*, const Node& node) {
    if (node.IntAttribute("accuracy_level", 0) == 4) return;
    const int64_t bits = node.IntAttribute("bits", 4);
    if (bits == 4) {
      findings.Add(Severity::kNote, &node, InputOf(node, 1),
                   "without accuracy_level 4 its 4-bit kernel computes in float, up to three "
                   "times as long");
      return;
    }
    findings.Add(&node, InputOf(node, 1),
                 absl::StrCat("without accuracy_level 4 there is no fast kernel for ", bits,
                              " bits: the weights are dequantized at every run"));
  });
}

void CheckFloatZeroPoints(const LintContext& lint, Findings& findings) {
  ForEachBlockProduct(lint, [&](const Graph* graph, const Node& node) {
    if (!IsFloat(lint.TypeOf(graph, InputOf(node, 3)))) return;
    findings.Add(&node, InputOf(node, 3),
                 "its zero points are float: its weights are not packed at load, and dequantized "
                 "at every run");
  });
}

void CheckGroupIndex(const LintContext& lint, Findings& findings) {
  ForEachBlockProduct(lint, [&](const Graph*, const Node& node) {
    if (InputOf(node, 4).empty()) return;
    findings.Add(&node, InputOf(node, 4),
                 "its groups are given by g_idx: its weights are not packed at load, and "
                 "dequantized at every run");
  });
}

}  // namespace lathe::engine
