"""Writes docs/ops.md: which operators the engine can run, by ONNX's own node tests.

  python tests/conformance/ops_table.py
"""

import collections
import pathlib
import tempfile

import onnx

from onnx_cases import by_op, cases, run_cases

# Operators of the twelve commonest model families: plain and residual convolutional nets, mobile convolutional nets,
# segmentation nets, detectors with NonMaxSuppression and TopK, transformer encoders and decoders, recurrent nets,
# audio front ends with STFT and DFT, vision transformers, multilayer perceptrons, embeddings, generative nets.
COMMON_OPS = set("""
Abs Add And ArgMax ArgMin Attention AveragePool BatchNormalization Cast Ceil Clip Compress Concat Constant ConstantOfShape
Conv ConvTranspose Cos CumSum DFT DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp
Expand Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual
GroupNormalization HardSigmoid HardSwish Identity If InstanceNormalization LSTM LayerNormalization LeakyRelu Less
LessOrEqual Log LogSoftmax Loop MatMul MatMulInteger Max MaxPool Mean Min Mish Mod Mul Neg NonMaxSuppression NonZero Not
OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear RNN Range Reciprocal ReduceL2 ReduceMax ReduceMean
ReduceMin ReduceProd ReduceSum Relu Reshape Resize RMSNormalization RoiAlign RotaryEmbedding Round STFT Scan
ScatterElements ScatterND Shape Sigmoid Sign Sin Size Slice Softmax Softplus SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh
Tile TopK Transpose Trilu Unsqueeze Where Xor
""".split())

# Cases that fail for a reason that is not ours to mend, each with it.
RANDOM = "the expected numbers are those of numpy's generator"
ROUNDING = "the expected zeros are numpy's rounding errors of 2e-7; exact zeros are right"
KNOWN_FAILURES = {
    **{f"test_bernoulli{form}{expanded}": RANDOM for form in ("", "_double", "_seed") for expanded in ("", "_expanded")},
    "test_dft_inverse": ROUNDING,
    "test_dft_inverse_opset19": ROUNDING,
}


def document(outcomes):
    table = by_op(outcomes)
    total = collections.Counter(outcome.status for outcome in outcomes)
    common = [outcome for outcome in outcomes if outcome.op in COMMON_OPS]
    passed = sum(outcome.status == "pass" for outcome in common)
    known = sum(outcome.status == "fail" and outcome.name in KNOWN_FAILURES for outcome in outcomes)
    lines = [
        "# Operators",
        "",
        "What the engine can run when it evaluates a model: ONNX's own node tests "
        f"(onnx {onnx.__version__}, opset {onnx.defs.onnx_opset_version()}), run twice each. Written by",
        "`tests/conformance/ops_table.py`, held by a test. A model with an operator that is not supported is compressed all",
        "the same; its report says that it was not evaluated, and which node is why.",
        "",
        f"Of {len(outcomes)} cases {total['pass']} pass, {total['fail']} fail and {total['unsupported']} are not supported; of the "
        f"{len(common)} cases of the operators that",
        f"common models use, {passed} pass ({100 * passed / max(1, len(common)):.1f} %).",
        "",
        f"{known} of those that fail cannot be passed: Bernoulli's expected numbers come from numpy's generator, and two inverse DFTs expect",
        "numpy's own rounding errors where exact zeros are right.",
        "",
        "| operator | pass | fail | not supported |",
        "|---|---|---|---|",
    ]
    for op, counts in table.items():
        lines.append(f"| `{op}` | {counts['pass']} | {counts['fail'] or ''} | {counts['unsupported'] or ''} |")
    return "\n".join(lines) + "\n"


def main():
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run_cases(cases(), pathlib.Path(folder))
    path = pathlib.Path(__file__).parents[2] / "docs" / "ops.md"
    path.write_text(document(outcomes), encoding="utf-8")
    for outcome in outcomes:
        if outcome.status == "fail":
            print(f"{outcome.name}: {outcome.detail}")
    print(path, dict(collections.Counter(outcome.status for outcome in outcomes)))


if __name__ == "__main__":
    main()
