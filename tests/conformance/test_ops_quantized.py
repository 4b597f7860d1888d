"""Operators on quantized values and attention, against ONNX Runtime on random shapes and attributes."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_cases import REFUSALS, read_outputs, run_folders, write_inputs

MS = "com.microsoft"


class Case:
    """One node; `constants` are initializers, `inputs` are given when it runs. None: left out."""

    def __init__(self, name, op, inputs, outputs=1, domain="", opset=21, constants=(), steps=0, atol=0.0, rtol=0.0,
                 attributes=None, **more):
        self.name, self.steps, self.atol, self.rtol = name, steps, atol, rtol
        names = [f"i{i}" if value is not None else "" for i, value in enumerate(inputs)]
        given = {n: v for n, v in zip(names, inputs) if n}
        constant = {f"i{i}" for i in constants}
        node = helper.make_node(op, names, [f"o{i}" for i in range(outputs)], domain=domain, **(attributes or {}), **more)
        graph = helper.make_graph(
            [node], "one",
            [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in given.items() if n not in constant],
            [onnx.ValueInfoProto(name=f"o{i}") for i in range(outputs)],
            [numpy_helper.from_array(v, n) for n, v in given.items() if n in constant])
        self.model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(MS, 1)], ir_version=10)
        self.inputs = {n: v for n, v in given.items() if n not in constant}


RNG = np.random.default_rng(5)


def real(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def scale(*shape):
    return RNG.uniform(0.01, 0.1, shape).astype(np.float32)


def ints(dtype, *shape):
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def weights(a_type, dtype, *shape):
    """Right operands. Without VNNI, ONNX Runtime adds two products of uint8 and int8 up in 16 bits; these fit."""
    if a_type is np.uint8 and dtype is np.int8:
        return RNG.integers(-64, 64, shape, dtype=np.int8, endpoint=True)
    return ints(dtype, *shape)


def rounding():
    for dtype in (np.uint8, np.int8, np.uint16, np.int16):
        for shape, axis in (((7, 33), None), ((5, 9), 0), ((5, 9), -1), ((2, 3, 4, 5), 1)):
            count = () if axis is None else (shape[axis],)
            attributes = {} if axis is None else {"axis": axis}
            zero = ints(dtype, *count)
            # Halves, so that ties are met; and what saturates.
            x = np.round(real(*shape) * 8) / 2 + np.where(real(*shape) > 2, 1e5, 0).astype(np.float32)
            s = np.full(count, 0.5, np.float32) if axis is None else scale(*count)
            name = f"{np.dtype(dtype)} {shape} axis {axis}"
            yield Case(f"quantize {name}", "QuantizeLinear", [x.astype(np.float32), np.asarray(s), np.asarray(zero)], **attributes)
            yield Case(f"dequantize {name}", "DequantizeLinear", [ints(dtype, *shape), np.asarray(s), np.asarray(zero)], **attributes)
    for axis, block, scales in ((1, 4, (3, 3, 2)), (2, 2, (3, 10, 1)), (0, 2, (2, 10, 2))):
        s = scale(*scales)
        zero = ints(np.uint8, *scales)
        yield Case(f"blocked on axis {axis}", "QuantizeLinear", [real(3, 10, 2), s, zero], axis=axis, block_size=block)
        yield Case(f"blocked on axis {axis}, back", "DequantizeLinear", [ints(np.uint8, 3, 10, 2), s, zero], axis=axis, block_size=block)
    half = real(6, 20).astype(np.float16)
    yield Case("float16", "QuantizeLinear", [half, np.float16(0.03) * np.ones((), np.float16), np.array(3, np.uint8)])
    yield Case("float16 back", "DequantizeLinear", [ints(np.int8, 6, 20), np.ones((), np.float16) * np.float16(0.03), np.array(3, np.int8)])
    yield Case("int32", "DequantizeLinear", [ints(np.int32, 50), np.array(1e-6, np.float32)])
    yield Case("empty", "QuantizeLinear", [real(0, 4), scale(), np.array(1, np.uint8)])
    yield Case("NaN", "QuantizeLinear", [np.array([np.nan, np.inf, -np.inf, -0.0], np.float32), scale(), np.array(9, np.uint8)])
    for n in (1, 5, 100):
        yield Case(f"dynamic {n}", "DynamicQuantizeLinear", [real(n)], outputs=3)
    yield Case("dynamic, positive", "DynamicQuantizeLinear", [np.abs(real(40))], outputs=3)


def products():
    for a_type, b_type in ((np.uint8, np.int8), (np.uint8, np.uint8), (np.int8, np.int8)):
        for a, b in (((5, 7), (7, 18)), ((2, 3, 70, 33), (33, 40)), ((3, 1, 4, 8), (2, 8, 5)), ((1, 64), (64, 16))):
            name = f"{np.dtype(a_type)} {a} x {np.dtype(b_type)} {b}"
            za, zb = ints(a_type), ints(b_type)
            for constants in ((), (1, 3)):
                yield Case(f"MatMulInteger {name} {constants}", "MatMulInteger", [ints(a_type, *a), weights(a_type, b_type, *b), za, zb], constants=constants)
            yield Case(f"QLinearMatMul {name}", "QLinearMatMul",
                       [ints(a_type, *a), scale(), za, weights(a_type, b_type, *b), scale(), zb, np.array(20, np.float32), ints(a_type)], constants=(3, 4, 5))
    a, b = ints(np.uint8, 6, 40), weights(np.uint8, np.int8, 40, 24)
    yield Case("QLinearMatMul per column", "QLinearMatMul",
               [a, scale(), ints(np.uint8), b, scale(24), ints(np.int8, 24), np.array(9, np.float32), ints(np.uint8)], constants=(3, 4, 5))
    yield Case("MatMulInteger per column", "MatMulInteger", [a, b, ints(np.uint8), ints(np.int8, 24)])
    # Sums of floats in another order: k = 40 products, each within 1e-6 of its size.
    close = {"rtol": 1e-5, "atol": 1e-4}
    yield Case("DynamicQuantizeMatMul", "DynamicQuantizeMatMul", [real(2, 3, 40), b, scale(24), ints(np.int8, 24), real(24)], domain=MS, constants=(1, 2, 3), **close)
    yield Case("DynamicQuantizeMatMul, plain", "DynamicQuantizeMatMul", [real(3, 40), b, scale(1)], domain=MS, **close)
    yield Case("MatMulIntegerToFloat", "MatMulIntegerToFloat", [a, b, scale(), scale(24), ints(np.uint8), ints(np.int8, 24), real(24)], domain=MS, **close)
    for trans_a, trans_b in ((0, 0), (0, 1), (1, 0)):
        left, right = (a.T.copy() if trans_a else a), (b.T.copy() if trans_b else b)
        bias = RNG.integers(-9999, 9999, 24, dtype=np.int32)
        head = [left, scale(), ints(np.uint8), right, scale(), ints(np.int8), bias]
        # alpha joins the scales in another order, so that a value between two steps may go either way.
        yield Case(f"QGemm {trans_a}{trans_b}", "QGemm", [*head, np.array(9, np.float32), ints(np.uint8)], domain=MS, transA=trans_a, transB=trans_b, alpha=0.5, steps=1)
        yield Case(f"QGemm to float {trans_a}{trans_b}", "QGemm", head, domain=MS, transA=trans_a, transB=trans_b, **close)


def convolutions():
    for shape, w, attributes in (
            ((2, 3, 9, 11), (8, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
            ((1, 8, 20, 20), (16, 8, 1, 1), {}),
            ((1, 6, 12, 13), (6, 1, 3, 3), {"group": 6, "strides": [2, 2], "pads": [1, 0, 0, 1]}),
            ((1, 4, 15, 8), (10, 2, 3, 2), {"group": 2, "dilations": [2, 1]}),
            ((1, 5, 23), (4, 5, 5), {"auto_pad": "SAME_UPPER", "strides": [3]}),
            ((1, 2, 5, 6, 7), (3, 2, 2, 3, 2), {"pads": [1, 0, 1, 0, 1, 0]})):
        for w_type in (np.int8, np.uint8):
            channels = w[0]
            x = ints(np.uint8, *shape)
            kernel = weights(np.uint8, w_type, *w)
            name = f"{shape} {w} {np.dtype(w_type)}"
            # ONNX Runtime's ConvInteger takes uint8 weights, or int8 ones per tensor.
            yield Case(f"ConvInteger {name}", "ConvInteger", [x, kernel, ints(np.uint8), ints(w_type)], **attributes)
            per_channel = w_type is np.int8
            count = (channels,) if per_channel else ()
            zero = np.zeros(count, w_type) if per_channel else ints(w_type)
            bias = RNG.integers(-5000, 5000, channels, dtype=np.int32)
            yield Case(f"QLinearConv {name}", "QLinearConv",
                       [x, scale(), ints(np.uint8), kernel, scale(*count), zero, np.array(2, np.float32), ints(np.uint8), bias],
                       constants=(3, 4, 5, 8), **attributes)


def qlinear():
    for dtype in (np.uint8, np.int8):
        x = ints(dtype, 2, 6, 5, 4)
        sx, zx, sy, zy = scale(), ints(dtype), scale(), ints(dtype)
        kind = np.dtype(dtype)
        # One step: ONNX Runtime rounds some of the values between elsewhere.
        for op in ("QLinearAdd", "QLinearMul"):
            for other in ((2, 6, 5, 4), (6, 1, 1), (1,)):
                yield Case(f"{op} {kind} {other}", op, [x, sx, zx, ints(dtype, *other), scale(), ints(dtype), np.array(0.3, np.float32), zy], domain=MS, steps=1)
        yield Case(f"QLinearSigmoid {kind}", "QLinearSigmoid", [x, sx, zx, np.array(1 / 256, np.float32), zy], domain=MS, steps=1)
        yield Case(f"QLinearLeakyRelu {kind}", "QLinearLeakyRelu", [x, sx, zx, sy, zy], domain=MS, alpha=0.1, steps=1)
        zero = np.array(np.iinfo(dtype).min, dtype)
        for axis, opset in ((-1, 13), (1, 13), (1, 11)):
            yield Case(f"QLinearSoftmax {kind} {axis} {opset}", "QLinearSoftmax", [x, sx, zx, np.array(1 / 256, np.float32), zero],
                       domain=MS, steps=1, attributes={"axis": axis, "opset": opset})
        yield Case(f"QLinearConcat {kind}", "QLinearConcat", [sy, zy, x, sx, zx, ints(dtype, 2, 3, 5, 4), scale(), ints(dtype)], domain=MS, axis=1, steps=1, constants=(0, 1, 3, 4, 6, 7))
        yield Case(f"QLinearWhere {kind}", "QLinearWhere", [RNG.random((6, 1, 4)) > 0.5, x, sx, zx, ints(dtype, 5, 1), scale(), ints(dtype), sy, zy], domain=MS, steps=1)
        yield Case(f"QLinearGlobalAveragePool {kind}", "QLinearGlobalAveragePool", [x, sx, zx, sy, zy], domain=MS, steps=1)
        for attributes in ({"kernel_shape": [2, 2]}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]},
                           {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "count_include_pad": 1}):
            yield Case(f"QLinearAveragePool {kind} {attributes}", "QLinearAveragePool", [x, sx, zx, sy, zy], domain=MS, steps=1, **attributes)


def blockwise():
    for bits in (2, 4, 8):
        for k, n, block in ((64, 10, 32), (50, 7, 16)):
            blocks = -(-k // block)
            b = ints(np.uint8, n, blocks, block * bits // 8)
            zero = ints(np.uint8, n, -(-blocks * bits // 8))
            for zeros in (zero, None):
                # k = 64 products in another order, each up to 255 * 0.1 * 3.
                yield Case(f"MatMulNBits {bits} {k} {n} {block} {zeros is None}", "MatMulNBits", [real(2, 3, k), b, scale(n, blocks), zeros, None, real(n)],
                           domain=MS, constants=(1, 2, 3), K=k, N=n, bits=bits, block_size=block, rtol=1e-4, atol=1e-2)


def attention():
    # Products of 8 to 16 numbers near 1, in another order, and softmax: a few units of 6e-8 each.
    close = {"rtol": 1e-4, "atol": 1e-5, "domain": MS}
    b, s, heads, d = 2, 5, 4, 8
    width = heads * d
    q, k, v = real(b, s, width), real(b, 7, width), real(b, 7, width)
    bias = real(3 * width)
    yield Case("MultiHeadAttention", "MultiHeadAttention", [q, k, v], num_heads=heads, **close)
    yield Case("MultiHeadAttention, bias", "MultiHeadAttention", [q, k, v, bias], num_heads=heads, scale=0.2, **close)
    mask = (RNG.random((b, 7)) > 0.3).astype(np.int32)
    yield Case("MultiHeadAttention, mask", "MultiHeadAttention", [q, k, v, None, mask], num_heads=heads, **close)
    yield Case("MultiHeadAttention, attention_bias", "MultiHeadAttention", [q, k, v, None, None, real(1, heads, s, 7)], num_heads=heads, **close)
    past = [real(b, heads, 3, d), real(b, heads, 3, d)]
    yield Case("MultiHeadAttention, past", "MultiHeadAttention", [q, q, q, None, None, None, *past], outputs=3, num_heads=heads, **close)
    yield Case("MultiHeadAttention, causal", "MultiHeadAttention", [q, q, q, bias], num_heads=heads, unidirectional=1, **close)
    w = real(24, 3 * width) / 5
    x = real(b, s, 24)
    yield Case("Attention", "Attention", [x, w, bias], num_heads=heads, constants=(1, 2), **close)
    yield Case("Attention, lengths", "Attention", [x, w, bias, np.array([3, 5], np.int32)], num_heads=heads, **close)
    yield Case("Attention, mask", "Attention", [x, w, bias, (RNG.random((b, s)) > 0.3).astype(np.int32)], num_heads=heads, **close)
    yield Case("Attention, causal", "Attention", [x, w, bias], num_heads=heads, unidirectional=1, **close)
    angles = real(20, d // 2)
    caches = [np.cos(angles), np.sin(angles)]
    positions = RNG.integers(0, 20, (b, s))
    for interleaved in (0, 1):
        yield Case(f"RotaryEmbedding {interleaved}", "RotaryEmbedding", [q, positions, *caches], interleaved=interleaved, **close)
        yield Case(f"RotaryEmbedding {interleaved}, start", "RotaryEmbedding", [q, np.array([4]), *caches], interleaved=interleaved, **close)


def lstm(direction, extra, dtype, per_channel, bound=64, **attributes):
    """Weights within `bound` of the middle: without VNNI, ONNX Runtime adds two products of uint8 and int8 up in 16 bits."""
    steps, batch, width, hidden = 6, 3, 10, 8
    d = 2 if direction == "bidirectional" else 1
    middle = 0 if dtype is np.int8 else 128
    w, r = ((RNG.integers(-bound, bound, (d, rows, 4 * hidden), endpoint=True) + middle).astype(dtype) for rows in (width, hidden))
    sets = (d, 4 * hidden) if per_channel else (d,)
    zero = np.full(sets, middle, dtype)
    state = [None, None, None, None, None]
    if extra:
        state = [real(d, 8 * hidden), np.array([6, 2, 4], np.int32), real(d, batch, hidden), real(d, batch, hidden), real(d, 3 * hidden)]
    inputs = [real(steps, batch, width), w, r, *state, scale(*sets) / 8, zero, scale(*sets) / 8, zero]
    # The same integers on both sides: what is left is the rounding of float sums, some 1e-7 of numbers around 1 a step.
    return Case(f"{direction} {extra} {dtype.__name__} {per_channel} {attributes}", "DynamicQuantizeLSTM", inputs, 3, MS,
                constants=(1, 2, 8, 9, 10, 11), atol=1e-5, hidden_size=hidden, direction=direction, attributes=attributes)


def bad_lstm(name, place, value):
    zero = np.zeros((1, 32), np.int8)
    inputs = [real(6, 3, 10), ints(np.int8, 1, 10, 32), ints(np.int8, 1, 8, 32), None, None, None, None, None, scale(1, 32), zero, scale(1, 32), zero]
    inputs[place] = value
    return Case(f"LSTM, {name}", "DynamicQuantizeLSTM", inputs, 3, MS, hidden_size=8)


def lstms():
    for direction in ("forward", "reverse", "bidirectional"):
        for extra in (False, True):
            for dtype in (np.int8, np.uint8):
                for per_channel in (False, True):
                    yield lstm(direction, extra, dtype, per_channel)
    yield lstm("forward", True, np.int8, True, clip=0.5)
    yield lstm("forward", False, np.int8, False, activations=["HardSigmoid", "Softsign", "Relu"])


def write(folder, case):
    folder.mkdir()
    (folder / "model.onnx").write_bytes(case.model.SerializeToString())
    write_inputs(folder / "inputs.onnx", {name: (value, None) for name, value in case.inputs.items()})
    return folder


@pytest.mark.parametrize("family", [rounding, products, convolutions, qlinear, blockwise, attention, lstms], ids=lambda f: f.__name__)
def test_matches_onnxruntime(tmp_path, family):
    chosen = list(family())
    answers = run_folders([write(tmp_path / str(i), case) for i, case in enumerate(chosen)])
    assert len(answers) == len(chosen)
    wrong = []
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1  # on several it rounds an LSTM's state with a range for each part of the batch
    compared = 0
    for i, (case, answer) in enumerate(zip(chosen, answers)):
        try:
            session = onnxruntime.InferenceSession(case.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            wanted = session.run(None, {name: np.asarray(value) for name, value in case.inputs.items()})
        except REFUSALS as error:
            print(f"onnxruntime does not run {case.name}: {str(error)[:200]}")
            continue
        compared += 1
        if not answer["ok"]:
            wrong.append(f"{case.name}: {answer['error']}")
            continue
        got = read_outputs(tmp_path / str(i) / "outputs.onnx")
        for number, want in enumerate(wanted):
            have = got[f"o{number}"]
            if have.shape != want.shape or have.dtype != want.dtype:
                wrong.append(f"{case.name}: {have.dtype}{have.shape}, not {want.dtype}{want.shape}")
            elif want.dtype.kind in "iu":
                apart = np.abs(have.astype(np.int64) - want.astype(np.int64)).max(initial=0)
                if apart > case.steps:
                    wrong.append(f"{case.name}: {apart} steps apart")
            elif not np.allclose(have.astype(np.float64), want.astype(np.float64), rtol=case.rtol, atol=case.atol, equal_nan=True):
                wrong.append(f"{case.name}: {np.abs(have.astype(np.float64) - want).max()} apart")
    assert not wrong, "\n".join(wrong)
    assert compared >= 0.8 * len(chosen)


def test_integer_sums_are_exact(tmp_path):
    """Where ONNX Runtime saturates without VNNI: the extremes, and sums that wrap around."""
    a, b = np.full((3, 301), 255, np.uint8), np.full((301, 20), -128, np.int8)
    long_a, long_b = np.full((1, 70001), 255, np.uint8), np.full((70001, 2), 255, np.uint8)
    for i, (left, right) in enumerate(((a, b), (ints(np.uint8, 9, 301), ints(np.int8, 301, 33)), (long_a, long_b))):
        case = Case("exact", "MatMulInteger", [left, right, np.array(0, left.dtype), np.array(0, right.dtype)])
        folder = write(tmp_path / str(i), case)
        assert run_folders([folder])[0]["ok"]
        wanted = (left.astype(np.int64) @ right.astype(np.int64)).astype(np.int32)
        np.testing.assert_array_equal(read_outputs(folder / "outputs.onnx")["o0"], wanted)


REFUSED = [
    Case("axis outside", "QuantizeLinear", [real(2, 3), scale(3)], axis=2),
    Case("scales for another axis", "DequantizeLinear", [ints(np.int8, 2, 3), scale(2)], axis=1),
    Case("blocks that do not cover", "QuantizeLinear", [real(2, 8), scale(2, 1)], axis=1, block_size=4),
    Case("negative block", "QuantizeLinear", [real(2, 8), scale(2, 2)], axis=1, block_size=-4),
    Case("zero point of another type", "DequantizeLinear", [ints(np.int8, 2, 3), scale(), ints(np.uint8)]),
    Case("zero point of another length", "QuantizeLinear", [real(2, 3), scale(3), ints(np.uint8, 2)], axis=1),
    Case("product of floats", "MatMulInteger", [real(2, 3), real(3, 2)]),
    Case("inner extents", "MatMulInteger", [ints(np.uint8, 2, 3), ints(np.uint8, 4, 2)]),
    Case("zero points a row too many", "MatMulInteger", [ints(np.uint8, 2, 3), ints(np.uint8, 3, 2), None, ints(np.uint8, 3)]),
    Case("bias of another length", "QLinearConv", [ints(np.uint8, 1, 1, 4, 4), scale(), ints(np.uint8), ints(np.int8, 2, 1, 3, 3), scale(), ints(np.int8), scale(), ints(np.uint8), np.zeros(3, np.int32)]),
    Case("kernel_shape", "ConvInteger", [ints(np.uint8, 1, 1, 4, 4), ints(np.uint8, 2, 1, 3, 3)], kernel_shape=[2, 2]),
    Case("padding", "ConvInteger", [ints(np.uint8, 1, 1, 4, 4), ints(np.uint8, 2, 1, 3, 3)], pads=[2**62, 0, 0, 0]),
    Case("groups", "ConvInteger", [ints(np.uint8, 1, 3, 4, 4), ints(np.uint8, 2, 1, 3, 3)], group=3),
    Case("packed weights of another size", "MatMulNBits", [real(2, 64), ints(np.uint8, 4, 2, 15), scale(4, 2)], domain=MS, K=64, N=4, bits=4, block_size=32),
    Case("block_size", "MatMulNBits", [real(2, 64), ints(np.uint8, 4, 2, 16), scale(4, 2)], domain=MS, K=64, N=4, bits=4, block_size=0),
    Case("g_idx outside", "MatMulNBits", [real(2, 64), ints(np.uint8, 4, 2, 16), scale(4, 2), None, np.full(64, 2, np.int32)], domain=MS, K=64, N=4, bits=4, block_size=32),
    Case("pieces of another shape", "QLinearConcat", [scale(), ints(np.uint8), ints(np.uint8, 2, 3), scale(), ints(np.uint8), ints(np.uint8, 4, 2), scale(), ints(np.uint8)], domain=MS, axis=1),
    Case("no heads", "Attention", [real(1, 2, 8), real(1, 2, 8), real(1, 2, 8)], opset=23),
    Case("mask of another shape", "Attention", [real(1, 2, 3, 4), real(1, 2, 3, 4), real(1, 2, 3, 4), real(2, 3)], opset=23),
    Case("keys of another width", "Attention", [real(1, 2, 3, 4), real(1, 2, 3, 5), real(1, 2, 3, 4)], opset=23),
    Case("past of another shape", "Attention", [real(1, 2, 3, 4), real(1, 2, 3, 4), real(1, 2, 3, 4), None, real(1, 2, 5, 4), real(1, 2, 4, 4)], outputs=3, opset=23),
    Case("position outside", "RotaryEmbedding", [real(1, 2, 3, 4), real(5, 2), real(5, 2), np.array([[0, 1, 5]])], opset=23),
    Case("negative position", "RotaryEmbedding", [real(1, 2, 3, 4), real(5, 2), real(5, 2), np.array([[0, -1, 4]])], opset=23),
    lstm("sideways", False, np.int8, True),
    bad_lstm("weights of floats", 1, real(1, 10, 32)),
    bad_lstm("weights as ONNX's", 1, ints(np.int8, 1, 32, 10)),
    bad_lstm("state's weights of another width", 2, ints(np.int8, 1, 9, 32)),
    bad_lstm("scales of another length", 8, scale(1, 31)),
    bad_lstm("no scale", 10, None),
    bad_lstm("zero points of another type", 11, ints(np.uint8, 1, 32)),
    bad_lstm("zero points of another shape", 9, ints(np.int8, 1)),
    bad_lstm("bias of another length", 3, real(1, 32)),
    Case("key of another batch", "MultiHeadAttention", [real(2, 3, 8), real(1, 3, 8), real(1, 3, 8)], domain=MS, num_heads=2),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_does_not_fit_is_refused(tmp_path, case):
    answer = run_folders([write(tmp_path / "0", case)])[0]
    assert not answer["ok"] and answer["code"] == "INVALID_ARGUMENT", answer


@pytest.mark.parametrize("case", [
    Case("QAttention", "QAttention", [ints(np.uint8, 1, 2, 4), ints(np.uint8, 4, 12), real(12), scale(), scale()], domain=MS, num_heads=2),
    Case("GroupQueryAttention", "GroupQueryAttention", [real(1, 2, 8), real(1, 2, 8), real(1, 2, 8), None, None, np.array([1], np.int32), np.array(2, np.int32)], domain=MS, num_heads=2, kv_num_heads=2),
], ids=lambda case: case.name)
def test_what_is_not_computed_says_so(tmp_path, case):
    answer = run_folders([write(tmp_path / "0", case)])[0]
    assert not answer["ok"] and answer["code"] == "UNIMPLEMENTED", answer


def float_model(kind):
    """A small network in floats, and inputs for it."""
    weights, nodes, shape = {}, [], None

    def add(op, inputs, out, **attributes):
        nodes.append(helper.make_node(op, inputs, [out], name=out, **attributes))

    if kind == "convolutions":
        shape = [2, 3, 24, 24]
        for i, (o, c, group, k) in enumerate(((16, 3, 1, 3), (16, 1, 16, 3), (24, 16, 1, 1))):
            weights[f"w{i}"] = (real(o, c, k, k) / np.sqrt(c * k * k)).astype(np.float32)
            weights[f"b{i}"] = real(o) / 10
            add("Conv", ["x" if i == 0 else f"r{i - 1}", f"w{i}", f"b{i}"], f"c{i}", group=group, pads=[k // 2] * 4, strides=[2, 2] if i == 1 else [1, 1])
            add("Relu", [f"c{i}"], f"r{i}")
        add("GlobalAveragePool", ["r2"], "pooled")
        add("Flatten", ["pooled"], "flat")
        weights["w"] = real(24, 10) / 5
        weights["b"] = real(10) / 10
        add("Gemm", ["flat", "w", "b"], "y")
    else:
        shape = [2, 9, 32]
        weights["w0"], weights["w1"] = real(32, 64) / 6, real(64, 32) / 8
        add("MatMul", ["x", "w0"], "h")
        add("Relu", ["h"], "r")
        add("MatMul", ["r", "w1"], "m")
        add("Add", ["m", "x"], "y")
    graph = helper.make_graph(nodes, kind, [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [numpy_helper.from_array(v.astype(np.float32), n) for n, v in weights.items()])
    model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    return model, [{"x": real(*shape)} for _ in range(4)]


@pytest.mark.parametrize("form", ["QDQ", "QOperator", "dynamic"])
@pytest.mark.parametrize("kind", ["convolutions", "products"])
def test_models_that_onnxruntime_quantized(tmp_path, kind, form):
    from onnxruntime import quantization
    model, batches = float_model(kind)
    before, after = tmp_path / "before.onnx", tmp_path / "after.onnx"
    onnx.save(model, before)

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.rest = iter(batches)

        def get_next(self):
            return next(self.rest, None)

    # reduce_range: weights in 7 bits, so that ONNX Runtime's sums do not saturate without VNNI.
    if form == "dynamic":
        quantization.quantize_dynamic(before, after, per_channel=True, reduce_range=True)
    else:
        quantization.quantize_static(before, after, Reader(), quant_format=quantization.QuantFormat[form], per_channel=True, reduce_range=True)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(after.read_bytes())
    write_inputs(folder / "inputs.onnx", {name: (value, None) for name, value in batches[0].items()})
    answer = run_folders([folder])[0]
    assert answer["ok"], answer
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    wanted = onnxruntime.InferenceSession(str(after), options, providers=["CPUExecutionProvider"]).run(None, batches[0])[0]
    got = read_outputs(folder / "outputs.onnx")["y"]
    # Where ONNX Runtime fuses, a value between two steps may go either way, in a layer or two: two
    # steps of the output, a 127th (reduce_range) of its range at most, and few elements are off.
    step = np.ptp(wanted) / 127
    assert np.abs(got - wanted).max() <= 2 * step
    assert np.mean(np.abs(got - wanted) > 0.1 * step) < 0.1
