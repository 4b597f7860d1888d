// Scales and zero points.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "worker/engine/lint/rule_checks.h"

namespace lathe::engine {
namespace {

void CheckScale(const Node& node, const std::string& name, const Tensor* scale,
                Findings& findings) {
  const std::vector<float> values = Floats(scale);
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i]) && values[i] > 0) continue;
    findings.Add(&node, name,
                 absl::StrCat("scale ", i, " of ", values.size(), " is ", values[i],
                              "; what is divided by it is NaN, infinite or of the wrong sign"));
    return;
  }
}

// Calls fn for each QuantizeLinear and DequantizeLinear.
template <typename Fn>
void ForEachQuantizer(const LintContext& lint, Fn fn) {
  for (const ScopeIndex::Place& place : lint.nodes()) {
    if (const auto quantizer = lint.AsQuantizer(place.graph, *place.node)) fn(*quantizer);
  }
}

bool IsPowerOfTwo(float value) {
  int exponent = 0;
  return std::frexp(value, &exponent) == 0.5f;
}

}  // namespace

void CheckScales(const LintContext& lint, Findings& findings) {
  for (const ScopeIndex::Place& place : lint.nodes()) {
    const Node& node = *place.node;
    const bool pair = IsOp(node, "QuantizeLinear") || IsOp(node, "DequantizeLinear");
    const bool linear = node.Is("QLinearConv") || node.Is("QLinearMatMul");
    if (!pair && !linear) continue;
    for (const size_t input : pair ? std::vector<size_t>{1} : std::vector<size_t>{1, 4, 6}) {
      const std::string& name = InputOf(node, input);
      CheckScale(node, name, lint.Constant(place.graph, name), findings);
    }
  }
}

void CheckComputedParameters(const LintContext& lint, Findings& findings) {
  ForEachQuantizer(lint, [&](const Quantizer& quantizer) {
    if (quantizer.constant_parameters()) return;
    const std::string& name = InputOf(*quantizer.node, quantizer.scale == nullptr ? 1 : 2);
    const Node* producer = lint.Producer(quantizer.graph, name);
    if (producer != nullptr &&
        (producer->Is("DynamicQuantizeLinear") || producer->Is("Constant"))) {
      return;
    }
    findings.Add(quantizer.node, name,
                 absl::StrCat("its ", quantizer.scale == nullptr ? "scale" : "zero point",
                              " is not a constant: nothing around it fuses"));
  });
}

void CheckSoftmaxScale(const LintContext& lint, Findings& findings) {
  for (const ScopeIndex::Place& place : lint.nodes()) {
    if (!place.node->Is("Softmax")) continue;
    if (!lint.Dequantizer(place.graph, InputOf(*place.node, 0))) continue;
    const auto output = lint.QuantizedReader(place.graph, OutputOf(*place.node));
    if (!output || !IsEightBit(output->dtype)) continue;
    const std::vector<float> scales = Floats(output->scale);
    const int64_t lowest = output->dtype == DType::kInt8 ? -128 : 0;
    if (scales.size() != 1 || (scales[0] == 1.0f / 256 && ZeroPoint(*output) == lowest)) continue;
    findings.Add(place.node, OutputOf(*output->node),
                 absl::StrCat("probabilities lie in [0, 1]; scale ", scales[0], " and zero point ",
                              ZeroPoint(*output).value_or(0),
                              " cut some of that off or leave steps unused"));
  }
}

void CheckWideActivations(const LintContext& lint, Findings& findings) {
  ForEachQuantizer(lint, [&](const Quantizer& quantizer) {
    if (quantizer.dequantizes || !IsSixteenBit(quantizer.dtype)) return;
    findings.Add(quantizer.node, InputOf(*quantizer.node, 0),
                 absl::StrCat("is quantized to ", DTypeName(quantizer.dtype),
                              ": no kernel takes 16 bits, so that what reads it runs in float "
                              "between two needless nodes"));
  });
}

void CheckNpuScheme(const LintContext& lint, Findings& findings) {
  int64_t asymmetric = 0;
  int64_t per_channel = 0;
  int64_t uneven = 0;
  const Node* first = nullptr;
  ForEachQuantizer(lint, [&](const Quantizer& quantizer) {
    const bool weight = quantizer.dequantizes && quantizer.integers != nullptr;
    if (quantizer.dequantizes != weight || quantizer.dtype == DType::kInt32) return;
    const int64_t middle = quantizer.dtype == DType::kUint8    ? 128
                           : quantizer.dtype == DType::kUint16 ? 32768
                           : quantizer.dtype == DType::kUint4  ? 8
                                                               : 0;
    const bool skewed = ZeroPoint(quantizer) != middle;
    const bool many = quantizer.scale != nullptr && !quantizer.per_tensor();
    bool odd = false;
    for (const float scale : Floats(quantizer.scale)) odd = odd || !IsPowerOfTwo(scale);
    asymmetric += skewed;
    per_channel += many;
    uneven += odd;
    if (first == nullptr && (skewed || many || odd)) first = quantizer.node;
  });
  if (first == nullptr) return;
  findings.Add(first, "",
               absl::StrCat(asymmetric, " values are quantized with a zero point off the middle, ",
                            per_channel, " weights per channel, ", uneven,
                            " with scales that are no powers of two: processors for symmetric "
                            "schemes hand such operators back to the CPU"));
}

}  // namespace lathe::engine
