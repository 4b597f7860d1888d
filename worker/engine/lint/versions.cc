// Forms that the opset of the file does not know yet: a runtime refuses to load them.
#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "worker/engine/lint/rule_checks.h"

namespace lathe::engine {
namespace {

constexpr int64_t kQuantizeOpset = 10;
constexpr int64_t kMaxPoolOpset = 12;
constexpr int64_t kPerChannelOpset = 13;
constexpr int64_t kBlockOpset = 21;

bool IsFourBit(DType dtype) { return dtype == DType::kInt4 || dtype == DType::kUint4; }

void CheckQuantizer(const LintContext& lint, const Quantizer& quantizer, Findings& findings) {
  if (!quantizer.node->domain.empty()) return;
  const int64_t opset = lint.Opset(quantizer.graph);
  const auto needs = [&](bool is_used, int64_t version, absl::string_view what) {
    if (!is_used || opset >= version) return false;
    findings.Add(quantizer.node, InputOf(*quantizer.node, 0),
                 absl::StrCat(what, " needs opset ", version, ", the file says ", opset,
                              ": it is not loaded"));
    return true;
  };
  const bool many = quantizer.scale != nullptr && quantizer.scale->size() > 1;
  if (needs(true, kQuantizeOpset, quantizer.node->op_type)) return;
  if (needs(quantizer.block_size != 0, kBlockOpset, "a scale per block")) return;
  if (needs(IsFourBit(quantizer.dtype), kBlockOpset, DTypeName(quantizer.dtype))) return;
  if (needs(IsSixteenBit(quantizer.dtype), kBlockOpset, DTypeName(quantizer.dtype))) return;
  needs(many, kPerChannelOpset, "a scale per channel");
}

// The IR version of the ONNX release that brought an opset, as onnx.helper.OP_SET_ID_VERSION_MAP
// has it, newest first.
struct Release {
  int64_t opset;
  int64_t ir_version;
};
constexpr std::array kReleases = {
    Release{28, 14}, Release{25, 13}, Release{24, 12}, Release{23, 11}, Release{21, 10},
    Release{19, 9},  Release{15, 8},  Release{12, 7},  Release{11, 6},  Release{10, 5}};

}  // namespace

void CheckOpset(const LintContext& lint, Findings& findings) {
  for (const ScopeIndex::Place& place : lint.nodes()) {
    const Node& node = *place.node;
    if (const auto quantizer = lint.AsQuantizer(place.graph, node)) {
      CheckQuantizer(lint, *quantizer, findings);
    } else if (node.Is("MaxPool") && lint.Opset(place.graph) < kMaxPoolOpset &&
               IsEightBit(lint.TypeOf(place.graph, InputOf(node, 0)))) {
      findings.Add(&node, InputOf(node, 0),
                   absl::StrCat("MaxPool of 8-bit values needs opset ", kMaxPoolOpset,
                                ", the file says ", lint.Opset(place.graph), ": it is not loaded"));
    }
  }
}

void CheckIrVersion(const LintContext& lint, Findings& findings) {
  const int64_t opset = lint.model().OpsetVersion("");
  const auto* const release = std::find_if(kReleases.begin(), kReleases.end(),
                                           [opset](const Release& r) { return opset >= r.opset; });
  if (release == kReleases.end() || lint.model().ir_version >= release->ir_version) return;
  findings.Add(nullptr, "",
               absl::StrCat("opset ", opset, " came with IR version ", release->ir_version,
                            ", the file says ", lint.model().ir_version,
                            ": ONNX Runtime loads it, stricter readers may not"));
}

}  // namespace lathe::engine
