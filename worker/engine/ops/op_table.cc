#include "worker/engine/ops/op_table.h"

#include <map>
#include <utility>

#include "absl/strings/string_view.h"
#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {
namespace {

constexpr char kOnnx[] = "";
constexpr char kMs[] = "com.microsoft";
// Operators that run/optimize.h makes; no file has them.
constexpr char kLathe[] = "lathe";

constexpr OpRule kRules[] = {
    // Element by element.
    {kOnnx, "Abs", InferUnaryMath, nullptr},
    {kOnnx, "Acos", InferSame, nullptr},
    {kOnnx, "Acosh", InferSame, nullptr},
    {kOnnx, "Add", InferBroadcast, nullptr},
    {kOnnx, "And", InferCompare, nullptr},
    {kOnnx, "Asin", InferSame, nullptr},
    {kOnnx, "Asinh", InferSame, nullptr},
    {kOnnx, "Atan", InferSame, nullptr},
    {kOnnx, "Atanh", InferSame, nullptr},
    {kOnnx, "Bernoulli", InferRandomLike, nullptr},
    {kOnnx, "BitCast", InferCast, nullptr},
    {kOnnx, "BitShift", InferBroadcast, nullptr},
    {kOnnx, "BitwiseAnd", InferBroadcast, nullptr},
    {kOnnx, "BitwiseNot", InferSame, nullptr},
    {kOnnx, "BitwiseOr", InferBroadcast, nullptr},
    {kOnnx, "BitwiseXor", InferBroadcast, nullptr},
    {kOnnx, "Cast", InferCast, nullptr},
    {kOnnx, "CastLike", InferCast, nullptr},
    {kOnnx, "Ceil", InferUnaryMath, nullptr},
    {kOnnx, "Celu", InferSame, nullptr},
    {kOnnx, "Clip", InferSame, nullptr},
    {kOnnx, "Cos", InferSame, nullptr},
    {kOnnx, "Cosh", InferSame, nullptr},
    {kOnnx, "CumProd", InferSame, nullptr},
    {kOnnx, "CumSum", InferSame, nullptr},
    {kOnnx, "Div", InferBroadcast, nullptr},
    {kOnnx, "Dropout", InferDropout, nullptr, kView},
    {kOnnx, "Elu", InferSame, nullptr},
    {kOnnx, "Equal", InferCompare, nullptr},
    {kOnnx, "Erf", InferSame, nullptr},
    {kOnnx, "Exp", InferUnaryMath, nullptr},
    {kOnnx, "Floor", InferUnaryMath, nullptr},
    {kOnnx, "Gelu", InferSame, nullptr},
    {kOnnx, "Greater", InferCompare, nullptr},
    {kOnnx, "GreaterOrEqual", InferCompare, nullptr},
    {kOnnx, "HardSigmoid", InferSame, nullptr},
    {kOnnx, "HardSwish", InferSame, nullptr},
    {kOnnx, "Hardmax", InferSame, nullptr},
    {kOnnx, "Identity", InferSame, nullptr, kView},
    {kOnnx, "IsInf", InferSameBool, nullptr},
    {kOnnx, "IsNaN", InferSameBool, nullptr},
    {kOnnx, "LeakyRelu", InferSame, nullptr},
    {kOnnx, "Less", InferCompare, nullptr},
    {kOnnx, "LessOrEqual", InferCompare, nullptr},
    {kOnnx, "Log", InferUnaryMath, nullptr},
    {kOnnx, "LogSoftmax", InferSame, nullptr},
    {kOnnx, "Max", InferBroadcast, nullptr},
    {kOnnx, "Mean", InferBroadcast, nullptr},
    {kOnnx, "Min", InferBroadcast, nullptr},
    {kOnnx, "Mish", InferSame, nullptr},
    {kOnnx, "Mod", InferBroadcast, nullptr},
    {kOnnx, "Mul", InferBroadcast, nullptr},
    {kOnnx, "Neg", InferUnaryMath, nullptr},
    {kOnnx, "Not", InferSameBool, nullptr},
    {kOnnx, "Or", InferCompare, nullptr},
    {kOnnx, "PRelu", InferSame, nullptr},
    {kOnnx, "Pow", InferBroadcast, nullptr},
    {kOnnx, "Reciprocal", InferUnaryMath, nullptr},
    {kOnnx, "Relu", InferSame, nullptr},
    {kOnnx, "ReverseSequence", InferSame, nullptr},
    {kOnnx, "RotaryEmbedding", InferSame, nullptr},
    {kOnnx, "Round", InferUnaryMath, nullptr},
    {kOnnx, "Scatter", InferSame, nullptr},
    {kOnnx, "ScatterElements", InferSame, nullptr},
    {kOnnx, "ScatterND", InferSame, nullptr},
    {kOnnx, "Selu", InferSame, nullptr},
    {kOnnx, "Shrink", InferSame, nullptr},
    {kOnnx, "Sigmoid", InferSame, nullptr},
    {kOnnx, "Sign", InferUnaryMath, nullptr},
    {kOnnx, "Sin", InferSame, nullptr},
    {kOnnx, "Sinh", InferSame, nullptr},
    {kOnnx, "Softmax", InferSame, nullptr},
    {kOnnx, "Softplus", InferSame, nullptr},
    {kOnnx, "Softsign", InferSame, nullptr},
    {kOnnx, "Sqrt", InferUnaryMath, nullptr},
    {kOnnx, "StringConcat", InferBroadcast, nullptr},
    {kOnnx, "Sub", InferBroadcast, nullptr},
    {kOnnx, "Sum", InferBroadcast, nullptr},
    {kOnnx, "SwiGLU", InferSame, nullptr},
    {kOnnx, "Swish", InferSame, nullptr},
    {kOnnx, "Tan", InferSame, nullptr},
    {kOnnx, "Tanh", InferSame, nullptr},
    {kOnnx, "TensorScatter", InferSame, nullptr},
    {kOnnx, "ThresholdedRelu", InferSame, nullptr},
    {kOnnx, "Trilu", InferSame, nullptr},
    {kOnnx, "Where", InferWhere, nullptr},
    {kOnnx, "Xor", InferCompare, nullptr},
    {kMs, "BiasGelu", InferBroadcast, nullptr},
    {kMs, "FastGelu", InferSame, nullptr},
    {kMs, "Gelu", InferSame, nullptr},
    {kMs, "QuickGelu", InferSame, nullptr},
    {kMs, "RotaryEmbedding", InferSame, nullptr},

    // Normalizations.
    {kOnnx, "BatchNormalization", InferNormalization, nullptr},
    {kOnnx, "GroupNormalization", InferSame, nullptr},
    {kOnnx, "InstanceNormalization", InferSame, nullptr},
    {kOnnx, "LayerNormalization", InferNormalization, nullptr},
    {kOnnx, "LRN", InferSame, nullptr},
    {kOnnx, "LpNormalization", InferSame, nullptr},
    {kOnnx, "MeanVarianceNormalization", InferSame, nullptr},
    {kOnnx, "RMSNormalization", InferSame, nullptr},
    {kOnnx, "SimplifiedLayerNormalization", InferNormalization, nullptr},
    {kMs, "SkipLayerNormalization", InferSkipNormalization, nullptr},
    {kMs, "SkipSimplifiedLayerNormalization", InferSkipNormalization, nullptr},
    {kMs, "EmbedLayerNormalization", InferEmbedLayerNormalization, nullptr, kEmbeds},

    // Values from nothing.
    {kOnnx, "BlackmanWindow", InferWindow, nullptr, kGenerates},
    {kOnnx, "Constant", InferConstant, nullptr, kView},
    {kOnnx, "ConstantOfShape", InferConstantOfShape, nullptr, kGenerates},
    {kOnnx, "EyeLike", InferEyeLike, nullptr, kGenerates},
    {kOnnx, "HammingWindow", InferWindow, nullptr, kGenerates},
    {kOnnx, "HannWindow", InferWindow, nullptr, kGenerates},
    {kOnnx, "Multinomial", InferMultinomial, nullptr},
    {kOnnx, "RandomNormal", InferRandom, nullptr, kGenerates},
    {kOnnx, "RandomNormalLike", InferRandomLike, nullptr, kGenerates},
    {kOnnx, "RandomUniform", InferRandom, nullptr, kGenerates},
    {kOnnx, "RandomUniformLike", InferRandomLike, nullptr, kGenerates},
    {kOnnx, "Range", InferRange, nullptr, kGenerates},
    {kOnnx, "Shape", InferShape, nullptr, kView},
    {kOnnx, "Size", InferSize, nullptr, kView},

    // The same elements, laid out otherwise.
    {kOnnx, "DepthToSpace", InferDepthToSpace, nullptr},
    {kOnnx, "Flatten", InferFlatten, nullptr, kView},
    {kOnnx, "Reshape", InferReshape, nullptr, kView},
    {kOnnx, "SpaceToDepth", InferSpaceToDepth, nullptr},
    {kOnnx, "Squeeze", InferSqueeze, nullptr, kView},
    {kOnnx, "Transpose", InferTranspose, nullptr},
    {kOnnx, "Unsqueeze", InferUnsqueeze, nullptr, kView},

    // Pieces.
    {kOnnx, "CenterCropPad", InferCenterCropPad, nullptr, kLooksUp},
    {kOnnx, "Concat", InferConcat, nullptr},
    {kOnnx, "Expand", InferExpand, nullptr},
    {kOnnx, "Pad", InferPad, nullptr},
    {kOnnx, "Slice", InferSlice, nullptr, kLooksUp},
    {kOnnx, "Split", InferSplit, nullptr},
    {kOnnx, "Tile", InferTile, nullptr},

    // By index.
    {kOnnx, "Compress", InferCompress, nullptr, kLooksUp},
    {kOnnx, "Gather", InferGather, nullptr, kLooksUp},
    {kOnnx, "GatherElements", InferGatherElements, nullptr, kLooksUp},
    {kOnnx, "GatherND", InferGatherND, nullptr, kLooksUp},
    {kOnnx, "NonMaxSuppression", InferNonMaxSuppression, nullptr},
    {kOnnx, "NonZero", InferNonZero, nullptr},
    {kOnnx, "OneHot", InferOneHot, nullptr},
    {kOnnx, "TopK", InferTopK, nullptr},
    {kOnnx, "Unique", InferUnique, nullptr},
    {kMs, "GatherBlockQuantized", InferGatherBlockQuantized, nullptr, kLooksUpRows},

    // Reductions.
    {kOnnx, "ArgMax", InferArg, nullptr},
    {kOnnx, "ArgMin", InferArg, nullptr},
    {kOnnx, "Det", InferDet, nullptr},
    {kOnnx, "ReduceL1", InferReduce, nullptr},
    {kOnnx, "ReduceL2", InferReduce, nullptr},
    {kOnnx, "ReduceLogSum", InferReduce, nullptr},
    {kOnnx, "ReduceLogSumExp", InferReduce, nullptr},
    {kOnnx, "ReduceMax", InferReduce, nullptr},
    {kOnnx, "ReduceMean", InferReduce, nullptr},
    {kOnnx, "ReduceMin", InferReduce, nullptr},
    {kOnnx, "ReduceProd", InferReduce, nullptr},
    {kOnnx, "ReduceSum", InferReduce, nullptr},
    {kOnnx, "ReduceSumSquare", InferReduce, nullptr},

    // Losses and text.
    {kOnnx, "NegativeLogLikelihoodLoss", InferLoss, nullptr},
    {kOnnx, "SoftmaxCrossEntropyLoss", InferLoss, nullptr},
    {kOnnx, "TfIdfVectorizer", InferTfIdfVectorizer, nullptr},

    // Windows.
    {kOnnx, "AveragePool", InferPool, nullptr},
    {kOnnx, "Col2Im", InferCol2Im, nullptr},
    {kOnnx, "Conv", InferConv, MacsConv},
    {kOnnx, "ConvInteger", InferConvInteger, MacsConvInteger},
    {kOnnx, "ConvTranspose", InferConvTranspose, MacsConvTranspose},
    {kOnnx, "DeformConv", InferDeformConv, MacsConv},
    {kOnnx, "GlobalAveragePool", InferGlobalPool, nullptr},
    {kOnnx, "GlobalLpPool", InferGlobalPool, nullptr},
    {kOnnx, "GlobalMaxPool", InferGlobalPool, nullptr},
    {kOnnx, "LpPool", InferPool, nullptr},
    {kOnnx, "MaxPool", InferPool, nullptr},
    {kOnnx, "MaxRoiPool", InferRoiPool, nullptr},
    {kOnnx, "MaxUnpool", InferMaxUnpool, nullptr},
    {kOnnx, "QLinearConv", InferQLinearConv, MacsQLinearConv},
    {kOnnx, "RoiAlign", InferRoiPool, nullptr},
    {kMs, "FusedConv", InferConv, MacsConv},
    {kLathe, "Conv", InferConv, MacsConv},

    // Products.
    {kOnnx, "Einsum", InferEinsum, MacsEinsum},
    {kOnnx, "Gemm", InferGemm, MacsGemm},
    {kOnnx, "MatMul", InferMatMul, MacsMatMul},
    {kOnnx, "MatMulInteger", InferMatMulInteger, MacsMatMulInteger},
    {kOnnx, "QLinearMatMul", InferQLinearMatMul, MacsMatMulInteger},
    {kMs, "DynamicQuantizeMatMul", InferMatMul, MacsMatMulInteger},
    {kMs, "FusedGemm", InferGemm, MacsGemm},
    {kMs, "FusedMatMul", InferFusedMatMul, MacsFusedMatMul},
    {kMs, "MatMulIntegerToFloat", InferMatMulIntegerToFloat, MacsMatMulInteger},
    {kMs, "MatMulNBits", InferMatMulNBits, MacsMatMulNBits},
    {kMs, "QGemm", InferQGemm, MacsQGemm},
    {kMs, "TransposeMatMul", InferFusedMatMul, MacsFusedMatMul},
    {kLathe, "Gemm", InferGemm, MacsGemm},
    {kLathe, "MatMul", InferFusedMatMul, MacsFusedMatMul},

    // Attention.
    {kOnnx, "Attention", InferAttention23, MacsAttention23},
    {kOnnx, "CausalConvWithState", InferCausalConv, nullptr},
    {kOnnx, "LinearAttention", InferLinearAttention, nullptr},
    {kMs, "Attention", InferContribAttention, MacsContribAttention},
    {kMs, "GroupQueryAttention", InferMultiHeadAttention, MacsMultiHeadAttention},
    {kMs, "MultiHeadAttention", InferMultiHeadAttention, MacsMultiHeadAttention},
    {kMs, "QAttention", InferContribAttention, MacsContribAttention},

    // Recurrent.
    {kOnnx, "GRU", InferRecurrent, MacsRecurrent},
    {kOnnx, "LSTM", InferRecurrent, MacsRecurrent},
    {kOnnx, "RNN", InferRecurrent, MacsRecurrent},
    {kMs, "DynamicQuantizeLSTM", InferDynamicQuantizeLstm, MacsDynamicQuantizeLstm},

    // Resampling.
    {kOnnx, "AffineGrid", InferAffineGrid, nullptr},
    {kOnnx, "GridSample", InferGridSample, nullptr},
    {kOnnx, "Resize", InferResize, nullptr},
    {kOnnx, "Upsample", InferUpsample, nullptr},

    // Signals.
    {kOnnx, "DFT", InferDft, nullptr},
    {kOnnx, "STFT", InferStft, nullptr},

    // Quantized.
    {kOnnx, "DequantizeLinear", InferDequantizeLinear, nullptr},
    {kOnnx, "DynamicQuantizeLinear", InferDynamicQuantizeLinear, nullptr},
    {kOnnx, "QuantizeLinear", InferQuantizeLinear, nullptr},
    {kMs, "DequantizeLinear", InferDequantizeLinear, nullptr},
    {kMs, "QLinearAdd", InferQLinearBinary, nullptr},
    {kMs, "QLinearAveragePool", InferQLinearPool, nullptr},
    {kMs, "QLinearConcat", InferQLinearConcat, nullptr},
    {kMs, "QLinearConv", InferQLinearConv, MacsQLinearConv},
    {kMs, "QLinearGlobalAveragePool", InferQLinearGlobalPool, nullptr},
    {kMs, "QLinearLeakyRelu", InferQLinearUnary, nullptr},
    {kMs, "QLinearMul", InferQLinearBinary, nullptr},
    {kMs, "QLinearSigmoid", InferQLinearUnary, nullptr},
    {kMs, "QLinearSoftmax", InferQLinearUnary, nullptr},
    {kMs, "QLinearWhere", InferQLinearWhere, nullptr},
    {kMs, "QuantizeLinear", InferQuantizeLinear, nullptr},
};

}  // namespace

const OpRule* FindOpRule(const std::string& domain, const std::string& op) {
  using Key = std::pair<absl::string_view, absl::string_view>;
  static const auto* const index = [] {
    auto* map = new std::map<Key, const OpRule*>;
    for (const OpRule& rule : kRules) map->emplace(Key(rule.domain, rule.op), &rule);
    return map;
  }();
  const bool onnx = domain == "ai.onnx";
  const auto found = index->find(Key(onnx ? absl::string_view() : absl::string_view(domain), op));
  return found == index->end() ? nullptr : found->second;
}

}  // namespace lathe::engine
