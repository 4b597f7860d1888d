#include "worker/engine/methods/float_between.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace lathe::engine {
namespace {

// docs/quantization.md, "What ONNX Runtime computes in 8 bits", has the measurements.
constexpr std::array kNoKernel = {"Celu",      "Elu",      "Erf",      "Gelu",  "HardSigmoid",
                                  "HardSwish", "Mish",     "Pad",      "PRelu", "ReduceMean",
                                  "Selu",      "Softplus", "Softsign", "Tanh",  "ThresholdedRelu"};

bool MeetsAny(const std::vector<std::string>& names, const std::set<std::string>& values) {
  return std::any_of(names.begin(), names.end(),
                     [&values](const std::string& name) { return values.count(name) != 0; });
}

}  // namespace

std::string FloatBetween(const Model& model, const std::vector<IntegerUnit>& units,
                         const std::vector<UnitForm>& forms) {
  std::set<std::string> given;
  std::set<std::string> read;
  std::set<std::string> linear;
  for (size_t u = 0; u < units.size(); ++u) {
    if (units[u].Linear()) linear.insert(units[u].node_output);
    if (forms[u] != UnitForm::kStatic) continue;
    given.insert(units[u].results.begin(), units[u].results.end());
    read.insert(units[u].inputs.begin(), units[u].inputs.end());
  }
  std::map<std::string, int> counts;
  int products = 0;
  for (const auto& node : model.graph->nodes) {
    if (!node->domain.empty() || node->outputs.empty()) continue;
    if (!MeetsAny(node->inputs, given) && !MeetsAny(node->outputs, read)) continue;
    if (node->op_type == "MatMul") {
      products += linear.count(node->outputs[0]) == 0 ? 1 : 0;
    } else if (std::count(kNoKernel.begin(), kNoKernel.end(), node->op_type) > 0) {
      ++counts[node->op_type];
    }
  }
  std::vector<std::string> parts;
  for (const auto& [op, count] : counts) parts.push_back(absl::StrCat(count, " ", op));
  std::string text = absl::StrJoin(parts, ", ");
  if (!text.empty()) absl::StrAppend(&text, " (ONNX Runtime has no 8-bit kernel for them)");
  if (products > 0) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", products,
                    " products of two activations (8 bits gain little there)");
  }
  return text;
}

}  // namespace lathe::engine
