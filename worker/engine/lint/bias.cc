// Biases. A fused kernel adds an int32 bias to int32 sums: b_q[o] = round(b[o] / (s_x s_w[o])), at
// the scale of the sums and no other. What does not fit there is float, slow or wrong.
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "worker/engine/lint/rule_checks.h"

namespace lathe::engine {
namespace {

constexpr double kLargestInt32 = std::numeric_limits<int32_t>::max();
// Scales are float32: a product of two, rounded, is off by less than this.
constexpr double kScaleTolerance = 1e-5;
// The largest |x - zero_point| of 8-bit activations.
constexpr double kLargestActivation = 255;

bool IsQuantized(const LinearGroup& group) {
  return group.data && group.weight && group.data->per_tensor() &&
         group.data->constant_parameters() && group.weight->scale != nullptr &&
         group.weight->block_size == 0 && group.weight->integers != nullptr &&
         IsEightBit(group.data->dtype) && IsEightBit(group.weight->dtype);
}

// s_x s_w[o]: one element, or one an output channel.
std::vector<double> SumScales(const LinearGroup& group) {
  std::vector<double> out;
  const std::vector<float> data = Floats(group.data->scale);
  if (data.size() != 1) return out;
  for (const float scale : Floats(group.weight->scale)) {
    out.push_back(static_cast<double>(data[0]) * scale);
  }
  return out;
}

// Element `channel` of one value or of one a channel.
double At(const std::vector<double>& values, size_t channel) {
  return values.size() == 1 ? values[0] : values[channel];
}

// The largest magnitude that the sums of one channel can have beside its bias: 255 sum |w_q|.
std::vector<double> LargestSums(const LinearGroup& group) {
  const Tensor& weight = *group.weight->integers;
  const auto axis = static_cast<size_t>(group.output_axis);
  if (axis >= weight.dims.size()) return {};
  int64_t inner = 1;
  for (size_t i = axis + 1; i < weight.dims.size(); ++i) inner *= weight.dims[i];
  const int64_t channels = weight.dims[axis];
  const int64_t zero = ZeroPoint(*group.weight).value_or(0);
  std::vector<double> sums(static_cast<size_t>(channels), 0);
  const absl::string_view bytes = weight.data.view();
  const bool is_signed = weight.dtype == DType::kInt8;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const int64_t value =
        is_signed ? static_cast<int8_t>(bytes[i]) : static_cast<uint8_t>(bytes[i]);
    const size_t channel = i / static_cast<size_t>(inner) % static_cast<size_t>(channels);
    sums[channel] += std::abs(static_cast<double>(value - zero));
  }
  for (double& sum : sums) sum *= kLargestActivation;
  return sums;
}

}  // namespace

void CheckFloatBias(const LintContext& lint, Findings& findings) {
  for (const LinearGroup& group : lint.groups()) {
    if (group.float_bias == nullptr || !IsQuantized(group)) continue;
    if (group.node->op_type == "ConvTranspose") continue;
    const bool quantized = group.quantized_output.has_value();
    if (group.node->op_type == "Conv" && !quantized) continue;  // slow for that reason already
    findings.Add(
        group.node, group.bias,
        absl::StrCat("its operands are quantized, its bias is float: ",
                     quantized ? "releases before ONNX Runtime 1.30 or so do" : "ONNX Runtime does",
                     " not fuse it and dequantize", quantized ? "" : "s",
                     " the weights at every run"));
  }
}

void CheckBiasOverflow(const LintContext& lint, Findings& findings) {
  for (const LinearGroup& group : lint.groups()) {
    if (!IsQuantized(group)) continue;
    const Tensor* stored = group.bias_dequantizer ? group.bias_dequantizer->integers : nullptr;
    if (stored != nullptr && stored->dtype != DType::kInt32) stored = nullptr;
    if (stored == nullptr && group.float_bias == nullptr) continue;
    const std::vector<double> scales = SumScales(group);
    std::vector<double> biases;  // in steps of the sums' scale
    if (stored != nullptr) {
      for (const int64_t value : Integers(stored)) biases.push_back(static_cast<double>(value));
    } else {
      for (const float value : Floats(group.float_bias)) biases.push_back(value);
    }
    if (biases.empty() || (scales.size() != 1 && scales.size() != biases.size())) continue;
    if (stored == nullptr) {
      for (size_t o = 0; o < biases.size(); ++o) biases[o] /= At(scales, o);
    }
    const std::vector<double> sums = LargestSums(group);
    if (sums.size() != biases.size()) continue;
    for (size_t o = 0; o < biases.size(); ++o) {
      // NaN and zero scales are another rule's.
      if (!(std::abs(biases[o]) + sums[o] > kLargestInt32) || std::isinf(biases[o])) continue;
      findings.Add(group.node, group.bias,
                   absl::StrCat("the bias of channel ", o, " is ", biases[o],
                                " steps of s_x s_w; with sums of up to ", sums[o],
                                " it passes 2^31 - 1, and int32 sums wrap around or clip"));
      break;
    }
  }
}

void CheckBiasScale(const LintContext& lint, Findings& findings) {
  for (const LinearGroup& group : lint.groups()) {
    if (!IsQuantized(group) || !group.bias_dequantizer) continue;
    const Quantizer& bias = *group.bias_dequantizer;
    if (bias.integers == nullptr || bias.scale == nullptr) continue;
    const std::vector<double> expected = SumScales(group);
    const std::vector<float> given = Floats(bias.scale);
    const bool zero_point = ZeroPoint(bias).value_or(1) != 0;
    size_t wrong = 0;
    for (size_t o = 0; o < std::max(expected.size(), given.size()); ++o) {
      if (expected.empty() || given.empty() || (expected.size() != 1 && o >= expected.size()) ||
          (given.size() != 1 && o >= given.size())) {
        ++wrong;
        continue;
      }
      const double want = At(expected, o);
      const double got = given.size() == 1 ? given[0] : given[o];
      wrong += !(std::abs(got - want) <= kScaleTolerance * std::abs(want));
    }
    if (wrong == 0 && !zero_point && bias.dtype == DType::kInt32) continue;
    findings.Add(
        group.node, group.bias,
        absl::StrCat(bias.dtype != DType::kInt32 ? "the bias is not int32"
                     : zero_point                ? "the bias has a zero point"
                                  : absl::StrCat("the scale of the bias is not s_x s_w in ", wrong,
                                                 " channels"),
                     "; fused kernels add it as if it were: older releases (1.22) give "
                     "wrong values, newer ones (1.32) stay in float"));
  }
}

}  // namespace lathe::engine
