"""Elementwise operators, casts and generators against ONNX Runtime, past ONNX's own cases; and what they refuse."""

import itertools
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).parent))
import onnx_cases  # noqa: E402

ort.set_default_logger_severity(4)
TYPES = {name: helper.np_dtype_to_tensor_dtype(np.dtype(name))
         for name in "float32 float64 float16 int8 uint8 int16 uint16 int32 uint32 int64 uint64 bool".split()}
FLOATS = ["float32", "float64", "float16"]


def element_type(array):
    return TensorProto.STRING if array.dtype.kind in "OU" else TYPES[array.dtype.name]


def model_of(op, inputs, opset=17, outputs=1, domain="", **attributes):
    """One node over `inputs`, which are arrays or None where left out."""
    names = ["" if array is None else f"x{i}" for i, array in enumerate(inputs)]
    node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], domain=domain, **attributes)
    given = [helper.make_tensor_value_info(name, element_type(array), array.shape)
             for name, array in zip(names, inputs) if array is not None]
    graph = helper.make_graph([node], "g", given, [onnx.ValueInfoProto(name=f"y{i}") for i in range(outputs)])
    imports = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def feed(inputs):
    return {f"x{i}": array for i, array in enumerate(inputs) if array is not None}


def run_ours(jobs, folder):
    """Answers of the executor; outputs under "outputs"."""
    folders = []
    for number, (model, inputs) in enumerate(jobs):
        at = folder / str(number)
        at.mkdir(parents=True)
        (at / "model.onnx").write_bytes(model.SerializeToString())
        onnx_cases.write_inputs(at / "inputs.onnx", {name: (value, None) for name, value in feed(inputs).items()})
        folders.append(at)
    answers = onnx_cases.run_folders(folders)
    for at, answer in zip(folders, answers):
        if answer["ok"]:
            answer["outputs"] = onnx_cases.read_outputs(at / "outputs.onnx")
    return answers


def run_theirs(model, inputs):
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {name: np.asarray(value) for name, value in feed(inputs).items()})


def compare(jobs, folder, rtol=2e-5, atol=2e-6, least=1):
    """Every job that ONNX Runtime can run gives what it gives; it can run `least` of them."""
    seen, wrong = 0, []
    for (model, inputs), answer in zip(jobs, run_ours(jobs, folder)):
        try:
            wanted = run_theirs(model, inputs)
        except onnx_cases.REFUSALS:
            continue
        seen += 1
        where = f"{helper.printable_node(model.graph.node[0])} on " \
                f"{[None if a is None else (a.dtype.name, a.shape) for a in inputs]}"
        if not answer["ok"]:
            wrong.append(f"{where}: {answer['error']}")
            continue
        half = any(a is not None and a.dtype == np.float16 for a in inputs)
        for i, value in enumerate(wanted):
            # Half precision rounds to 11 bits.
            difference = onnx_cases.difference(value, answer["outputs"].get(f"y{i}"), 2e-3 if half else rtol,
                                               1e-3 if half else atol)
            if difference:
                wrong.append(f"{where}: output {i}: {difference}")
    assert not wrong, "\n".join(wrong[:20])
    assert seen >= least


def numbers(rng, dtype, shape, low=-4, high=5):
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype in FLOATS:
        return rng.normal(0, 2, shape).astype(dtype)
    if dtype.startswith("u"):
        low = 0
    return rng.integers(low, high, shape).astype(dtype)


BROADCASTS = [((3, 4), (3, 4)), ((2, 3, 4), (4,)), ((4,), (2, 3, 4)), ((2, 3, 4), (3, 1)), ((2, 1, 4), (1, 3, 1)),
              ((), (2, 3)), ((2, 3), ()), ((), ()), ((0, 3), (1, 3)), ((2, 0), (1,)), ((1, 5, 1, 7), (2, 1, 3, 1)),
              ((2, 8, 5, 5), (8, 1, 1)), ((33,), (33,)), ((2, 1, 1), (1, 1, 1, 1))]


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Mean", "Pow", "Mod", "PRelu",
                                "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual",
                                "And", "Or", "Xor", "BitwiseAnd", "BitwiseOr", "BitwiseXor"])
def test_two_operands_broadcast_as_in_onnx_runtime(op, tmp_path):
    rng = np.random.default_rng(7)
    jobs = []
    every = [("float32", shapes) for shapes in BROADCASTS] + list(itertools.product(TYPES, BROADCASTS[:4]))
    for dtype, (left, right) in every:
        if op == "PRelu" and np.broadcast_shapes(left, right) != left:
            continue
        a, b = numbers(rng, dtype, left), numbers(rng, dtype, right)
        if op in ("Div", "Mod") and dtype not in FLOATS:
            b = np.where(b == 0, np.ones_like(b), b)
        if op == "Pow":
            a, b = np.abs(a), np.abs(b)
        attributes = {"fmod": 1} if op == "Mod" and dtype in FLOATS else {}
        jobs.append((model_of(op, [a, b], opset=18, **attributes), [a, b]))
    compare(jobs, tmp_path, rtol=1e-4 if op == "Pow" else 2e-5, least=4)


@pytest.mark.parametrize("op", ["Sum", "Max", "Min", "Mean"])
def test_any_number_of_operands(op, tmp_path):
    rng = np.random.default_rng(8)
    jobs = []
    for shapes in ([(3, 4)], [(3, 4), (4,), (3, 1)], [(1,), (2, 1), (1, 3), (2, 3)], [(), (5,), ()]):
        arrays = [numbers(rng, "float32", shape) for shape in shapes]
        jobs.append((model_of(op, arrays, opset=13), arrays))
    compare(jobs, tmp_path, least=4)


UNARY = {"Abs": {}, "Acos": {}, "Acosh": {}, "Asin": {}, "Asinh": {}, "Atan": {}, "Atanh": {}, "Ceil": {}, "Cos": {},
         "Cosh": {}, "Erf": {}, "Exp": {}, "Floor": {}, "IsInf": {}, "IsNaN": {}, "Log": {}, "Neg": {}, "Reciprocal": {},
         "Round": {}, "Sign": {}, "Sin": {}, "Sinh": {}, "Sqrt": {}, "Tan": {}, "Not": {}, "BitwiseNot": {},
         "Relu": {}, "LeakyRelu": {"alpha": 0.3}, "Elu": {"alpha": 1.7}, "Selu": {"alpha": 1.2, "gamma": 0.8},
         "Celu": {"alpha": 2.5}, "HardSigmoid": {"alpha": 0.3, "beta": 0.4}, "HardSwish": {}, "Mish": {}, "Sigmoid": {},
         "Softplus": {}, "Softsign": {}, "Tanh": {}, "ThresholdedRelu": {"alpha": 0.7},
         "Shrink": {"lambd": 1.5, "bias": 0.5}, "Identity": {}}


@pytest.mark.parametrize("op", UNARY)
def test_functions_of_one_operand(op, tmp_path):
    rng = np.random.default_rng(9)
    special = np.array([0, -0.0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, 88, -88, 104, -104, 1e-6, -1e-6, 1e-39, 20.5, -30])
    jobs = []
    for dtype, shape in itertools.product(TYPES, [(), (0,), (17,), (3, 5, 7)]):
        x = numbers(rng, dtype, shape)
        jobs.append((model_of(op, [x], opset=22 if op in ("Mish",) else 20, **UNARY[op]), [x]))
    for dtype in FLOATS:
        with np.errstate(over="ignore"):
            x = special.astype(dtype)
        jobs.append((model_of(op, [x], opset=20, **UNARY[op]), [x]))
    compare(jobs, tmp_path, rtol=3e-5)


@pytest.mark.parametrize("op", ["Exp", "Sigmoid", "Tanh", "Erf", "Relu", "Softplus", "Mish", "Gelu", "Elu", "Neg", "Abs",
                                "Max", "Min", "Clip"])
def test_nan_and_infinity_pass_through(op, tmp_path):
    x = np.array([np.nan, np.inf, -np.inf] + [0.5] * 30, np.float32)
    inputs = [x, np.float32(0) + x[3:4]] if op in ("Max", "Min") else [x]
    model = model_of(op, inputs, opset=20)
    answer, = run_ours([(model, inputs)], tmp_path)
    y = answer["outputs"]["y0"]
    with np.errstate(invalid="ignore"):
        limits = {"Exp": (np.inf, 0), "Sigmoid": (1, 0), "Tanh": (1, -1), "Erf": (1, -1), "Relu": (np.inf, 0),
                  "Softplus": (np.inf, 0), "Mish": (np.inf, 0), "Gelu": (np.inf, 0), "Elu": (np.inf, -1),
                  "Neg": (-np.inf, np.inf), "Abs": (np.inf, np.inf), "Max": (np.inf, 0.5), "Min": (0.5, -np.inf),
                  "Clip": (np.inf, -np.inf)}[op]
    assert np.isnan(y[0]) and not np.isnan(y[3:]).any()
    np.testing.assert_allclose(y[1:3], limits, atol=1e-7)


def test_clip_in_all_opsets(tmp_path):
    rng = np.random.default_rng(10)
    jobs = []
    for opset, dtype in itertools.product((7, 9, 10), ("float32",)):
        x = numbers(rng, dtype, (4, 9))
        for bounds in ({}, {"min": -1.0}, {"max": 0.5}, {"min": -0.5, "max": 1.0}):
            jobs.append((model_of("Clip", [x], opset=opset, **bounds), [x]))
    for opset, dtype in itertools.product((11, 12, 13), ("float32", "int8", "int32", "int64", "uint8", "float64")):
        x = numbers(rng, dtype, (4, 9))
        low, high = np.array(1, dtype), np.array(3, dtype)
        for inputs in ([x], [x, low], [x, None, high], [x, low, high], [x, high, low]):
            jobs.append((model_of("Clip", inputs, opset=opset), inputs))
    compare(jobs, tmp_path, least=60)


def test_gelu_of_both_kinds(tmp_path):
    x = np.linspace(-9, 9, 1001).astype(np.float32)
    bias = np.linspace(-1, 1, 7).astype(np.float32)
    rows = np.random.default_rng(3).normal(0, 2, (5, 7)).astype(np.float32)
    jobs = [(model_of("Gelu", [x], opset=20), [x]), (model_of("Gelu", [x], opset=20, approximate="tanh"), [x]),
            (model_of("Gelu", [x], domain="com.microsoft"), [x]),
            (model_of("FastGelu", [x], domain="com.microsoft"), [x]),
            (model_of("FastGelu", [rows, bias], domain="com.microsoft"), [rows, bias]),
            (model_of("BiasGelu", [rows, bias], domain="com.microsoft"), [rows, bias]),
            (model_of("QuickGelu", [x], domain="com.microsoft", alpha=1.5), [x])]
    compare(jobs, tmp_path, atol=1e-6, least=7)


def test_casts_between_all_types(tmp_path):
    rng = np.random.default_rng(11)
    jobs = []
    for source, target in itertools.product(TYPES, TYPES):
        for x in (numbers(rng, source, (3, 11), 0, 100), numbers(rng, source, ()), numbers(rng, source, (0, 2))):
            x = np.abs(x) if target.startswith("u") and source in FLOATS else x  # the rest is undefined
            jobs.append((model_of("Cast", [x], opset=19, to=TYPES[target]), [x]))
    wide = np.array([70000, -70000, 2**31 - 1, -2**31, 300, -129], np.int64)
    jobs += [(model_of("Cast", [wide], opset=19, to=TYPES[target]), [wide]) for target in TYPES]
    compare(jobs, tmp_path, least=400)


def test_casts_from_and_to_text(tmp_path):
    text = np.array(["1", "-2.5", "1e3", "INF", "-inf", "nan", "3.14159265"], dtype=object)
    whole = np.array(["1", "-20", "300"], dtype=object)
    jobs = [(model_of("Cast", [text], opset=19, to=TYPES[to]), [text]) for to in ("float32", "float64")]
    jobs += [(model_of("Cast", [whole], opset=19, to=TYPES[to]), [whole]) for to in ("int32", "int64")]
    for x in (np.array([0.1, 1.0, -2.5, 1e-7, np.inf, -np.inf, np.nan], np.float32), np.array([0.1, 0.25]),
              np.array([1, -5, 2**62], np.int64), np.array([3, 200], np.uint8)):
        jobs.append((model_of("Cast", [x], opset=19, to=TensorProto.STRING), [x]))
    compare(jobs, tmp_path, least=8)


def test_generators(tmp_path):
    rng = np.random.default_rng(12)
    jobs = []

    def add(op, inputs, **attributes):
        jobs.append((model_of(op, inputs, **attributes), inputs))

    for dtype, (start, limit, delta) in itertools.product(
            ("float32", "float64", "int16", "int32", "int64"), ((0, 10, 3), (10, 0, -4), (0, 0, 1), (3, 1, 1), (1, 9, 2))):
        add("Range", [np.array(v, dtype) for v in (start, limit, delta)])
    for size, periodic, op in itertools.product((1, 2, 9, 16), (0, 1), ("HannWindow", "HammingWindow", "BlackmanWindow")):
        if size > 1 or periodic:
            add(op, [np.array(size, np.int64)], periodic=periodic)
    for dims in ([], [0], [2, 3], [4, 0, 2]):
        for value in (None, np.array([2.5], np.float32), np.array([7], np.int8), np.array([True])):
            shape = np.array(dims, np.int64)
            add("ConstantOfShape", [shape],
                **({} if value is None else {"value": onnx.numpy_helper.from_array(value)}))
    cube = numbers(rng, "float32", (2, 3, 4, 5))
    for start, end in ((0, None), (1, 3), (-2, None), (2, 1), (-9, 9)):
        add("Shape", [cube], opset=15, start=start, **({} if end is None else {"end": end}))
    add("Size", [cube])
    for k, dtype in itertools.product((-7, -1, 0, 2, 9), ("float32", "int64", "float64", "int32")):
        add("EyeLike", [numbers(rng, dtype, (4, 6))], k=k)
        for upper in (0, 1):
            add("Trilu", [numbers(rng, dtype, (2, 4, 6)), np.array(k, np.int64)], upper=upper)
    for axis, exclusive, reverse, dtype in itertools.product((0, 1, -1), (0, 1), (0, 1), ("float32", "int64", "int32")):
        add("CumSum", [numbers(rng, dtype, (3, 4, 5)), np.array(axis, np.int32)], exclusive=exclusive, reverse=reverse)
    compare(jobs, tmp_path, least=150)


def test_choice_by_condition(tmp_path):
    rng = np.random.default_rng(13)
    jobs = []
    shapes = [((3, 4), (3, 4), (3, 4)), ((4,), (3, 1), ()), ((2, 1, 1), (1, 3, 1), (1, 1, 4)), ((), (2,), (2,)),
              ((0,), (1,), (1,)), ((1, 1, 5, 5), (2, 3, 5, 5), ())]
    for dtype, (c, x, y) in itertools.product(TYPES, shapes):
        inputs = [rng.random(c) < 0.5, numbers(rng, dtype, x), numbers(rng, dtype, y)]
        jobs.append((model_of("Where", inputs, opset=16), inputs))
    inputs = [np.array([True, False]), np.array(["a", "b"], dtype=object), np.array(["c"], dtype=object)]
    jobs.append((model_of("Where", inputs, opset=16), inputs))
    compare(jobs, tmp_path, least=20)


def test_integer_arithmetic_is_defined_everywhere(tmp_path):
    least = np.iinfo(np.int32).min
    x, y = np.array([7, least, least, 5], np.int32), np.array([0, -1, 0, -1], np.int32)
    jobs = [(model_of(op, [x, y]), [x, y]) for op in ("Div", "Mod")]
    quotient, remainder = run_ours(jobs, tmp_path)
    np.testing.assert_array_equal(quotient["outputs"]["y0"], np.array([0, least, 0, -5], np.int32))
    np.testing.assert_array_equal(remainder["outputs"]["y0"], np.zeros(4, np.int32))


def test_random_numbers_have_their_distribution_and_repeat(tmp_path):
    jobs = [(model_of("RandomNormal", [], shape=[40000], mean=2.0, scale=3.0), []),
            (model_of("RandomUniform", [], shape=[40000], low=-1.0, high=3.0), []),
            (model_of("Bernoulli", [np.full(40000, 0.3, np.float32)], opset=15), [np.full(40000, 0.3, np.float32)]),
            (model_of("Multinomial", [np.log([[0.2, 0.8]]).astype(np.float32)], sample_size=40000),
             [np.log([[0.2, 0.8]]).astype(np.float32)])]
    once, again = run_ours(jobs, tmp_path / "a"), run_ours(jobs, tmp_path / "b")
    arrays = [answer["outputs"]["y0"].astype(np.float64) for answer in once]
    for array, answer in zip(arrays, again):
        np.testing.assert_array_equal(array, answer["outputs"]["y0"])
    # Six standard errors of a mean over 40000: 0.03 sigma; of a standard deviation: 0.022 sigma.
    for array, mean, deviation in zip(arrays, (2, 1, 0.3, 0.8), (3, 4 / 12 ** 0.5, 0.21 ** 0.5, 0.4)):
        assert abs(array.mean() - mean) < 0.03 * deviation
        assert abs(array.std() - deviation) < 0.03 * deviation
    assert arrays[1].min() >= -1 and arrays[1].max() < 3


FLOAT, INT = np.ones((2, 3), np.float32), np.ones((2, 3), np.int64)
REFUSED = {
    "shapes that do not broadcast": ("Add", [FLOAT, np.ones((4,), np.float32)], {}),
    "operands of two types": ("Add", [FLOAT, INT], {}),
    "an operand too few": ("Mul", [FLOAT], {}),
    "strings in arithmetic": ("Add", [np.array(["a"], dtype=object)] * 2, {}),
    "floats in And": ("And", [FLOAT, FLOAT], {}),
    "integers in Sin": ("Sin", [INT], {}),
    "bounds that are no scalars": ("Clip", [FLOAT, np.ones(2, np.float32)], {}),
    "bounds of another type": ("Clip", [FLOAT, np.array(1, np.int64)], {}),
    "a slope wider than its input": ("PRelu", [np.ones(3, np.float32), FLOAT], {}),
    "a direction that is none": ("BitShift", [np.ones(2, np.uint8)] * 2, {"direction": "UP"}),
    "an unknown type to cast to": ("Cast", [FLOAT], {"to": 99}),
    "text that is no number": ("Cast", [np.array(["seven"], dtype=object)], {"to": TensorProto.FLOAT}),
    "bits of another width": ("BitCast", [FLOAT], {"to": TensorProto.INT64, "opset": 26}),
    "a range without a step": ("Range", [np.array(v, np.int64) for v in (0, 5, 0)], {}),
    "a range of 2^62 numbers": ("Range", [np.array(v, np.int64) for v in (0, 2**62, 1)], {}),
    "a range to infinity": ("Range", [np.array(v, np.float32) for v in (0, np.inf, 1)], {}),
    "a negative extent": ("ConstantOfShape", [np.array([-1], np.int64)], {}),
    "extents past any memory": ("ConstantOfShape", [np.array([2**40, 2**40], np.int64)], {}),
    "a fill of no element": ("ConstantOfShape", [np.array([2], np.int64)],
                             {"value": helper.make_tensor("v", TensorProto.FLOAT, [0], [])}),
    "an axis that is none": ("CumSum", [FLOAT, np.array(2, np.int64)], {}),
    "two axes": ("CumSum", [FLOAT, np.array([0, 1], np.int64)], {}),
    "a window of negative size": ("HannWindow", [np.array(-3, np.int64)], {}),
    "a triangle of a vector": ("Trilu", [np.ones(3, np.float32)], {}),
    "EyeLike of a cube": ("EyeLike", [np.ones((2, 2, 2), np.float32)], {}),
    "a condition that is not bool": ("Where", [INT, FLOAT, FLOAT], {}),
    "choices of two types": ("Where", [FLOAT > 0, FLOAT, INT], {}),
    "a label that is no class": ("NegativeLogLikelihoodLoss", [FLOAT, np.array([0, 3], np.int64)], {}),
    "labels of another shape": ("SoftmaxCrossEntropyLoss", [FLOAT, np.array([0], np.int64)], {}),
    "n-grams past the pool": ("TfIdfVectorizer", [np.ones(3, np.int64)],
                              {"mode": "TF", "min_gram_length": 1, "max_gram_length": 1, "max_skip_count": 0,
                               "ngram_counts": [9], "ngram_indexes": [0], "pool_int64s": [1]}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(what, tmp_path):
    op, inputs, attributes = REFUSED[what]
    good = (model_of("Neg", [FLOAT]), [FLOAT])
    first, second = run_ours([(model_of(op, inputs, **attributes), inputs), good], tmp_path)
    assert not first["ok"] and first["code"] in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"), first
    assert op in first["error"]
    assert second["ok"]


def test_extreme_attributes_do_no_harm(tmp_path):
    big = 2**63 - 1
    jobs = [("Trilu", [FLOAT, np.array(big, np.int64)], {}), ("Trilu", [FLOAT, np.array(-big - 1, np.int64)], {}),
            ("EyeLike", [FLOAT], {"k": big}), ("EyeLike", [FLOAT], {"k": -big - 1}),
            ("Shape", [FLOAT], {"start": -big - 1, "end": big}), ("Cast", [FLOAT], {"to": -big - 1}),
            ("Cast", [FLOAT], {"to": 2**32 + 1}), ("Range", [np.array(v, np.int64) for v in (-big - 1, big, big)], {}),
            ("Pow", [INT, INT * big], {}), ("Pow", [INT * 2, INT * -big], {}), ("Neg", [INT * (-big - 1)], {}),
            ("Abs", [INT * (-big - 1)], {}), ("Multinomial", [FLOAT], {"sample_size": big}),
            ("StringSplit", [np.array(["a b"], dtype=object)], {"maxsplit": -big - 1, "opset": 20}),
            ("TfIdfVectorizer", [np.ones(3, np.int64)],
             {"mode": "TF", "min_gram_length": 1, "max_gram_length": 2, "max_skip_count": big,
              "ngram_counts": [0], "ngram_indexes": [0], "pool_int64s": [1]})]
    answers = run_ours([(model_of(op, inputs, **attributes), inputs) for op, inputs, attributes in jobs], tmp_path)
    assert [a for a in answers if a.get("code") in ("CRASH", "INTERNAL")] == []
