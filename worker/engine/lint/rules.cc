#include "worker/engine/lint/rule.h"
#include "worker/engine/lint/rule_checks.h"

namespace lathe::engine {

const std::vector<Rule>& LintRules() {
  using enum Severity;
  static const std::vector<Rule>* const rules = new std::vector<Rule>{
      // Values.
      {"weight_axis", kError, kEverywhere, CheckWeightAxis,
       "set the DequantizeLinear's axis to the output channels': Conv 0, ConvTranspose 1, MatMul "
       "1, Gemm 1, or 0 with transB"},
      {"bias_overflow", kError, kEverywhere, CheckBiasOverflow,
       "raise s_w of that channel to at least |b| / (s_x (2^31 - 1)) with room for the sums "
       "before its weights are rounded, or fold the dead channel away"},
      {"bias_scale", kError, kEverywhere, CheckBiasScale,
       "quantize the bias to int32 with scale s_x s_w[o] and zero point 0"},
      {"int16_saturation", kError, kAvx2, CheckSaturation,
       "keep |w_2i| + |w_2i+1| <= 128 in these channels (a larger scale for them alone, or all "
       "weights in [-64, 64]), or run with session.x64quantprecision=1"},
      {"bad_scale", kError, kEverywhere, CheckScales,
       "give every scale a positive finite value: 1 for a tensor of zeros"},
      {"opset", kError, kEverywhere, CheckOpset, "lift the file to the opset named"},
      // Speed.
      {"float_bias", kSlow, kPortable, CheckFloatBias,
       "quantize the bias to int32 with scale s_x s_w[o] and zero point 0, behind a "
       "DequantizeLinear with axis 0"},
      {"activation_range", kSlow, kPortable, CheckActivation,
       "let the range begin at 0 (uint8 zero point 0, int8 -128) for Relu, and end within the "
       "bound of Clip (scale at most 6/255 for 6)"},
      {"float_reader", kSlow, kPortable, CheckFloatReader,
       "let the other readers read the result behind a DequantizeLinear, or keep the operator in "
       "float"},
      {"missing_quantize", kSlow, kPortable, CheckMissingQuantize,
       "put a QuantizeLinear and DequantizeLinear behind it, or keep it in float"},
      {"weight_only", kSlow, kPortable, CheckWeightOnly,
       "store the integers behind Cast and Mul, which are folded at load; for MatMul, or Gemm with "
       "transA = transB = 0 and alpha = 1, dequantize constants in blocks of 16 or more along K"},
      {"dequantized_table", kSlow, kPortable, CheckDequantizedTable,
       "look the integers up first: Gather, then DequantizeLinear; or GatherBlockQuantized"},
      {"float_weight", kSlow, kPortable, CheckFloatWeight,
       "quantize its weight to int8 per channel, or keep it in float altogether"},
      {"gemm_beta", kSlow, kPortable, CheckGemmForm, "multiply the bias by beta, and set it to 1"},
      {"transposed_conv", kSlow, kPortable, CheckTransposedConv,
       "keep ConvTranspose in float; a weight stored as integers behind Cast and Mul is small and "
       "costs nothing"},
      {"same_scale", kSlow, kPortable, CheckSameScale,
       "give its QuantizeLinear the scale and zero point of its DequantizeLinear"},
      {"mixed_types", kSlow, kArm, CheckMixedTypes, "quantize all activations to uint8"},
      {"half_quantized", kSlow, kPortable, CheckHalfQuantized,
       "quantize that input too, or none and not the result"},
      {"unfused_op", kSlow, kPortable, CheckUnfusedOp,
       "leave it in float: take away the pair around it; a Conv before HardSwish keeps its own "
       "pair in between"},
      {"decomposed", kSlow, kPortable, CheckDecomposed,
       "leave these operators in float, and quantize Conv, MatMul and Gemm alone"},
      {"wide_activations", kSlow, kPortable, CheckWideActivations,
       "quantize to 8 bits, and keep the few layers float that need more"},
      {"computed_parameters", kSlow, kPortable, CheckComputedParameters,
       "make scales and zero points initializers; for dynamic ranges use DynamicQuantizeLinear and "
       "MatMulInteger"},
      {"signed_activations", kSlow, kX86, CheckSignedActivations,
       "quantize activations to uint8 with int8 weights, and write DequantizeLinear and "
       "QuantizeLinear around float operators, which ONNX Runtime fuses"},
      {"dynamic_conv", kSlow, kPortable, CheckDynamicConv,
       "quantize convolutions with ranges from calibration, or leave them in float"},
      {"accuracy_level", kSlow, kPortable, CheckAccuracyLevel, "set accuracy_level to 4"},
      {"float_zero_points", kSlow, kPortable, CheckFloatZeroPoints,
       "pack the zero points as uint8, or leave them out where they are 2^(bits - 1)"},
      {"group_index", kSlow, kPortable, CheckGroupIndex,
       "sort the columns of the weight by group, and the inputs with them where they come from"},
      // Notes.
      {"softmax_scale", kNote, kPortable, CheckSoftmaxScale,
       "use scale 1/256 with zero point 0 (uint8) or -128 (int8)"},
      {"unsigned_weights", kNote, kVnni, CheckUnsignedWeights,
       "quantize weights to int8 in [-127, 127] with zero point 0"},
      {"half_precision", kNote, kX86, CheckHalfPrecision,
       "store float16 weights behind a Cast to float32, and compute in float32"},
      {"duplicate_weight", kNote, kEverywhere, CheckDuplicateWeights,
       "remove the float constant, or let its readers read the quantized one"},
      {"unused_constant", kNote, kEverywhere, CheckUnusedConstants, "remove it"},
      {"channel_count", kNote, kX86, CheckChannelCount,
       "round channel counts to a multiple of 16 (8 on AVX2) when pruning"},
      {"ir_version", kNote, kEverywhere, CheckIrVersion, "set ir_version to the one named"},
      {"npu_scheme", kNote, kNpu, CheckNpuScheme,
       "quantize symmetrically, per tensor, with power-of-two scales for such a target"},
  };
  return *rules;
}

}  // namespace lathe::engine
