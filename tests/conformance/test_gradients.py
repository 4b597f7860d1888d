"""Every backward rule against central differences in float64.

The loss is sum(R * y) over the outputs y of a model of one node, R random. ONNX's reference evaluator computes it in float64;
its derivative along a direction d is (L(x + h d) - L(x - h d)) / 2h with h = 1e-4 of x's size, whose own error is of the
order h^2 = 1e-8. The engine's gradient is float32: each of its elements is a sum of n products of size about one, so that its
rounding is at most about n 2^-24, and along a direction of length one the difference stays under 1e-4 for the sizes here.
"""

import json
import math
import subprocess
import zlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import gradients_table
from onnx_cases import TOOL, read_outputs, write_inputs
from recurrent_reference import GATES, recurrent

# Name, operator, inputs, attributes. Inputs: a shape (normal numbers), an array, or None. `differentiable` of Case tells
# which are moved.
DIRECTIONS = 3


class Case:
    def __init__(self, op, inputs, outputs=1, opset=17, domain="", constants=(), fixed=(), tolerance=1e-4, sample=None,
                 reference=None, loss_of=None, **attributes):
        self.op, self.inputs, self.outputs, self.opset, self.domain = op, inputs, outputs, opset, domain
        self.constants, self.fixed, self.tolerance, self.attributes = constants, fixed, tolerance, attributes
        self.sample = sample or (lambda rng, shape: rng.standard_normal(shape))
        # Called with float64 arrays instead of ONNX's evaluator, where that has no such operator or is wrong.
        self.reference = reference
        # Outputs that the loss reads; None: all.
        self.loss_of = loss_of

    def label(self):
        shapes = "-".join("x".join(map(str, i)) if isinstance(i, tuple) else "a" for i in self.inputs)
        extra = "_".join(f"{k}{v}" for k, v in self.attributes.items())
        return f"{self.op}[{shapes}]{extra}@{self.opset}".replace(" ", "")[:90]

    def arrays(self):
        # Seeded by the case, whatever the order of cases.
        rng = np.random.default_rng(zlib.crc32(self.label().encode()))
        out = []
        for value in self.inputs:
            if value is None or isinstance(value, np.ndarray):
                out.append(value)
            else:
                out.append(np.asarray(self.sample(rng, value), np.float64))
        return out, rng

    def model(self, arrays, dtype):
        names = ["" if a is None else f"i{k}" for k, a in enumerate(arrays)]
        outs = [f"o{k}" for k in range(self.outputs)] if isinstance(self.outputs, int) else self.outputs
        node = helper.make_node(self.op, names, outs, domain=self.domain, **self.attributes)
        kinds = {n: dtype if a.dtype.kind == "f" else helper.np_dtype_to_tensor_dtype(a.dtype)
                 for n, a in zip(names, arrays) if a is not None}
        fixed = [numpy_helper.from_array(cast(a, dtype), f"i{k}") for k, a in enumerate(arrays) if k in self.constants]
        held = {t.name for t in fixed}
        graph = helper.make_graph(
            [node], "g",
            [helper.make_tensor_value_info(n, kinds[n], a.shape) for n, a in zip(names, arrays)
             if a is not None and n not in held],
            [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in outs if n], fixed)
        for info in graph.output:
            info.ClearField("type")
            info.type.tensor_type.elem_type = TensorProto.UNDEFINED
        opsets = [helper.make_opsetid("", self.opset)] + ([helper.make_opsetid(self.domain, 1)] if self.domain else [])
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def cast(array, dtype):
    if array.dtype.kind != "f":
        return array
    return array.astype(np.float32 if dtype == TensorProto.FLOAT else np.float64)


def evaluate(case, evaluator, arrays):
    if case.reference is not None:
        outs = case.reference(*arrays)
        return list(outs) if isinstance(outs, (tuple, list)) else [outs]
    given = {f"i{k}": a for k, a in enumerate(arrays) if a is not None and k not in case.constants}
    return evaluator.run(None, given)


def check(case, folder, flags=()):
    arrays, rng = case.arrays()
    # What the engine is given is what the differences are taken around.
    arrays = [a if a is None or a.dtype.kind != "f" else a.astype(np.float32).astype(np.float64) for a in arrays]
    evaluator = None if case.reference else ReferenceEvaluator(case.model(arrays, TensorProto.DOUBLE))
    outputs = evaluate(case, evaluator, arrays)
    names = [f"o{k}" for k in range(case.outputs)] if isinstance(case.outputs, int) else [o for o in case.outputs if o]
    names = list(case.loss_of or names)
    weights = [rng.standard_normal(np.shape(o)).astype(np.float32) for o in outputs]
    model = case.model(arrays, TensorProto.FLOAT)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    given = {f"i{k}": (cast(a, TensorProto.FLOAT), None) for k, a in enumerate(arrays)
             if a is not None and k not in case.constants}
    given |= {f"grad:{n}": (w, None) for n, w, o in zip(names, weights, outputs) if np.asarray(o).dtype.kind == "f"}
    write_inputs(folder / "inputs.onnx", given)
    done = subprocess.run([TOOL, "grad", *flags, str(folder)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["ok"], answer
    assert not answer["blocked"], answer
    found = read_outputs(folder / "outputs.onnx")
    for name, wanted in zip(names, outputs):
        np.testing.assert_allclose(found["out:" + name], wanted, rtol=2e-4, atol=2e-4, err_msg="forward " + name)

    def loss(moved):
        return sum(float(np.sum(np.asarray(o, np.float64) * w)) for o, w in zip(evaluate(case, evaluator, moved), weights)
                   if np.asarray(o).dtype.kind == "f")

    checked = 0
    for k, array in enumerate(arrays):
        if array is None or array.dtype.kind != "f" or k in case.constants or k in case.fixed or array.size == 0:
            continue
        gradient = found.get(f"i{k}", np.zeros(array.shape)).astype(np.float64)
        assert gradient.shape == array.shape
        directions = [rng.standard_normal(array.shape) for _ in range(DIRECTIONS)]
        for at in rng.integers(0, array.size, 4):  # single elements find errors that a random direction averages out
            single = np.zeros(array.size)
            single[at] = 1
            directions.append(single.reshape(array.shape))
        for direction in directions:
            direction = direction / np.linalg.norm(direction)
            h = 1e-4
            up, down = ([a if j != k else array + sign * h * direction for j, a in enumerate(arrays)] for sign in (1, -1))
            numeric = (loss(up) - loss(down)) / (2 * h)
            analytic = float(np.sum(gradient * direction))
            scale = max(1.0, abs(numeric), float(np.linalg.norm(gradient)) / np.sqrt(gradient.size))
            assert abs(analytic - numeric) <= case.tolerance * scale, \
                f"{case.label()} input {k}: engine {analytic}, differences {numeric}"
            checked += 1
    assert checked > 0, "nothing was compared"


def away_from_zero(rng, shape):
    """Kinks at 0 are out of reach of a step."""
    values = rng.standard_normal(shape)
    return np.where(np.abs(values) < 0.05, 0.1, values)


def positive(rng, shape):
    return rng.uniform(0.5, 2.0, shape)


def conv_transpose(strides=None, pads=None, dilations=None, output_padding=None, group=1):
    """ConvTranspose by its definition: each element of x adds w, scaled, to y at its place; pads are cut off."""
    def run(x, w, b=None):
        axes = x.ndim - 2
        steps, spread = strides or (1,) * axes, dilations or (1,) * axes
        cut, extra = pads or (0,) * (2 * axes), output_padding or (0,) * axes
        inner, width = w.shape[0] // group, w.shape[1]
        full = [(x.shape[2 + a] - 1) * steps[a] + (w.shape[2 + a] - 1) * spread[a] + 1 + extra[a] for a in range(axes)]
        y = np.zeros((x.shape[0], width * group, *full))
        for tap in np.ndindex(*w.shape[2:]):
            at = tuple(slice(tap[a] * spread[a], tap[a] * spread[a] + (x.shape[2 + a] - 1) * steps[a] + 1, steps[a])
                       for a in range(axes))
            for g in range(group):
                mine = slice(g * inner, (g + 1) * inner)
                y[(slice(None), slice(g * width, (g + 1) * width), *at)] += np.einsum(
                    "nc...,co->no...", x[:, mine], w[(mine, slice(None), *tap)])
        y = y[(slice(None), slice(None), *(slice(cut[a], full[a] - cut[axes + a]) for a in range(axes)))]
        return y if b is None else y + b.reshape(-1, *(1,) * axes)
    return run


def apart(rng, shape):
    """No two elements so near to each other that a step changes which is larger."""
    return rng.permutation(int(np.prod(shape))).reshape(shape) / 16.0


def layer(op, steps, batch, width, hidden, bias=True, lengths=None, states=False, peephole=False, outputs=None, opset=14,
          **attributes):
    d = 2 if attributes.get("direction") == "bidirectional" else 1
    gates = GATES[op] * hidden
    first = attributes.get("layout", 0)
    state = (batch, d, hidden) if first else (d, batch, hidden)
    inputs = [(batch, steps, width) if first else (steps, batch, width), (d, gates, width), (d, gates, hidden),
              (d, 2 * gates) if bias else None, None if lengths is None else np.array(lengths, np.int32),
              state if states else None]
    inputs += [state if states else None, (d, 3 * hidden) if peephole else None] if op == "LSTM" else []
    while inputs[-1] is None:
        inputs.pop()
    outputs = outputs or (3 if op == "LSTM" else 2)
    kept = [i for i, o in enumerate(outputs) if o] if isinstance(outputs, list) else range(outputs)
    whole = recurrent(op, **attributes)
    return Case(op, inputs, outputs, opset=opset, sample=lambda rng, shape: rng.standard_normal(shape) / 2,
                reference=lambda *arrays: [whole(*arrays)[i] for i in kept], hidden_size=hidden, **attributes)


PRODUCTS = [
    Case("MatMul", [(3, 4), (4, 5)]),
    Case("MatMul", [(2, 3, 4), (4, 5)]),
    Case("MatMul", [(2, 3, 4), (2, 4, 5)]),
    Case("MatMul", [(2, 1, 3, 4), (5, 4, 2)]),
    Case("MatMul", [(3, 4), (2, 4, 5)]),
    Case("MatMul", [(4,), (4, 5)]),
    Case("MatMul", [(3, 4), (4,)]),
    Case("MatMul", [(4,), (4,)]),
    Case("MatMul", [(2, 4), (3, 4, 1)]),
    Case("Gemm", [(3, 4), (4, 5), (5,)]),
    Case("Gemm", [(4, 3), (4, 5), (3, 1)], transA=1),
    Case("Gemm", [(3, 4), (5, 4), (3, 5)], transB=1, alpha=0.5, beta=2.0),
    Case("Gemm", [(4, 3), (5, 4)], transA=1, transB=1, alpha=1.5),
]
BROADCASTS = (((3, 4), (3, 4)), ((3, 4), (4,)), ((2, 1, 4), (3, 1)), ((1,), (2, 3)), ((2, 3), (1, 1)), ((2, 3), ()))
ARITHMETIC = [
    *(Case(op, [a, b], sample=away_from_zero if op == "Div" else None) for op in ("Add", "Sub", "Mul", "Div")
      for a, b in BROADCASTS),
    Case("Sum", [(3, 4), (4,), (3, 1)]),
    Case("Mean", [(3, 4), (4,), (3, 1)]),
    Case("Mean", [(3, 4)]),
    *(Case("Pow", [a, b], sample=positive) for a, b in BROADCASTS),
    *(Case("Pow", [(3, 4), np.array(e)], sample=positive, fixed=(1,)) for e in (2.0, 3.0, 0.5, -1.0, 0.0)),
    Case("Pow", [(3, 4), np.array([2, 3, 0, 1])], sample=away_from_zero),
    Case("Pow", [(3, 4), np.array([2.0])], sample=away_from_zero, constants=(1,)),
    *(Case(op, [a, b], opset=opset) for op in ("Max", "Min") for a, b in BROADCASTS for opset in (8, 17)),
    *(Case(op, [(3, 4), (4,), (2, 1, 1)]) for op in ("Max", "Min")),
    *(Case(op, [(3, 4)]) for op in ("Max", "Min")),
    *(Case("Where", [np.array([[True, False, True], [False, False, True]]), a, b])
      for a, b in (((2, 3), (2, 3)), ((3,), (2, 1)), ((), (4, 2, 3)))),
    Case("Where", [np.array([[True], [False]]), (3,), (2, 3)]),
]


def inside(rng, shape):
    return rng.uniform(-0.9, 0.9, shape)


ERF = np.vectorize(math.erf, otypes=[np.float64])


def above_one(rng, shape):
    return rng.uniform(1.2, 3.0, shape)


UNARY = [
    *(Case(op, [shape], sample=sample) for shape in ((3, 5), (1030,), ()) for op, sample in (
        ("Abs", away_from_zero), ("Acos", inside), ("Acosh", above_one), ("Asin", inside), ("Asinh", None),
        ("Atan", None), ("Atanh", inside), ("Cos", None), ("Cosh", None), ("Exp", None), ("Identity", None),
        ("Log", positive), ("Neg", None), ("Reciprocal", away_from_zero), ("Sin", None), ("Sinh", None), ("Sqrt", positive),
        ("Tan", inside))),
    # ONNX's own Erf is one of float32.
    *(Case("Erf", [shape], reference=ERF) for shape in ((3, 5), (1030,), ())),
    Case("Cast", [(3, 5)], to=TensorProto.FLOAT, reference=lambda x: x),
    Case("CastLike", [(3, 5), np.zeros(1)], fixed=(1,)),
    Case("Dropout", [(3, 5)], opset=6, ratio=0.3, reference=lambda x: x),
    Case("Dropout", [(3, 5)], opset=10, ratio=0.3, reference=lambda x: x),
    Case("Dropout", [(3, 5), np.array(0.3)], fixed=(1,), reference=lambda x, r: x),
    Case("Dropout", [(3, 5), np.array(0.0), np.array(True)], outputs=2, fixed=(1,),
         reference=lambda x, r, t: (x, np.ones(x.shape, bool))),
    *(Case("CumSum", [(2, 3, 4), np.array(axis)], exclusive=e, reverse=r)
      for axis in (0, 1, -1) for e in (0, 1) for r in (0, 1)),
    Case("Range", [np.array(0.3), np.array(2.5), np.array(0.4)], reference=lambda a, b, d: a + d * np.arange(6)),
]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def away_from_kinks(rng, shape):
    """Kinks of the piecewise functions here lie at multiples of 1/2."""
    values = rng.uniform(-4, 4, shape)
    return np.where(np.abs(2 * values - np.rint(2 * values)) < 0.1, values + 0.1, values)


def gelu(x):
    return x / 2 * (1 + ERF(x / np.sqrt(2)))


def gelu_tanh(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS = [
    *(Case(op, [shape], sample=sample, opset=opset, **attributes) for shape in ((3, 5), (1030,))
      for op, sample, opset, attributes in (
        ("Relu", away_from_zero, 17, {}), ("Sigmoid", None, 17, {}), ("Tanh", None, 17, {}),
        ("LeakyRelu", away_from_zero, 17, {}), ("LeakyRelu", away_from_zero, 17, {"alpha": -0.3}),
        ("ThresholdedRelu", away_from_kinks, 17, {}), ("ThresholdedRelu", away_from_kinks, 17, {"alpha": 0.5}),
        ("Shrink", away_from_kinks, 17, {}), ("Shrink", away_from_kinks, 17, {"lambd": 1.0, "bias": 0.25}),
        ("Elu", away_from_zero, 17, {}), ("Elu", away_from_zero, 17, {"alpha": 0.3}),
        ("Selu", away_from_zero, 17, {}), ("Selu", away_from_zero, 17, {"alpha": 1.5, "gamma": 0.7}),
        ("Celu", away_from_zero, 17, {}), ("Celu", away_from_zero, 17, {"alpha": 2.0}),
        ("HardSigmoid", away_from_kinks, 17, {}), ("HardSigmoid", away_from_kinks, 17, {"alpha": 0.5, "beta": 0.25}),
        ("HardSwish", away_from_kinks, 17, {}), ("Softplus", None, 17, {}), ("Softsign", None, 17, {}),
        ("Mish", None, 18, {}))),
    *(Case("Swish", [shape], opset=24, alpha=alpha, reference=lambda x, alpha=alpha: x * sigmoid(alpha * x))
      for shape in ((3, 5), (1030,)) for alpha in (1.0, 1.5)),
    *(Case("Gelu", [shape], opset=20, approximate=mode, reference=reference)
      for shape in ((3, 5), (1030,)) for mode, reference in (("none", gelu), ("tanh", gelu_tanh))),
    Case("Gelu", [(3, 5)], domain="com.microsoft", reference=gelu),
    Case("QuickGelu", [(3, 5)], domain="com.microsoft", reference=lambda x: x * sigmoid(1.702 * x)),
    Case("FastGelu", [(3, 5)], domain="com.microsoft", reference=gelu_tanh),
    Case("FastGelu", [(2, 3, 5), (5,)], domain="com.microsoft", reference=lambda x, b: gelu_tanh(x + b)),
    Case("BiasGelu", [(2, 3, 700), (700,)], domain="com.microsoft", reference=lambda x, b: gelu(x + b)),
    *(Case("PRelu", [x, slope], sample=away_from_zero)
      for x, slope in (((3, 4), (3, 4)), ((2, 3, 4), (3, 1)), ((2, 3), (1,)), ((2, 3), ()))),
    Case("Clip", [(4, 5)], opset=6, min=-0.6, max=0.7, sample=away_from_kinks,
         reference=lambda x: np.clip(x, np.float32(-0.6), np.float32(0.7))),
    Case("Clip", [(4, 5)], opset=6, sample=away_from_kinks, reference=lambda x: x),
    Case("Clip", [(4, 5), np.array(-0.6), np.array(0.7)], sample=away_from_kinks),
    Case("Clip", [(4, 5), np.array(-0.6)], sample=away_from_kinks),
    Case("Clip", [(4, 5), None, np.array(0.7)], sample=away_from_kinks),
    Case("Clip", [(4, 5), np.array(-0.6), np.array(0.7)], sample=away_from_kinks, constants=(1, 2)),
]
CONVOLUTIONS = [
    Case("Conv", [(2, 3, 7), (4, 3, 3), (4,)]),
    Case("Conv", [(2, 3, 6, 7), (4, 3, 3, 3), (4,)]),
    Case("Conv", [(2, 3, 6, 7), (4, 3, 3, 3)], pads=[1, 0, 2, 1], strides=[2, 1]),
    Case("Conv", [(1, 2, 9, 8), (3, 2, 3, 2), (3,)], dilations=[2, 3], pads=[2, 1, 0, 1]),
    Case("Conv", [(2, 4, 5, 5), (6, 2, 3, 3), (6,)], group=2, pads=[1, 1, 1, 1]),
    Case("Conv", [(2, 3, 5, 5), (6, 1, 3, 3), (6,)], group=3, pads=[1, 1, 1, 1]),
    Case("Conv", [(1, 2, 4, 5, 4), (3, 2, 2, 3, 2), (3,)], strides=[1, 2, 1], pads=[0, 1, 1, 1, 0, 0]),
    Case("Conv", [(2, 2, 5, 6), (3, 2, 3, 3)], auto_pad="SAME_UPPER", strides=[2, 2]),
    Case("Conv", [(2, 2, 5, 6), (3, 2, 2, 2)], auto_pad="SAME_LOWER"),
    # Blocked layouts: channels that fill one, padded ones, the first layer's few, depthwise, strides, 1 x 1.
    Case("Conv", [(2, 16, 6, 7), (32, 16, 3, 3), (32,)], pads=[1, 1, 1, 1]),
    Case("Conv", [(2, 16, 7, 7), (32, 16, 3, 3), (32,)], pads=[1, 1, 1, 1], strides=[2, 2]),
    Case("Conv", [(2, 20, 5, 5), (18, 20, 3, 3), (18,)], pads=[1, 1, 1, 1]),
    Case("Conv", [(2, 3, 8, 8), (16, 3, 3, 3), (16,)], pads=[1, 1, 1, 1]),
    Case("Conv", [(2, 1, 8, 8), (16, 1, 3, 3), (16,)], pads=[1, 1, 1, 1]),
    Case("Conv", [(2, 32, 5, 5), (32, 1, 3, 3), (32,)], group=32, pads=[1, 1, 1, 1]),
    Case("Conv", [(2, 32, 6, 6), (16, 32, 1, 1), (16,)], strides=[2, 2]),
    Case("Conv", [(2, 32, 4, 4), (32, 16, 3, 3)], group=2, pads=[1, 1, 1, 1]),
    Case("Conv", [(2, 16, 9), (16, 16, 3), (16,)], pads=[2, 2], dilations=[2]),
    Case("ConvTranspose", [(2, 3, 5), (3, 4, 3), (4,)], reference=conv_transpose()),
    Case("ConvTranspose", [(2, 3, 4, 5), (3, 4, 3, 3), (4,)], reference=conv_transpose()),
    Case("ConvTranspose", [(2, 3, 4, 5), (3, 4, 3, 3), (4,)], strides=[2, 3], pads=[1, 0, 0, 2], output_padding=[1, 0],
         reference=conv_transpose(strides=(2, 3), pads=(1, 0, 0, 2), output_padding=(1, 0))),
    Case("ConvTranspose", [(2, 3, 4, 4), (3, 2, 2, 2)], strides=[3, 3], output_padding=[2, 1],
         reference=conv_transpose(strides=(3, 3), output_padding=(2, 1))),  # the last positions are reached by nothing
    Case("ConvTranspose", [(1, 4, 3, 4), (4, 3, 3, 2), (6,)], group=2, dilations=[2, 1],
         reference=conv_transpose(dilations=(2, 1), group=2)),
    Case("ConvTranspose", [(2, 16, 4, 5), (16, 16, 4, 4), (16,)], strides=[2, 2], pads=[1, 1, 1, 1],
         reference=conv_transpose(strides=(2, 2), pads=(1, 1, 1, 1))),
    Case("ConvTranspose", [(1, 2, 3, 3, 3), (2, 3, 2, 2, 2), (3,)], strides=[2, 1, 2],
         reference=conv_transpose(strides=(2, 1, 2))),
]
POOLS = [
    Case("MaxPool", [(2, 3, 9)], kernel_shape=[3], sample=apart),
    Case("MaxPool", [(2, 3, 7, 8)], kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1], sample=apart),
    Case("MaxPool", [(2, 3, 7, 8)], kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1, sample=apart),
    Case("MaxPool", [(1, 2, 9, 9)], kernel_shape=[3, 2], dilations=[2, 3], sample=apart),
    Case("MaxPool", [(1, 2, 4, 5, 4)], kernel_shape=[2, 2, 2], strides=[1, 2, 2], sample=apart),
    Case("MaxPool", [(2, 2, 6, 7)], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER", sample=apart),
    Case("MaxPool", [(2, 2, 6, 6)], outputs=2, kernel_shape=[2, 2], strides=[2, 2], sample=apart),
    Case("AveragePool", [(2, 3, 9)], kernel_shape=[3], strides=[2]),
    Case("AveragePool", [(2, 3, 7, 8)], kernel_shape=[3, 2], pads=[1, 0, 1, 1]),
    Case("AveragePool", [(2, 3, 7, 8)], kernel_shape=[3, 2], pads=[1, 0, 1, 1], count_include_pad=1),
    Case("AveragePool", [(2, 3, 7, 8)], kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1, opset=19),
    Case("AveragePool", [(2, 3, 8, 8)], kernel_shape=[3, 3], strides=[3, 3], pads=[1, 1, 1, 1], ceil_mode=1,
         count_include_pad=1, opset=19),
    Case("AveragePool", [(1, 2, 4, 5, 4)], kernel_shape=[2, 2, 2]),
    Case("GlobalAveragePool", [(2, 3, 4, 5)]),
    Case("GlobalAveragePool", [(2, 3, 7)]),
    Case("GlobalMaxPool", [(2, 3, 4, 5)], sample=apart),
    Case("LpPool", [(2, 3, 7, 8)], kernel_shape=[3, 2], strides=[2, 2], sample=away_from_zero, opset=18),
    Case("LpPool", [(2, 3, 8)], kernel_shape=[3], p=3, sample=away_from_zero, opset=18),
    Case("GlobalLpPool", [(2, 3, 4, 5)], reference=lambda x: np.sqrt((x * x).sum((2, 3), keepdims=True))),
    Case("GlobalLpPool", [(2, 3, 9)], p=3, sample=away_from_zero,
         reference=lambda x: (np.abs(x) ** 3).sum(2, keepdims=True) ** (1 / 3)),
]
RECURRENT = [
    *(case for op in ("LSTM", "GRU", "RNN") for case in (
        layer(op, 4, 2, 3, 5),
        layer(op, 4, 2, 3, 5, direction="reverse"),
        layer(op, 4, 2, 3, 5, direction="bidirectional", states=True),
        layer(op, 3, 2, 3, 4, layout=1, states=True, opset=14),
        layer(op, 4, 3, 2, 3, lengths=[4, 2, 0], states=True),
        layer(op, 4, 3, 2, 3, lengths=[4, 2, 3], direction="bidirectional"),
        # Without Y the states are computed again.
        layer(op, 4, 2, 3, 5, states=True, outputs=["", "o1"]),
        layer(op, 4, 3, 2, 3, lengths=[4, 1, 3], direction="reverse", outputs=["", "o1"]),
        layer(op, 3, 2, 3, 4, bias=False),
    )),
    layer("LSTM", 4, 2, 3, 5, outputs=["", "", "o2"], states=True),
    layer("LSTM", 4, 2, 3, 5, states=True, peephole=True),
    layer("LSTM", 4, 2, 3, 5, states=True, peephole=True, direction="bidirectional", lengths=[4, 3]),
    layer("LSTM", 4, 2, 3, 5, states=True, input_forget=1),
    layer("LSTM", 4, 2, 3, 5, activations=["HardSigmoid", "Softsign", "Elu"]),
    layer("GRU", 4, 2, 3, 5, states=True, linear_before_reset=1),
    layer("GRU", 4, 3, 3, 5, states=True, linear_before_reset=1, direction="bidirectional", lengths=[4, 2, 3]),
    layer("GRU", 4, 2, 3, 5, linear_before_reset=1, bias=False, outputs=["", "o1"]),
    layer("GRU", 4, 2, 3, 5, activations=["Sigmoid", "Softplus"]),
    layer("RNN", 4, 2, 3, 5, activations=["LeakyRelu", "ScaledTanh"], direction="bidirectional"),
    layer("LSTM", 5, 17, 20, 36, states=True),
]
REDUCED = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
           "ReduceLogSum", "ReduceLogSumExp")


def reduce_sample(op):
    return positive if op == "ReduceLogSum" else away_from_zero


def noop_reference(op):
    """Without axes each element is reduced alone."""
    return {"ReduceL1": np.abs, "ReduceL2": np.abs, "ReduceSumSquare": np.square, "ReduceLogSum": np.log}.get(op, lambda x: x)


REDUCTIONS = [
    *(Case(op, [(3, 4, 5)], opset=11, sample=reduce_sample(op), keepdims=keep, axes=axes)
      for op in REDUCED for axes, keep in (([1], 1), ([0, -1], 0), ([2], 0), ([0], 0), ([0, 1, 2], 1))),
    *(Case(op, [(3, 4)], opset=11, sample=reduce_sample(op)) for op in REDUCED),
    *(Case(op, [(3, 4, 5), np.array(axes)], opset=18, sample=reduce_sample(op), keepdims=keep)
      for op in REDUCED for axes, keep in (([1], 1), ([0, -1], 0), ([-1], 1))),
    *(Case(op, [(2, 2, 2), np.array([], np.int64)], opset=18, sample=reduce_sample(op), noop_with_empty_axes=noop,
           reference=None if noop == 0 else lambda x, _, f=noop_reference(op): f(x))
      for op in REDUCED for noop in (0, 1)),
    *(Case("ReduceProd", [np.array(x)], keepdims=0, axes=[1], opset=11)
      for x in ([[2.0, 0.0, 3.0], [1.0, 4.0, 2.0]], [[0.0, 0.0, 3.0], [1.0, 0.0, 2.0]])),
    Case("ReduceSum", [(3, 1, 5), np.array([1])], opset=13),
    # Wider than the columns that are summed at a time, and of rows longer than any lane.
    *(Case(op, [(3, 1100)], opset=13, axes=[0]) for op in ("ReduceMean", "ReduceL2")),
    *(Case(op, [(3, 1100)], opset=13, axes=[1]) for op in ("ReduceMean", "ReduceL2")),
]


def spaced(rng, shape):
    """No two elements are so near each other that a step would change their order."""
    count = int(np.prod(shape))
    return (rng.permutation(count).reshape(shape) + 1) / count


LAYOUTS = [
    Case("Reshape", [(2, 3, 4), np.array([0, -1])]),
    Case("Reshape", [(2, 3, 4), np.array([4, 6])], opset=13),
    Case("Flatten", [(2, 3, 4)], axis=2),
    Case("Flatten", [(2, 3, 4)], axis=-1),
    Case("Squeeze", [(2, 1, 4)], opset=11, axes=[1]),
    Case("Squeeze", [(2, 1, 4), np.array([-2])]),
    Case("Squeeze", [(1, 4, 1)]),
    Case("Unsqueeze", [(2, 4)], opset=11, axes=[0, 2]),
    Case("Unsqueeze", [(2, 4), np.array([0, -1])]),
    Case("Transpose", [(2, 3, 4)]),
    Case("Transpose", [(2, 3, 4)], perm=[2, 0, 1]),
    Case("Transpose", [(2, 1, 4)], perm=[1, 0, 2]),
    Case("Transpose", [(2, 3, 4, 5)], perm=[0, 2, 1, 3]),
    *(Case("DepthToSpace", [(2, 12, 2, 3)], blocksize=2, mode=mode) for mode in ("DCR", "CRD")),
    Case("SpaceToDepth", [(2, 3, 4, 6)], blocksize=2),
    Case("Expand", [(3, 1), np.array([2, 3, 4])]),
    Case("Expand", [(3, 4), np.array([1, 1])]),
    Case("Expand", [(), np.array([2, 2])]),
    Case("Tile", [(2, 3), np.array([2, 3])]),
    Case("Tile", [(2, 1, 3), np.array([1, 4, 1])]),
    *(Case("Concat", [(2, 3, 4), (2, 1, 4), (2, 2, 4)], axis=axis) for axis in (1, -2)),
    Case("Concat", [(3,)], axis=0),
    Case("Concat", [(2, 3), (2, 2)], axis=1, constants=(1,)),
    Case("Split", [(2, 6, 4)], outputs=3, axis=1),
    Case("Split", [(2, 6, 4)], outputs=2, opset=11, axis=1, split=[2, 4]),
    Case("Split", [(2, 6), np.array([1, 5])], outputs=2, axis=-1),
    Case("Split", [(2, 7)], outputs=3, opset=18, axis=-1, num_outputs=3),
    Case("Split", [(2, 6, 4)], outputs=["o0", "", "o2"], axis=1,
         reference=lambda x: (x[:, :2], x[:, 4:])),
    Case("Slice", [(4, 5)], opset=9, starts=[1, 0], ends=[3, -1]),
    Case("Slice", [(4, 5)], opset=9, starts=[1], ends=[9], axes=[1]),
    Case("Slice", [(4, 5), np.array([1, 0]), np.array([3, -1])]),
    Case("Slice", [(4, 5, 3), np.array([4, 0]), np.array([0, 5]), np.array([1, 0]), np.array([-2, 3])]),
    Case("Slice", [(4, 5), np.array([-1]), np.array([-9]), np.array([-1]), np.array([-1])]),
    Case("Slice", [(4, 5), np.array([0]), np.array([9]), np.array([0])]),
    Case("Slice", [(4, 5), np.array([3]), np.array([1]), np.array([0])], reference=lambda x, *_: x[3:1]),
    Case("Pad", [(3, 4)], opset=10, pads=[1, 2, 0, 1], value=2.5,
         reference=lambda x: np.pad(x, ((1, 0), (2, 1)), constant_values=2.5)),
    Case("Pad", [(3, 4), np.array([1, 2, 0, 1]), np.array(0.7)]),
    Case("Pad", [(3, 4), np.array([1, 2, 0, 1])], constants=(1,)),
    Case("Pad", [(3, 4), np.array([1, -2, -1, 1]), np.array(0.7)],
         reference=lambda x, p, v: np.pad(x[:2, 2:], ((1, 0), (0, 1)), constant_values=v)),
    Case("Pad", [(2, 3, 4), np.array([1, 2]), None, np.array([-1])], opset=18,
         reference=lambda x, p, v, a: np.pad(x, ((0, 0), (0, 0), (1, 2)))),
    *(Case("Pad", [(2, 3, 4), np.array([0, 1, 2, 0, 2, 1])], mode=mode) for mode in ("reflect", "edge")),
    Case("Pad", [(2, 3, 4), np.array([0, 1, 6, 0, 2, 1])], opset=19, mode="wrap"),
    Case("Pad", [(2, 3, 4)], opset=10, mode="reflect", pads=[0, 1, 2, 0, 2, 1],
         reference=lambda x: np.pad(x, ((0, 0), (1, 2), (2, 1)), mode="reflect")),
    Case("CenterCropPad", [(4, 5, 3), np.array([6, 3])], opset=18, axes=[0, 1]),
]


def scattered(data, indices, updates, axis):
    out = data.copy()
    np.put_along_axis(out, indices, updates, axis)
    return out


GATHERS = [
    Case("Gather", [(4, 5), np.array([0, 3, 0, -1])]),
    Case("Gather", [(4, 5), np.array([[0, 3], [2, -2]])], axis=1),
    Case("Gather", [(4, 5), np.array(2)], axis=-1),
    Case("Gather", [(2, 3, 4), np.array([2, 2, 1])], axis=1, constants=(1,)),
    Case("GatherElements", [(3, 4), np.array([[0, 2, 1, -1], [0, 0, 0, 0]])]),
    Case("GatherElements", [(3, 4), np.array([[0, 3], [1, 1], [-1, 2]])], axis=1),
    Case("GatherND", [(2, 3, 4), np.array([[0, 1], [1, -1], [0, 1]])]),
    Case("GatherND", [(2, 3, 4), np.array([[[2], [0]], [[1], [1]]])], batch_dims=1),
    Case("Compress", [(3, 4), np.array([True, False, True])], axis=0),
    Case("Compress", [(3, 4), np.array([False, True, False, True, True])]),
    Case("OneHot", [np.array([0, 2, -1]), np.array([3]), np.array([0.3, 1.2])], fixed=(0, 1),
         reference=lambda i, d, v: np.where(np.arange(3) == np.mod(i, 3)[..., None], v[1], v[0])),
    Case("OneHot", [np.array([[0, 2], [1, 7]]), np.array([3]), np.array([0.3, 1.2])], axis=0, fixed=(0, 1),
         reference=lambda i, d, v: np.moveaxis(np.where(np.arange(3) == i[..., None], v[1], v[0]), -1, 0)),
    Case("ReverseSequence", [(4, 3, 2), np.array([2, 4, 1])]),
    Case("ReverseSequence", [(3, 4), np.array([2, 4, 1])], time_axis=1, batch_axis=0),
    Case("Scatter", [(3, 4), np.array([[0, 2, 1, 1]]), (1, 4)], opset=10,
         reference=lambda x, i, u: scattered(x, i, u, 0)),
    Case("ScatterElements", [(3, 4), np.array([[0, 2, 1, 1]]), (1, 4)]),
    Case("ScatterElements", [(3, 4), np.array([[0, 2], [1, -1], [3, 0]]), (3, 2)], axis=1),
    Case("ScatterElements", [(3, 4), np.array([[0, 2, 1, 1], [0, 0, 0, 1]]), (2, 4)], reduction="add", opset=18),
    Case("ScatterElements", [(3, 4), np.array([[0, 0], [1, -1], [3, 3]]), (3, 2)], axis=1, reduction="add"),
    Case("ScatterND", [(4, 3), np.array([[2], [0]]), (2, 3)]),
    Case("ScatterND", [(4, 3), np.array([[2, 1], [0, -1]]), (2,)]),
    Case("ScatterND", [(4, 3), np.array([[2], [0], [2]]), (3, 3)], reduction="add", opset=18),
    Case("TopK", [(3, 6), np.array([2])], outputs=2, sample=spaced),
    Case("TopK", [(3, 6, 2), np.array([4])], outputs=2, sample=spaced, axis=1, largest=0),
    Case("TopK", [(3, 6)], outputs=2, opset=9, k=3, sample=spaced, reference=lambda x: np.sort(x)[:, :2:-1]),
    *(Case("Trilu", [(2, 3, 4), np.array(k)], upper=upper) for k in (0, 1, -1) for upper in (0, 1)),
]


def normalized(x, axis, epsilon, centered=True):
    """Over the axes from `axis` on: the normalized x, its mean and the inverse of its deviation."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    mean = x.mean(axes, keepdims=True) if centered else np.zeros(())
    inverse = 1 / np.sqrt(((x - mean)**2).mean(axes, keepdims=True) + epsilon)
    return (x - mean) * inverse, mean, inverse


def layer_norm(x, scale, bias=0.0, axis=-1, epsilon=1e-5):
    z, mean, inverse = normalized(x, axis, epsilon)
    return z * scale + bias, mean, inverse


def skip_norm(centered):
    def run(x, skip, gamma, *more):
        beta, bias = more if centered else (None, *more)
        total = x + skip + (0 if bias is None else bias)
        return normalized(total, -1, 0.1, centered)[0] * gamma + (0 if beta is None else beta), total
    return run


def group_norm(x, scale, bias, groups, per_channel, epsilon=1e-5):
    z = normalized(x.reshape(x.shape[0], groups, -1), 2, epsilon)[0].reshape(x.shape)
    shape = (1, -1) + (1,) * (x.ndim - 2)
    each = 1 if per_channel else x.shape[1] // groups
    return z * np.repeat(scale, each).reshape(shape) + np.repeat(bias, each).reshape(shape)


def batch_norm(x, scale, bias, *_, epsilon=1e-5):
    axes = (0, *range(2, x.ndim))
    shape = (1, -1) + (1,) * (x.ndim - 2)
    z = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)
    return z * scale.reshape(shape) + bias.reshape(shape)


def folded_norm(x, scale, bias, mean, variance, epsilon=1e-5):
    """Of constant statistics. (ONNX's own of opset 9 trains.)"""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    scale, bias, mean, variance = (v.reshape(shape) for v in (scale, bias, mean, variance))
    return (x - mean) / np.sqrt(variance + epsilon) * scale + bias


def lp_norm(x, axis, p):
    return x / np.linalg.norm(x, p, axis, keepdims=True)


def lrn(x, size, alpha, beta, bias):
    out = np.empty_like(x)
    for c in range(x.shape[1]):
        low, high = max(0, c - (size - 1) // 2), min(x.shape[1], c + size // 2 + 1)
        out[:, c] = x[:, c] / (bias + alpha / size * (x[:, low:high]**2).sum(1))**beta
    return out


def shifted_mean(rng, shape):
    """Vectors of scales and variances are positive; images have means far from zero."""
    return rng.uniform(0.5, 2.0, shape) if len(shape) == 1 else rng.standard_normal(shape) + 3


SOFTMAXES = [
    *(Case(op, [shape], opset=opset, **axis) for op in ("Softmax", "LogSoftmax") for shape, opset, axis in (
        ((3, 5), 17, {}), ((2, 3, 40), 17, {}), ((2, 3, 4), 17, {"axis": 1}), ((2, 3, 4), 17, {"axis": 0}), ((6,), 17, {}))),
    *(Case(op, [(2, 3, 4)], opset=11, axis=axis, reference=lambda x, f=f, a=axis: f(x, a))
      for op, f in (("Softmax", lambda x, a: flat_softmax(x, a)), ("LogSoftmax", lambda x, a: np.log(flat_softmax(x, a))))
      for axis in (0, 1, 2, -2)),
]


def flat_softmax(x, axis):
    rows = x.reshape(int(np.prod(x.shape[:axis])) if axis else 1, -1)
    e = np.exp(rows - rows.max(1, keepdims=True))
    return (e / e.sum(1, keepdims=True)).reshape(x.shape)


NORMS = [
    *(Case("LayerNormalization", [x, *factors], axis=axis, reference=lambda *a, axis=axis: layer_norm(*a, axis=axis)[0])
      for x, axis, factors in (((3, 5), -1, [(5,), (5,)]), ((2, 3, 37), -1, [(37,)]), ((2, 3, 4), 1, [(3, 4), (3, 4)]),
                               ((2, 3, 4), 0, [(2, 3, 4), (2, 3, 4)]), ((70, 8), 1, [(8,), (8,)]),
                               ((2, 3, 4), 1, [(4,), (3, 1)]), ((2, 3, 4), -1, [(3, 1), (4,)]), ((2, 3, 4), -1, [(1, 1, 4)]))),
    Case("LayerNormalization", [(3, 5), (5,), (5,)], outputs=3, epsilon=0.1,
         reference=lambda *a: layer_norm(*a, epsilon=float(np.float32(0.1)))),
    Case("LayerNormalization", [(3, 5), (5,), (5,)], constants=(1, 2)),
    *(Case("RMSNormalization", [x, scale], opset=23, axis=axis,
           reference=lambda x, s, axis=axis: normalized(x, axis, 1e-5, False)[0] * s)
      for x, axis, scale in (((3, 5), -1, (5,)), ((2, 3, 4), 1, (3, 4)), ((2, 3, 4), 1, (4,)), ((40, 33), -1, (33,)))),
    Case("SimplifiedLayerNormalization", [(3, 5), (5,)], reference=lambda x, s: normalized(x, -1, 1e-5, False)[0] * s),
    *(Case("SkipLayerNormalization", [(2, 3, 5), skip, (5,), *more], outputs=["o0", "", "", "o3"], domain="com.microsoft",
           epsilon=0.1, reference=skip_norm(True))
      for skip, more in (((2, 3, 5), [(5,), (5,)]), ((1, 3, 5), [(5,), (5,)]), ((3, 5), [None, (5,)]))),
    Case("SkipLayerNormalization", [(2, 3, 5), (2, 3, 5), (5,)], domain="com.microsoft", epsilon=0.1,
         reference=lambda x, s, g: skip_norm(True)(x, s, g, None, None)[0]),
    *(Case("SkipSimplifiedLayerNormalization", [(2, 3, 5), (2, 3, 5), (5,), *more], outputs=["o0", "", "", "o3"],
           domain="com.microsoft", epsilon=0.1, reference=lambda *a: skip_norm(False)(*a, *[None] * (4 - len(a))))
      for more in ([(5,)], [])),
    *(Case("InstanceNormalization", [x, (3,), (3,)], sample=sample, tolerance=3e-4,
           reference=lambda x, s, b: group_norm(x, s, b, 3, True))
      for x in ((2, 3, 4, 5), (2, 3, 7)) for sample in (None, shifted_mean)),
    Case("GroupNormalization", [(2, 6, 5), (3,), (3,)], opset=18, num_groups=3,
         reference=lambda x, s, b: group_norm(x, s, b, 3, False)),
    *(Case("GroupNormalization", [x, (6,), (6,)], opset=21, num_groups=groups, sample=sample,
           reference=lambda x, s, b, groups=groups: group_norm(x, s, b, groups, True))
      for x in ((2, 6, 5), (2, 6, 4, 5)) for groups in (1, 2, 6) for sample in (None, shifted_mean)),
    *(Case("BatchNormalization", [x, (3,), (3,), (3,), (3,)], opset=opset, sample=shifted_mean, reference=folded_norm)
      for x in ((2, 3, 4, 5), (4, 3), (2, 3, 6)) for opset in (9, 15)),
    Case("BatchNormalization", [(2, 3, 4, 5), (3,), (3,), (3,), (3,)], sample=shifted_mean, constants=(1, 2, 3, 4)),
    *(Case("BatchNormalization", [x, (3,), (3,), (3,), (3,)], training_mode=1, fixed=(3, 4), sample=shifted_mean,
           outputs=["o0"], reference=batch_norm)
      for x in ((2, 3, 4, 5), (7, 3), (2, 3, 6), (3, 3, 33, 40))),
    Case("BatchNormalization", [(2, 3, 4, 5), (3,), (3,), (3,), (3,)], opset=9, outputs=["o0", "m", "v", "sm", "sv"],
         fixed=(3, 4), sample=shifted_mean, reference=lambda *a: batch_norm(*a), loss_of=("o0",)),
    *(Case("LpNormalization", [(2, 3, 4)], axis=axis, p=p, sample=away_from_zero,
           reference=lambda x, axis=axis, p=p: lp_norm(x, axis, p)) for axis in (-1, 1, 0) for p in (1, 2)),
    *(Case("LRN", [(2, 6, 3)], size=size, alpha=0.5, beta=0.75, bias=1.5,
           reference=lambda x, size=size: lrn(x, size, 0.5, 0.75, 1.5)) for size in (1, 3, 4, 5, 99)),
]
RESIZES = [
    *(Case("Upsample", [(1, 2, 3, 4), np.array([1, 1, 2, 3], np.float32)], opset=9, mode=mode, fixed=(1,),
           reference=lambda x, s, mode=mode: upsampled(x, mode)) for mode in ("nearest",)),
    *(Case("Resize", [(2, 2, 3, 4), None, np.array([1, 1, sy, sx], np.float32)], opset=13, fixed=(2,), mode=mode,
           coordinate_transformation_mode=coordinates)
      for mode in ("nearest", "linear", "cubic") for sy, sx in ((2.0, 2.0), (0.7, 1.6), (1.0, 0.5))
      for coordinates in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")),
    *(Case("Resize", [(1, 2, 3, 4), None, None, np.array([1, 2, 7, 5])], opset=13, mode=mode) for mode in ("nearest", "linear")),
    *(Case("Resize", [(1, 1, 8, 9), None, np.array([0.6, 0.4], np.float32)], opset=18, fixed=(2,), mode=mode, antialias=1,
           axes=[2, 3]) for mode in ("linear", "cubic")),
    Case("Resize", [(1, 1, 5, 5), None, np.array([1, 1, 1.5, 0.7], np.float32)], opset=13, fixed=(2,), mode="cubic",
         exclude_outside=1, cubic_coeff_a=-0.5),
    Case("Resize", [(1, 1, 4, 4), np.array([0, 0, 0.2, -0.3, 1, 1, 0.9, 1.2], np.float32), None, np.array([1, 1, 3, 5])], opset=13,
         fixed=(1,), mode="linear", coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=2.0),
    Case("Resize", [(3, 4), None, np.array([1, 1], np.float32)], opset=13, fixed=(2,), mode="linear"),
]


def upsampled(x, mode):
    assert mode == "nearest"
    return x.repeat(2, 2).repeat(3, 3)


EINSUMS = [
    *(Case("Einsum", shapes, equation=equation, reference=lambda *a, e=equation: np.einsum(e, *a)) for equation, shapes in (
        ("ij,jk->ik", [(3, 4), (4, 5)]),
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
        ("bhqd,bhkd->bhqk", [(2, 2, 3, 4), (2, 2, 5, 4)]),
        ("ij->ji", [(3, 4)]),
        ("ij->", [(3, 4)]),
        ("ij->i", [(3, 4)]),
        ("ii->i", [(4, 4)]),
        ("ii", [(4, 4)]),
        ("iij->j", [(3, 3, 2)]),
        ("i,j->ij", [(3,), (4,)]),
        ("i,i", [(4,), (4,)]),
        ("ij,j", [(3, 4), (4,)]),
        ("ij,k->j", [(3, 4), (2,)]),
        ("...ij,...jk->...ik", [(2, 3, 4), (2, 4, 5)]),
        ("...ij,jk->...ik", [(2, 3, 4), (4, 5)]),
        ("...ij,...jk->...ik", [(2, 1, 3, 4), (5, 4, 2)]),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 2)]),
        ("bi,bi,bj->bj", [(2, 3), (2, 3), (2, 4)]),
    )),
]


def attend(q, k, v, bias=0.0, scale=None, softcap=0.0, causal=False):
    """[B, heads, rows, width]; groups of query heads share keys."""
    k, v = (np.repeat(t, q.shape[1] // t.shape[1], 1) for t in (k, v))
    scores = q @ k.swapaxes(2, 3) * (1 / np.sqrt(q.shape[3]) if scale is None else scale)
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    scores = scores + bias
    if causal:
        scores = np.where(np.tri(*scores.shape[2:], dtype=bool), scores, -np.inf)
    e = np.exp(scores - scores.max(3, keepdims=True))
    return e / e.sum(3, keepdims=True) @ v


def split_heads(x, heads):
    return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


def join_heads(x):
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)


def flat_attention(q, k, v, heads, kv_heads, **more):
    return join_heads(attend(split_heads(q, heads), split_heads(k, kv_heads), split_heads(v, kv_heads), **more))


def multi_head(q, k, v, bias=None, padding=None, added=0.0, heads=2):
    if bias is not None:
        parts = np.split(bias, [q.shape[2], 2 * q.shape[2]])
        q, k, v = q + parts[0], k + parts[1] if k.ndim == 3 else k, v + parts[2] if v.ndim == 3 else v
    mask = 0 if padding is None else np.where(padding == 0, -10000.0, 0)[:, None, None, :]
    k, v = (t if t.ndim == 4 else split_heads(t, heads) for t in (k, v))
    return join_heads(attend(split_heads(q, heads), k, v, mask + added))


def projected_attention(x, w, b, mask, causal=False):
    q, k, v = np.split(x @ w + (0 if b is None else b), 3, 2)
    mask = 0 if mask is None else np.where(mask == 0, -10000.0, 0)[:, None, None, :]
    return flat_attention(q, k, v, 2, 2, bias=mask, causal=causal)


PADDING = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
ATTENTIONS = [
    Case("Attention", [(2, 3, 4, 6), (2, 3, 5, 6), (2, 3, 5, 7)], opset=23, reference=attend),
    # More queries than are taken at a time, and two heads a key.
    Case("Attention", [(1, 4, 70, 3), (1, 2, 66, 3), (1, 2, 66, 2)], opset=23, is_causal=1,
         reference=lambda q, k, v: attend(q, k, v, causal=True)),
    *(Case("Attention", [(2, 3, 4, 6), (2, 3, 5, 6), (2, 3, 5, 7), mask], opset=23, scale=0.7, softcap=1.5,
           reference=lambda q, k, v, m: attend(q, k, v, m, float(np.float32(0.7)), 1.5))
      for mask in ((4, 5), (2, 1, 4, 5), (1, 3, 1, 5), (2, 3, 4, 5))),
    Case("Attention", [(2, 4, 12), (2, 5, 6), (2, 5, 8), np.tri(4, 5, 1, dtype=bool)], opset=23, q_num_heads=4, kv_num_heads=2,
         reference=lambda q, k, v, m: flat_attention(q, k, v, 4, 2, bias=np.where(m, 0, -np.inf))),
    *(Case("MultiHeadAttention", inputs, domain="com.microsoft", num_heads=2, reference=multi_head) for inputs in (
        [(2, 4, 6), (2, 5, 6), (2, 5, 8)],
        [(2, 4, 6), (2, 5, 6), (2, 5, 8), (20,)],
        [(2, 4, 6), (2, 2, 5, 3), (2, 2, 5, 4)],
        [(2, 4, 6), (2, 5, 6), (2, 5, 8), (20,), PADDING],
        [(2, 4, 6), (2, 5, 6), (2, 5, 8), None, PADDING, (1, 2, 4, 5)])),
    *(Case("Attention", [(2, 5, 4), (4, 18), *more], domain="com.microsoft", num_heads=2, unidirectional=causal,
           reference=lambda x, w, b=None, m=None, causal=causal: projected_attention(x, w, b, m, causal != 0))
      for more in ([(18,)], [], [(18,), PADDING]) for causal in (0, 1)),
    Case("SwiGLU", [(3, 5), (3, 5)], opset=28, alpha=1.5, reference=lambda a, b: a * sigmoid(1.5 * a) * b),
]
CASES = (PRODUCTS + ARITHMETIC + UNARY + ACTIVATIONS + REDUCTIONS + LAYOUTS + GATHERS + SOFTMAXES + NORMS + RESIZES
         + EINSUMS + ATTENTIONS
         + CONVOLUTIONS + POOLS + RECURRENT)


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=[f"{i}-{case.label()}" for i, case in enumerate(CONVOLUTIONS)])
def test_the_reference_backend_agrees_with_central_differences(case, tmp_path):
    check(case, tmp_path, ["--reference"])


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{case.label()}" for i, case in enumerate(CASES)])
def test_a_rule_agrees_with_central_differences(case, tmp_path):
    check(case, tmp_path)


# Rules whose outputs are integers, which the differences cannot see: tests of their own are below.
OF_INTEGERS = {("", "QuantizeLinear"), ("", "DequantizeLinear"), ("", "DynamicQuantizeLinear"),
               ("com.microsoft", "QuantizeLinear"), ("com.microsoft", "DequantizeLinear")}


def test_every_rule_has_a_case():
    rules = {(row["domain"], row["op"]) for row in gradients_table.backwards() if row["gradient"] == "passes"}
    assert rules == {(case.domain, case.op) for case in CASES} | OF_INTEGERS


def test_every_rule_is_of_an_operator_that_runs():
    assert all(row["runs"] for row in gradients_table.backwards())


def test_the_document_lists_the_rules():
    document = gradients_table.DOCUMENT.read_text(encoding="utf-8")
    assert document == gradients_table.replaced(document, gradients_table.backwards()), (
        "docs/training.md is out of date: run `.venv/bin/python tests/conformance/gradients_table.py`")


def gradients_of(folder, op, inputs, **attributes):
    """Of the sum of output 0."""
    case = Case(op, [np.asarray(x, np.float64) for x in inputs], **attributes)
    arrays, _ = case.arrays()
    (folder / "model.onnx").write_bytes(case.model(arrays, TensorProto.FLOAT).SerializeToString())
    shape = np.broadcast_shapes(*(a.shape for a in arrays)) if "axes" not in attributes else ()
    given = {f"i{k}": (cast(a, TensorProto.FLOAT), None) for k, a in enumerate(arrays)}
    write_inputs(folder / "inputs.onnx", given | {"grad:o0": (np.ones(shape, np.float32), None)})
    done = subprocess.run([TOOL, "grad", str(folder)], capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout)["ok"], done.stdout
    found = read_outputs(folder / "outputs.onnx")
    return [found[f"i{k}"].tolist() for k in range(len(arrays))]


@pytest.mark.parametrize("op, inputs, attributes, wanted", [
    ("Max", [[1, 2], [1, 3], [1, 3]], {}, [[1, 0], [0, 1], [0, 0]]),
    ("Min", [[1, 2], [1, 1], [1, 1]], {}, [[1, 0], [0, 1], [0, 0]]),
    ("ReduceMax", [[2, 3, 3, 3]], {"axes": [0], "keepdims": 0}, [[0, 1, 0, 0]]),
    ("ReduceMin", [[3, 2, 2, 2]], {"axes": [0], "keepdims": 0}, [[0, 1, 0, 0]]),
    ("Abs", [[-1, 0, 1]], {}, [[-1, 0, 1]]),
    ("Relu", [[-1, 0, 1]], {}, [[0, 0, 1]]),
    ("LeakyRelu", [[-1, 0, 1]], {"alpha": 0.5}, [[0.5, 1, 1]]),
    ("HardSigmoid", [[-1, 1]], {"alpha": 0.5, "beta": 0.5}, [[0.5, 0]]),
    ("HardSwish", [[-3, 3]], {}, [[-0.5, 1]]),
    ("Clip", [[-2, -1, 0, 1, 2]], {"opset": 6, "min": -1.0, "max": 1.0}, [[0, 1, 1, 1, 0]]),
    ("ReduceL2", [[0, 0]], {"axes": [0], "keepdims": 0}, [[0, 0]]),
], ids=lambda value: value if isinstance(value, str) else None)
def test_kinks_have_the_derivative_that_the_rule_names(op, inputs, attributes, wanted, tmp_path):
    assert gradients_of(tmp_path, op, inputs, **{"opset": 13} | attributes) == wanted


@pytest.mark.parametrize("node, inputs, reason", [
    (dict(op_type="ScatterElements", reduction="mul"), [np.zeros((2, 2)), np.zeros((1, 2), np.int64), np.ones((1, 2))], "reduction 'mul'"),
    (dict(op_type="ScatterND", reduction="max"), [np.zeros((2, 2)), np.zeros((1, 1), np.int64), np.ones((1, 2))], "reduction 'max'"),
    (dict(op_type="Det"), [np.eye(2)], "no gradient passes through this operator"),
], ids=lambda value: value["op_type"] if isinstance(value, dict) else None)
def test_a_form_without_a_rule_is_named_and_what_lies_beside_it_is_trained(node, inputs, reason, tmp_path):
    """y = f(x, ...) + sum(b): b's gradient is all the same what it is."""
    names = [f"i{k}" for k in range(len(inputs))]
    nodes = [helper.make_node(inputs=names, outputs=["f"], name="the node", **node),
             helper.make_node("ReduceSum", ["b"], ["total"], keepdims=0), helper.make_node("Add", ["f", "total"], ["y"])]
    kinds = [TensorProto.INT64 if a.dtype == np.int64 else TensorProto.FLOAT for a in inputs]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(n, t, a.shape) for n, t, a in zip(names, kinds, inputs)]
                              + [helper.make_tensor_value_info("b", TensorProto.FLOAT, (3,))],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    given = {n: (a if a.dtype == np.int64 else a.astype(np.float32), None) for n, a in zip(names, inputs)}
    shape = () if node["op_type"] == "Det" else inputs[0].shape
    write_inputs(tmp_path / "inputs.onnx", given | {"b": (np.ones(3, np.float32), None), "grad:y": (np.ones(shape, np.float32), None)})
    done = subprocess.run([TOOL, "grad", str(tmp_path)], capture_output=True, text=True, check=True, timeout=120)
    answer = json.loads(done.stdout)
    assert answer["ok"] and len(answer["blocked"]) == 1 and reason in answer["blocked"][0], answer
    found = read_outputs(tmp_path / "outputs.onnx")
    assert "i0" not in found
    np.testing.assert_array_equal(found["b"], np.full(3, np.prod(shape)))


@pytest.mark.parametrize("op", ["Floor", "Ceil", "Round", "Sign", "Hardmax"])
def test_what_moves_in_steps_has_no_gradient_and_blocks_none(op, tmp_path):
    """y = x f(x): the gradient is f(x)."""
    nodes = [helper.make_node(op, ["x"], ["f"]), helper.make_node("Mul", ["x", "f"], ["y"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3))],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 3))])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = np.array([[-1.6, 0.3, 2.7], [1.2, -0.4, 3.9]], np.float32)
    steps = ReferenceEvaluator(model).run(None, {"x": x})[0] / x
    found = run_grad(tmp_path, model, {"x": x, "grad:y": np.ones((2, 3), np.float32)})
    np.testing.assert_allclose(found["x"], steps, rtol=1e-6, atol=1e-6)


def quantized_pair(x, scale, zero, dtype, after, domain="", **attributes):
    """QuantizeLinear and what makes reals of the integers again, with x and the scale as inputs."""
    zero_tensor = helper.make_tensor("z", dtype, list(np.shape(zero)), np.ravel(zero).tolist())
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], domain=domain, **attributes)]
    if after == "dequantize":
        nodes.append(helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], domain=domain, **attributes))
    elif after == "moved":  # as integers
        nodes += [helper.make_node("Transpose", ["q"], ["t"], perm=[1, 0]), helper.make_node("Transpose", ["t"], ["u"], perm=[1, 0]),
                  helper.make_node("DequantizeLinear", ["u", "s", "z"], ["y"], **attributes)]
    else:  # by casts
        nodes += [helper.make_node("Cast", ["q"], ["c"], to=TensorProto.FLOAT),
                  helper.make_node("Cast", ["z"], ["zc"], to=TensorProto.FLOAT),
                  helper.make_node("Sub", ["c", "zc"], ["d"]), helper.make_node("Mul", ["d", "s"], ["y"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape),
                                           helper.make_tensor_value_info("s", TensorProto.FLOAT, np.shape(scale))],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)], [zero_tensor])
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)])


def run_grad(folder, model, given):
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    write_inputs(folder / "inputs.onnx", {name: (array, None) for name, array in given.items()})
    done = subprocess.run([TOOL, "grad", str(folder)], capture_output=True, text=True, check=True, timeout=120)
    answer = json.loads(done.stdout)
    assert answer["ok"] and not answer["blocked"], answer
    return read_outputs(folder / "outputs.onnx")


INT4, UINT4, INT8, UINT8, INT16 = (TensorProto.INT4, TensorProto.UINT4, TensorProto.INT8, TensorProto.UINT8,
                                   TensorProto.INT16)
RANGES = {INT4: (-8, 7), UINT4: (0, 15), INT8: (-128, 127), UINT8: (0, 255), INT16: (-32768, 32767)}


@pytest.mark.parametrize("dtype", RANGES, ids=lambda t: TensorProto.DataType.Name(t))
@pytest.mark.parametrize("kind", ["tensor", "first axis", "last axis", "blocked", "blocked last", "moved", "by casts", "contrib"])
def test_a_quantized_pair_has_the_gradients_of_learned_steps(dtype, kind, tmp_path):
    """x's is straight through within the range and 0 beyond; the scale's is LSQ's (arXiv 1902.08153, eq. 3)."""
    if kind in ("by casts", "contrib") and dtype in (INT4, UINT4):
        pytest.skip("a matter of bytes")
    rng = np.random.default_rng(zlib.crc32(f"{dtype}{kind}".encode()))
    low, high = RANGES[dtype]
    x = rng.standard_normal((6, 8)).astype(np.float32)
    scale_shape, attributes = {"first axis": ((6,), {"axis": 0}), "last axis": ((8,), {"axis": 1}),
                               "blocked": ((2, 8), {"axis": 0, "block_size": 3}),
                               "blocked last": ((6, 3), {"axis": -1, "block_size": 3})}.get(kind, ((), {}))
    # About a third of the elements saturate.
    scale = (rng.uniform(0.8, 1.2, scale_shape) * 2 / (high - low)).astype(np.float32)
    zero = rng.integers(low // 4, high // 4 + 1, scale_shape)
    if "blocked" in kind:
        wide = (lambda v: np.repeat(v, 3, 0)) if kind == "blocked" else (lambda v: np.repeat(v, 3, 1)[:, :8])
    elif kind == "first axis":
        wide = lambda v: v[:, None]
    else:
        wide = lambda v: v
    if kind == "contrib":
        attributes["domain"] = "com.microsoft"
    after = {"moved": "moved", "by casts": "casts"}.get(kind, "dequantize")
    weights = rng.standard_normal(x.shape).astype(np.float32)
    found = run_grad(tmp_path, quantized_pair(x, scale, zero, dtype, after, **attributes),
                     {"x": x, "s": scale, "grad:y": weights})
    s, z = np.float64(wide(scale)), np.float64(wide(zero))
    v = x / s
    inside = (v + z >= low) & (v + z <= high)
    assert inside.any() and not inside.all()
    q = np.clip(np.rint(v) + z, low, high)
    np.testing.assert_allclose(found["out:y"], (q - z) * s, rtol=1e-5)
    np.testing.assert_allclose(found["x"], np.where(inside, weights, 0), rtol=1e-6)
    terms = weights * np.where(inside, np.rint(v) - v, q - z)
    if kind == "blocked":
        terms = terms.reshape(2, 3, 8).sum(1)
    elif kind == "blocked last":
        terms = np.stack([terms[:, k:k + 3].sum(1) for k in (0, 3, 6)], 1)
    else:
        terms = terms.sum({"first axis": 1, "last axis": 0}.get(kind))
    # Each of the pair's two sums has terms of the codes' size, of which float32 keeps 24 bits.
    np.testing.assert_allclose(found["s"], terms, atol=48 * (high - low) * 2.0**-23)


def test_dynamic_quantization_passes_the_gradient_straight_through(tmp_path):
    rng = np.random.default_rng(7)
    x = rng.standard_normal((5, 6)).astype(np.float32)
    weights = rng.standard_normal(x.shape).astype(np.float32)
    nodes = [helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
             helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found = run_grad(tmp_path, model, {"x": x, "grad:y": weights})
    np.testing.assert_allclose(found["x"], weights, rtol=1e-6)
