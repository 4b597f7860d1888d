#include "worker/engine/lint/fusion.h"

#include <algorithm>
#include <array>
#include <string>
#include <unordered_map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/lint/lint_context.h"

namespace lathe::engine {
namespace {

// From a result back to what computes it, over what a layout change puts in between.
constexpr int kMaxSteps = 8;

constexpr std::array kElementwise = {"Add",     "Mul",     "Concat",    "AveragePool",
                                     "Sigmoid", "Softmax", "LeakyRelu", "GlobalAveragePool",
                                     "Where"};

bool MovesOnly(const Node& node) {
  return IsOp(node, "Transpose") || IsOp(node, "Reshape") || IsOp(node, "Squeeze") ||
         IsOp(node, "Unsqueeze") || IsOp(node, "ReorderOutput") || IsOp(node, "Identity");
}

// One group of the file and how to know it again.
struct Meant {
  const Node* node = nullptr;
  std::vector<std::string> results;  // values it gives, the last first
  std::string weight;                // the constant that it alone reads; "" when there is none
  std::vector<std::string> becomes;  // operators, any of them
};

class Optimized {
 public:
  explicit Optimized(const Model& model) {
    ForEachGraph(model, [this](const Graph& graph) {
      for (const auto& node : graph.nodes) {
        for (const std::string& output : node->outputs) producers_.emplace(output, node.get());
        for (const std::string& input : node->inputs) readers_[input].push_back(node.get());
        nodes_.push_back(node.get());
        // Copies of a node are called NAME_token_N, what takes several together NAME/FUSION.
        std::string stem = node->name.substr(0, node->name.rfind("_token_"));
        named_[stem].push_back(node.get());
        if (const size_t slash = stem.rfind('/'); slash != std::string::npos) {
          named_[stem.substr(0, slash)].push_back(node.get());
        }
      }
    });
  }

  // The node that computes one of the results; nullptr when none is there.
  const Node* Result(const Meant& meant) const {
    for (const std::string& value : meant.results) {
      const auto found = producers_.find(value);
      if (found == producers_.end()) continue;
      const Node* node = found->second;
      for (int i = 0; i < kMaxSteps && MovesOnly(*node); ++i) {
        const auto before = producers_.find(InputOf(*node, 0));
        if (before == producers_.end()) break;
        node = before->second;
      }
      if (!IsOp(*node, "QuantizeLinear")) return node;
      const auto before = producers_.find(InputOf(*node, 0));
      if (before != producers_.end()) return before->second;
    }
    return nullptr;
  }

  // Those that have the group's name or read its weight.
  std::vector<const Node*> Relatives(const Meant& meant) const {
    std::vector<const Node*> out;
    const auto add = [&out](const auto& map, const std::string& key) {
      const auto found = map.find(key);
      if (key.empty() || found == map.end()) return;
      out.insert(out.end(), found->second.begin(), found->second.end());
    };
    add(named_, meant.node->name);
    add(readers_, meant.weight);
    return out;
  }

 private:
  std::vector<const Node*> nodes_;
  std::unordered_map<std::string, const Node*> producers_;
  std::unordered_map<std::string, std::vector<const Node*>> readers_;
  std::unordered_map<std::string, std::vector<const Node*>> named_;
};

void AddResult(Meant& meant, const std::string& value) {
  if (!value.empty()) meant.results.push_back(value);
}

std::vector<Meant> MeantGroups(const LintContext& lint) {
  std::vector<Meant> out;
  for (const LinearGroup& group : lint.groups()) {
    if (!group.weight || group.node->Is("ConvTranspose")) continue;
    const bool constant = group.weight->integers != nullptr;
    const bool conv = group.node->Is("Conv");
    if ((conv || !constant) && !group.data) continue;
    Meant meant;
    meant.node = group.node;
    if (group.quantized_output) AddResult(meant, OutputOf(*group.quantized_output->node));
    AddResult(meant, group.output);
    if (group.activation != nullptr) AddResult(meant, InputOf(*group.activation, 0));
    AddResult(meant, OutputOf(*group.node));
    const std::string& integers = InputOf(*group.weight->node, 0);
    if (constant && lint.OnlyReader(group.weight->graph, integers) != nullptr) {
      meant.weight = integers;
    }
    meant.becomes = conv ? std::vector<std::string>{"QLinearConv"}
                    : group.data
                        ? std::vector<std::string>{"QLinearMatMul", "QGemm", "MatMulIntegerToFloat"}
                        : std::vector<std::string>{"MatMulNBits"};
    out.push_back(std::move(meant));
  }
  return out;
}

// DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul [-> Add].
std::optional<Meant> DynamicProduct(const LintContext& lint, const ScopeIndex::Place& place) {
  const Node& node = *place.node;
  if (!node.Is("MatMulInteger")) return std::nullopt;
  const Node* producer = lint.Producer(place.graph, InputOf(node, 0));
  if (producer == nullptr || !producer->Is("DynamicQuantizeLinear")) return std::nullopt;
  Meant meant;
  meant.node = &node;
  meant.becomes = {"DynamicQuantizeMatMul", "MatMulIntegerToFloat"};
  const Node* at = &node;
  for (int i = 0; i < kMaxSteps && at != nullptr; ++i) {
    meant.results.insert(meant.results.begin(), OutputOf(*at));
    at = lint.OnlyReader(place.graph, OutputOf(*at));
    if (at != nullptr && !at->Is("Cast") && !at->Is("Mul") && !at->Is("Add")) break;
  }
  return meant;
}

// DequantizeLinear -> node -> QuantizeLinear.
std::optional<Meant> Elementwise(const LintContext& lint, const ScopeIndex::Place& place) {
  const Node& node = *place.node;
  if (!node.domain.empty() ||
      std::find(kElementwise.begin(), kElementwise.end(), node.op_type) == kElementwise.end()) {
    return std::nullopt;
  }
  const auto input = lint.Dequantizer(place.graph, InputOf(node, node.Is("Where") ? 1 : 0));
  const auto output = lint.QuantizedReader(place.graph, OutputOf(node));
  if (!input || !output) return std::nullopt;
  return Meant{&node,
               {OutputOf(*output->node), OutputOf(node)},
               "",
               {absl::StrCat("QLinear", node.op_type)}};
}

}  // namespace

std::vector<Finding> CompareFusion(const Model& meant_model, const Model& optimized_model) {
  const LintContext lint(meant_model, {});
  const Optimized optimized(optimized_model);
  std::vector<Meant> all = MeantGroups(lint);
  for (const ScopeIndex::Place& place : lint.nodes()) {
    if (auto meant = DynamicProduct(lint, place)) all.push_back(*std::move(meant));
    if (auto meant = Elementwise(lint, place)) all.push_back(*std::move(meant));
  }
  std::vector<Finding> findings;
  for (const Meant& meant : all) {
    const auto fits = [&meant](const Node* node) {
      return node != nullptr && std::find(meant.becomes.begin(), meant.becomes.end(),
                                          node->op_type) != meant.becomes.end();
    };
    const Node* const result = optimized.Result(meant);
    const std::vector<const Node*> relatives = optimized.Relatives(meant);
    if (fits(result) || std::any_of(relatives.begin(), relatives.end(), fits)) continue;
    const Node* const found = result != nullptr   ? result
                              : relatives.empty() ? nullptr
                                                  : relatives.front();
    const std::string wanted = absl::StrJoin(meant.becomes, " or ");
    Finding finding;
    finding.rule = found == nullptr ? "not_found" : "not_fused";
    finding.severity = found == nullptr ? Severity::kNote : Severity::kSlow;
    finding.node = DescribeNode(*meant.node);
    finding.value = meant.results.empty() ? "" : meant.results.front();
    finding.message = found == nullptr
                          ? absl::StrCat("was meant to become ", wanted,
                                         "; no node of the optimized graph gives its result")
                          : absl::StrCat("was meant to become ", wanted,
                                         "; in the optimized graph it is ", DescribeNode(*found));
    finding.fix = "see what the other rules say of this node; or keep it in float";
    findings.push_back(std::move(finding));
  }
  return findings;
}

}  // namespace lathe::engine
