"""Models lifted to a newer opset compute what they computed before, in ONNX Runtime.

Each case is a small model at an old opset that holds one of the operators whose form or meaning changed on the way to 21. The C++
tool lifts it; both files run on the same inputs. Refusals are told by the tool's exit status 3.
"""

import os
import subprocess

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

TOOL = os.environ.get("LATHE_TEST_TOOL", "")
FLOAT = TensorProto.FLOAT
INT64 = TensorProto.INT64

# onnx writes the IR version a file of that opset would have had.
IR_VERSION = {7: 3, 8: 3, 9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}


def rand(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, name=f"{op}_{outputs[0]}", **attributes)


class Case:
    """A model of `nodes` at `opset`; feeds give its inputs, constants its initializers, outputs the names to compare."""

    def __init__(self, name, opset, nodes, feeds, constants=None, outputs=("y",), declare=True, functions=(),
                 domains=(), output_types=None, target=21):
        self.name, self.opset, self.nodes, self.feeds = name, opset, nodes, feeds
        self.constants, self.outputs, self.declare = constants or {}, outputs, declare
        self.functions, self.domains, self.target = list(functions), domains, target
        self.output_types = output_types or {}

    def model(self):
        inputs = []
        for name, value in self.feeds.items():
            dims = list(value.shape) if self.declare else [f"{name}_{i}" for i in range(value.ndim)]
            inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), dims))
        ir_version = 8 if self.functions else IR_VERSION[self.opset]
        if ir_version < 4:
            for name, value in self.constants.items():
                inputs.append(helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape))
        outputs = [helper.make_tensor_value_info(o, self.output_types.get(o, FLOAT), None) for o in self.outputs]
        graph = helper.make_graph(self.nodes, "case", inputs, outputs,
                                  [numpy_helper.from_array(v, n) for n, v in self.constants.items()])
        opsets = [helper.make_opsetid("", self.opset)] + [helper.make_opsetid(d, 1) for d in self.domains]
        return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, functions=self.functions)


X = rand(2, 3, 4)
IMAGE = rand(1, 4, 6, 5)


def single(name, opset, op, feeds, constants=None, outputs=("y",), **attributes):
    inputs = list(feeds) + [c for c in (constants or {})]
    return Case(name, opset, [node(op, inputs, list(outputs), **attributes)], feeds, constants, outputs)


def cases():
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        for axis in (0, 1, 2, None):
            attributes = {} if axis is None else {"axis": axis}
            yield single(f"{op}-axis-{axis}", 9, op, {"x": X}, **attributes)
        yield single(f"{op}-axis-minus-1", 12, op, {"x": X}, axis=-1)
        yield single(f"{op}-axis-minus-2", 12, op, {"x": X}, axis=-2)
        yield single(f"{op}-rank-2", 8, op, {"x": rand(3, 5)})
    undeclared = single("Softmax-unknown-rank", 11, "Softmax", {"x": X}, axis=1)
    undeclared.nodes.insert(0, node("Reshape", ["x", "s"], ["r"]))
    undeclared.constants["s"] = np.array([3, 2, 4], np.int64)
    undeclared.nodes[1].input[0] = "r"
    yield undeclared
    for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
               "ReduceSumSquare", "ReduceLogSumExp"):
        yield single(f"{op}-axes", 9, op, {"x": X}, axes=[1], keepdims=0)
        yield single(f"{op}-negative", 11, op, {"x": X}, axes=[-1, 0])
        yield single(f"{op}-all", 13 if op != "ReduceSum" else 11, op, {"x": X})
    yield single("ReduceLogSum", 11, "ReduceLogSum", {"x": np.abs(X)}, axes=[2])
    yield single("Squeeze", 9, "Squeeze", {"x": rand(1, 3, 1, 2)}, axes=[0, 2])
    yield single("Squeeze-all", 11, "Squeeze", {"x": rand(1, 3, 1, 2)})
    yield single("Unsqueeze", 8, "Unsqueeze", {"x": X}, axes=[0, 4])
    yield single("Unsqueeze-negative", 12, "Unsqueeze", {"x": X}, axes=[-1])
    yield single("Split-sizes", 9, "Split", {"x": X}, outputs=("y", "z"), split=[1, 3], axis=2)
    yield single("Split-equal", 12, "Split", {"x": X}, outputs=("y", "z"), axis=0)
    yield single("Split-equal-13", 13, "Split", {"x": X}, outputs=("y", "z"), axis=2)
    yield single("Split-input-13", 13, "Split", {"x": X}, {"s": np.array([1, 2], np.int64)}, outputs=("y", "z"), axis=1)
    for name, attributes in {"both": {"min": -0.5, "max": 0.5}, "min": {"min": 0.0}, "max": {"max": 0.25}, "none": {}}.items():
        yield single(f"Clip-{name}", 8, "Clip", {"x": X}, **attributes)
    yield Case("Clip-float16", 10, [node("Clip", ["x"], ["y"], min=-0.5, max=0.5)], {"x": X.astype(np.float16)},
               output_types={"y": TensorProto.FLOAT16})
    for mode in ("constant", "edge", "reflect"):
        yield single(f"Pad-{mode}", 9, "Pad", {"x": X}, pads=[0, 1, 2, 0, 0, 1], mode=mode)
    yield single("Pad-value", 10, "Pad", {"x": X}, pads=[0, 1, 2, 0, 0, 1], value=1.5)
    yield single("Slice", 9, "Slice", {"x": X}, starts=[1, -3], ends=[2, 9223372036854775807], axes=[1, 2])
    yield single("Slice-without-axes", 7, "Slice", {"x": X}, starts=[0, 1], ends=[1, 3])
    yield single("Slice-10", 10, "Slice", {"x": X}, {"s": np.array([0], np.int64), "e": np.array([2], np.int64)})
    topk = Case("TopK", 9, [node("TopK", ["x"], ["y", "i"], k=2, axis=-1)], {"x": X}, outputs=("y", "i"),
                output_types={"i": INT64})
    yield topk
    yield Case("TopK-10", 10, [node("TopK", ["x", "k"], ["y", "i"])], {"x": X}, {"k": np.array([3], np.int64)},
               outputs=("y", "i"), output_types={"i": INT64})
    for mode in ("nearest", "linear"):
        for name, scales in {"double": [1, 1, 2, 2], "odd": [1, 1, 1.5, 1.7], "triple": [1, 1, 3, 1]}.items():
            scales = np.array(scales, np.float32)
            yield single(f"Upsample-7-{mode}-{name}", 7, "Upsample", {"x": IMAGE}, mode=mode, scales=scales.tolist())
            yield single(f"Upsample-9-{mode}-{name}", 9, "Upsample", {"x": IMAGE}, {"s": scales}, mode=mode)
            yield single(f"Resize-10-{mode}-{name}", 10, "Resize", {"x": IMAGE}, {"s": scales}, mode=mode)
        yield single(f"Resize-10-{mode}-half", 10, "Resize", {"x": IMAGE}, {"s": np.array([1, 1, 0.5, 0.6], np.float32)},
                     mode=mode)
    yield Case("Upsample-computed-scales", 9, [node("Mul", ["s", "one"], ["t"]), node("Upsample", ["x", "t"], ["y"])],
               {"x": IMAGE, "s": np.array([1, 1, 2, 3], np.float32)}, {"one": np.ones(4, np.float32)})
    for transform in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"):
        yield Case(f"Resize-11-{transform}", 11,
                   [node("Resize", ["x", "roi", "s"], ["y"], mode="linear", coordinate_transformation_mode=transform)],
                   {"x": IMAGE}, {"roi": np.array([], np.float32), "s": np.array([1, 1, 2, 2], np.float32)})
    yield Case("Resize-11-sizes", 11, [node("Resize", ["x", "roi", "s", "z"], ["y"], mode="nearest")], {"x": IMAGE},
               {"roi": np.array([], np.float32), "s": np.array([], np.float32), "z": np.array([1, 4, 9, 8], np.int64)})
    yield Case("Resize-11-sizes-cubic", 11, [node("Resize", ["x", "roi", "s", "z"], ["y"], mode="cubic")], {"x": IMAGE},
               {"roi": np.array([], np.float32), "s": np.array([], np.float32), "z": np.array([1, 4, 9, 8], np.int64)})
    yield single("Dropout-7", 7, "Dropout", {"x": X}, ratio=0.3)
    yield single("Dropout-10", 10, "Dropout", {"x": X})
    yield Case("Dropout-12-mask", 12, [node("Dropout", ["x"], ["y", "m"])], {"x": X}, outputs=("y", "m"),
               output_types={"m": TensorProto.BOOL})
    norms = {"s": rand(4, seed=1), "b": rand(4, seed=2), "m": rand(4, seed=3), "v": np.abs(rand(4, seed=4)) + 0.1}
    for opset in (7, 9, 13, 14):
        yield single(f"BatchNormalization-{opset}", opset, "BatchNormalization", {"x": IMAGE}, norms, epsilon=1e-3)
    yield single("Scatter", 9, "Scatter",
                 {"x": rand(3, 3), "i": np.array([[0, 2, 1]], np.int64), "u": rand(1, 3, seed=9)}, axis=0)
    grid = np.random.default_rng(3).uniform(-1, 1, (1, 3, 3, 2)).astype(np.float32)
    for mode in ("bilinear", "bicubic", "nearest"):
        yield single(f"GridSample-{mode}", 16, "GridSample", {"x": IMAGE, "g": grid}, mode=mode)
    yield single("GridSample-default", 16, "GridSample", {"x": IMAGE, "g": grid})
    yield single("DFT", 17, "DFT", {"x": rand(1, 6, 2)}, axis=1)
    yield single("DFT-default", 17, "DFT", {"x": rand(2, 6, 4, 1)})
    yield single("GroupNormalization", 18, "GroupNormalization", {"x": IMAGE},
                 {"s": rand(2, seed=1), "b": rand(2, seed=2)}, num_groups=2)
    boxes = np.array([[0, 0, 4, 5], [1, 1, 3, 4]], np.float32)
    yield single("RoiAlign", 10, "RoiAlign", {"x": IMAGE, "r": boxes, "b": np.array([0, 0], np.int64)},
                 output_height=2, output_width=2, sampling_ratio=2)
    for opset in (7, 10, 11):
        attributes = {} if opset < 10 else {"ceil_mode": 1}
        yield single(f"AveragePool-{opset}", opset, "AveragePool", {"x": IMAGE}, kernel_shape=[3, 3], strides=[2, 2], **attributes)
        yield single(f"AveragePool-{opset}-pads", opset, "AveragePool", {"x": IMAGE}, kernel_shape=[3, 3], strides=[2, 2],
                     pads=[1, 1, 1, 1], **attributes)
        yield single(f"MaxPool-{opset}", opset, "MaxPool", {"x": IMAGE}, kernel_shape=[3, 2], strides=[2, 2], **attributes)
    yield single("AveragePool-count-include-pad", 11, "AveragePool", {"x": IMAGE}, kernel_shape=[3, 3], strides=[2, 2],
                 pads=[1, 1, 1, 1], count_include_pad=1)
    for size in ((6, 5), (7, 7), (8, 6), (5, 9)):  # windows that hang over the padded edge
        yield single(f"AveragePool-ceil-include-pad-{size[0]}x{size[1]}", 11, "AveragePool", {"x": rand(1, 2, *size)},
                     kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1, count_include_pad=1)
    yield single("LpPool", 11, "LpPool", {"x": IMAGE}, kernel_shape=[2, 2], strides=[2, 2], p=2)
    yield single("Conv", 7, "Conv", {"x": IMAGE}, {"w": rand(6, 2, 3, 3, seed=1)}, group=2, pads=[1, 1, 1, 1])
    yield single("ConvTranspose", 8, "ConvTranspose", {"x": IMAGE}, {"w": rand(4, 3, 3, 3, seed=1)}, strides=[2, 2],
                 output_padding=[1, 1])
    yield single("ConvTranspose-same", 10, "ConvTranspose", {"x": IMAGE}, {"w": rand(4, 3, 3, 3, seed=1)}, strides=[2, 2],
                 auto_pad="SAME_UPPER")
    yield single("Gemm", 7, "Gemm", {"x": rand(2, 4)}, {"w": rand(3, 4, seed=1), "c": rand(3, seed=2)}, transB=1, alpha=0.5)
    yield single("PRelu", 7, "PRelu", {"x": X}, {"s": rand(3, 1, seed=1)})
    yield single("Flatten", 7, "Flatten", {"x": X}, axis=2)
    yield single("DepthToSpace", 8, "DepthToSpace", {"x": IMAGE}, blocksize=2)
    yield single("Expand", 8, "Expand", {"x": rand(3, 1)}, {"s": np.array([2, 3, 4], np.int64)})
    yield single("InstanceNormalization", 7, "InstanceNormalization", {"x": IMAGE}, {"s": norms["s"], "b": norms["b"]})
    yield single("LRN", 7, "LRN", {"x": IMAGE}, size=3)
    yield single("Tile", 7, "Tile", {"x": X}, {"r": np.array([1, 2, 1], np.int64)})
    for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        yield single(op, 7, op, {"x": rand(5, 2, 3)},
                     {"w": rand(1, gates * 4, 3, seed=1), "r": rand(1, gates * 4, 4, seed=2), "b": rand(1, gates * 8, seed=3)},
                     hidden_size=4)
    for op in ("ArgMax", "ArgMin"):
        yield Case(op, 8, [node(op, ["x"], ["y"], axis=1)], {"x": X}, output_types={"y": INT64})
    yield Case("OneHot", 9, [node("OneHot", ["i", "d", "v"], ["y"])], {"i": np.array([0, 2, 1], np.int64)},
               {"d": np.array([3], np.int64), "v": np.array([0, 1], np.float32)})
    yield Case("QuantizeLinear", 10, [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["y"])],
               {"x": X}, {"s": np.array(0.03, np.float32), "z": np.array(128, np.uint8)})
    yield Case("QuantizeLinear-13-axis", 13,
               [node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=2), node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=2)],
               {"x": X}, {"s": np.array([0.03, 0.02, 0.01, 0.05], np.float32), "z": np.zeros(4, np.int8)})
    yield Case("Cast", 8, [node("Cast", ["x"], ["i"], to=INT64), node("Cast", ["i"], ["y"], to=FLOAT)], {"x": 10 * X})
    yield Case("Compare", 7, [node("Greater", ["x", "t"], ["g"]), node("Less", ["x", "t"], ["l"]), node("Or", ["g", "l"], ["o"]),
                              node("Not", ["o"], ["n"]), node("Cast", ["n"], ["y"], to=FLOAT)], {"x": X},
               {"t": np.array([0.1], np.float32)})
    yield Case("Constant", 7, [node("Constant", [], ["c"], value=numpy_helper.from_array(rand(4, seed=7))), node("Add", ["x", "c"], ["y"])],
               {"x": X})
    yield Case("Max-Min-Sum-Mean", 8, [node("Max", ["x", "t"], ["a"]), node("Min", ["a", "u"], ["b"]), node("Sum", ["a", "b"], ["c"]),
                                       node("Mean", ["c", "x"], ["y"])], {"x": X},
               {"t": np.array([0.1], np.float32), "u": np.array([0.5], np.float32)})
    yield control_flow(9)
    yield control_flow(11)
    yield loop(10)
    yield function(12)
    yield chain(9)


def control_flow(opset):
    """If with branches that hold nodes to be rewritten, one of them over a captured value."""
    def branch(name, nodes, constants=()):
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(nodes[-1].output[0], FLOAT, None)], list(constants))

    then_branch = branch("then", [node("ReduceSum", ["x"], ["t"], axes=[1], keepdims=0)])
    else_branch = branch("else", [node("Squeeze", ["s"], ["r"], axes=[1]), node("Softmax", ["r"], ["e"], axis=0)])
    nodes = [node("ReduceMax", ["x"], ["s"], axes=[1]),
             helper.make_node("If", ["c"], ["y"], name="if", then_branch=then_branch, else_branch=else_branch)]
    return Case(f"If-{opset}", opset, nodes, {"x": X, "c": np.array(False)})


def loop(opset):
    body = helper.make_graph(
        [node("Unsqueeze", ["state"], ["u"], axes=[0]), node("Softmax", ["u"], ["p"], axis=2), node("Squeeze", ["p"], ["next"], axes=[0]),
         node("Identity", ["cond"], ["cond_out"])], "body",
        [helper.make_tensor_value_info("i", INT64, []), helper.make_tensor_value_info("cond", TensorProto.BOOL, []),
         helper.make_tensor_value_info("state", FLOAT, None)],
        [helper.make_tensor_value_info("cond_out", TensorProto.BOOL, []), helper.make_tensor_value_info("next", FLOAT, None)])
    return Case(f"Loop-{opset}", opset, [helper.make_node("Loop", ["n", "c", "x"], ["y"], name="loop", body=body)], {"x": X},
                {"n": np.array(3, np.int64), "c": np.array(True)})


def function(opset):
    body = [node("Unsqueeze", ["A"], ["u"], axes=[0]), node("ReduceSum", ["u"], ["r"], axes=[1], keepdims=0), node("Softmax", ["r"], ["B"])]
    made = helper.make_function("local", "Block", ["A"], ["B"], body, [helper.make_opsetid("", opset)])
    return Case(f"Function-{opset}", opset, [helper.make_node("Block", ["x"], ["h"], domain="local", name="call"),
                                             node("Squeeze", ["h"], ["y"], axes=[0])],
                {"x": X}, functions=[made], domains=["local"])


def chain(opset):
    """Unnamed nodes, equal constants in many places, symbolic dimensions."""
    nodes = [helper.make_node("Unsqueeze", ["x"], ["a"], axes=[0]), helper.make_node("Unsqueeze", ["a"], ["b"], axes=[0]),
             helper.make_node("Squeeze", ["b"], ["c"], axes=[0]), helper.make_node("Softmax", ["c"], ["d"]),
             helper.make_node("Softmax", ["d"], ["e"], axis=2), helper.make_node("ReduceMean", ["e"], ["y"], axes=[0])]
    return Case(f"Chain-{opset}", opset, nodes, {"x": X}, declare=False)


CASES = list(cases())


def run(path, feeds):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    wanted = {i.name for i in session.get_inputs()}
    return session.run(None, {k: v for k, v in feeds.items() if k in wanted})


def lift(tmp_path, model, target=21):
    assert TOOL and os.access(TOOL, os.X_OK), "LATHE_TEST_TOOL must name the built lathe_test_tool"
    before, after = tmp_path / "before.onnx", tmp_path / "after.onnx"
    onnx.save(model, before)
    result = subprocess.run([TOOL, "upgrade", str(before), str(after), str(target)], capture_output=True, text=True, timeout=120)
    return before, after, result


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_lifted_model_computes_the_same(case, tmp_path):
    before, after, result = lift(tmp_path, case.model(), case.target)
    assert result.returncode == 0, result.stderr
    lifted = onnx.load(after)
    assert {o.domain: o.version for o in lifted.opset_import}[""] == case.target
    assert lifted.ir_version >= 10
    onnx.shape_inference.infer_shapes(lifted, check_type=True, strict_mode=True)
    for expected, got in zip(run(before, case.feeds), run(after, case.feeds), strict=True):
        assert expected.dtype == got.dtype and expected.shape == got.shape
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target", [11, 13, 17, 18, 19])
def test_every_step_on_the_way_is_valid(target, tmp_path):
    _, after, result = lift(tmp_path, chain(9).model(), target)
    assert result.returncode == 0, result.stderr
    onnx.shape_inference.infer_shapes(onnx.load(after), check_type=True, strict_mode=True)
    np.testing.assert_allclose(run(after, {"x": X})[0], run(tmp_path / "before.onnx", {"x": X})[0], rtol=1e-5, atol=1e-6)


REFUSED = {
    "spatial": single("", 8, "BatchNormalization", {"x": IMAGE},
                      {"s": rand(4), "b": rand(4), "m": rand(4), "v": rand(4)}, spatial=0),
    "unknown": single("", 11, "ImageScaler", {"x": IMAGE}),
    "mask": Case("", 9, [node("Dropout", ["x"], ["y", "m"])], {"x": X}, outputs=("y", "m")),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_lifted_is_refused_by_name(case, tmp_path):
    _, after, result = lift(tmp_path, case.model())
    assert result.returncode == 3, result.stderr
    assert case.nodes[0].name in result.stderr
    assert not after.exists()
