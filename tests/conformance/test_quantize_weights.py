"""Quantized weights in ONNX Runtime: near the float model by what the bits allow, small, and folded at load."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from test_methods import apply, build, run

RNG = np.random.default_rng(0)


def weights(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def case(op, x, w, attributes=None, weight_first=False, opset=17, extra_inputs=(), outputs=("y",)):
    names = ["w", "x"] if weight_first else ["x", "w"]
    node = helper.make_node(op, names + list(extra_inputs), list(outputs), name="layer", **(attributes or {}))
    return build([node], {"x": x}, {"w": w}, opset=opset), {"x": x}


CASES = {
    "conv1d": lambda: case("Conv", weights(1, 16, 30), weights(24, 16, 5)),
    "conv2d": lambda: case("Conv", weights(1, 16, 9, 9), weights(24, 16, 3, 3), {"pads": [1, 1, 1, 1]}),
    "conv3d": lambda: case("Conv", weights(1, 8, 6, 6, 6), weights(16, 8, 3, 3, 3)),
    "grouped": lambda: case("Conv", weights(1, 32, 9, 9), weights(64, 8, 3, 3), {"group": 4}),
    "depthwise": lambda: case("Conv", weights(1, 64, 9, 9), weights(64, 1, 3, 3), {"group": 64}),
    "transposed": lambda: case("ConvTranspose", weights(1, 16, 7, 7), weights(16, 24, 3, 3)),
    "gemm": lambda: case("Gemm", weights(4, 70), weights(70, 50)),
    "gemm_transposed": lambda: case("Gemm", weights(4, 200), weights(50, 200), {"transB": 1, "alpha": 0.5}),
    "matmul": lambda: case("MatMul", weights(3, 4, 200), weights(200, 50)),
    "matmul_left": lambda: case("MatMul", weights(200, 5), weights(50, 200), weight_first=True),
    "matmul_batched": lambda: case("MatMul", weights(6, 4, 130), weights(6, 130, 40)),
    "lstm": lambda: lstm_case(),
}


def lstm_case():
    x = weights(5, 2, 40)
    node = helper.make_node("LSTM", ["x", "w", "r"], ["sequence", "y"], name="layer", hidden_size=32, direction="bidirectional")
    return build([node], {"x": x}, {"w": weights(2, 128, 40) * 0.2, "r": weights(2, 128, 32) * 0.2}), {"x": x}


def sqnr_db(reference, value):
    noise = np.sum((np.asarray(reference, np.float64) - value) ** 2)
    return float("inf") if noise == 0 else 10 * np.log10(np.sum(np.asarray(reference, np.float64) ** 2) / noise)


def stored_bytes(model):
    """Bytes of the constants in the file."""
    return sum(len(t.raw_data) or len(t.SerializeToString()) for t in model.graph.initializer)


# Rounding of Gaussian weights to k bits over their range costs about 6 dB a bit; these floors are some dB below what theory gives
# for ranges of up to 4.5 standard deviations: 6.02 k + 10.8 - 20 log10(2 * 4.5) - 1.
FLOOR = {8: 38, 6: 26, 5: 20, 4: 13, 3: 6, 2: 1}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("bits", [8, 6, 4, 3, 2])
@pytest.mark.parametrize("granularity", ["tensor", "channel", "group"])
def test_outputs_stay_as_near_as_the_bits_allow(tmp_path, name, bits, granularity):
    model, feeds = CASES[name]()
    step = {"bits": bits, "granularity": granularity, "keep_small": 0}
    if granularity == "group":
        step["group_size"] = 32
    changed, path, reports = apply(model, tmp_path, {"quantize_weights": step})
    done = [layer for layer in reports[0]["layers"] if not layer.get("skipped_reason")]
    assert done, reports
    container = 4 if bits <= 4 else 8
    assert all(layer["bits"] == container for layer in done)
    loss = 6 if granularity == "tensor" else 0  # one range for all: outliers cost it a bit
    assert sqnr_db(run(model, feeds)[-1], run(path, feeds)[-1]) >= FLOOR[bits] - loss
    assert stored_bytes(changed) < 0.75 * stored_bytes(model)


@pytest.mark.parametrize("name", CASES)
def test_the_runtime_folds_what_was_emitted(tmp_path, name):
    model, feeds = CASES[name]()
    _, path, _ = apply(model, tmp_path, {"quantize_weights": {"bits": 8, "keep_small": 0}})
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    ops = [n.op_type for n in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert "Cast" not in ops and "Mul" not in ops, ops


@pytest.mark.parametrize("bits, granularity", [(8, "channel"), (8, "tensor"), (4, "group"), (4, "channel")])
def test_an_embedding_stays_integer_until_looked_up(tmp_path, bits, granularity):
    ids = np.array([[1, 5, 700], [0, 2, 999]], np.int64)
    node = helper.make_node("Gather", ["w", "ids"], ["y"], name="table")
    model = build([node], {"ids": ids}, {"w": weights(1000, 64)})
    step = {"bits": bits, "granularity": granularity, "keep_small": 0}
    changed, path, _ = apply(model, tmp_path, {"quantize_weights": step}) if bits == 8 or granularity != "group" else \
        apply_unchecked(model, tmp_path, step)
    assert not any(t.data_type == TensorProto.FLOAT and len(t.dims) == 2 and t.dims[1] == 64 for t in changed.graph.initializer)
    assert sqnr_db(run(model, {"ids": ids})[0], run(path, {"ids": ids})[0]) >= (38 if bits == 8 else 13) - 6


def apply_unchecked(model, tmp_path, step):
    """The ONNX checker knows no com.microsoft operators."""
    import json
    import subprocess
    from test_methods import TOOL
    source, target = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(model, source)
    subprocess.run([TOOL, "apply", source, target, json.dumps({"steps": [{"quantize_weights": step}]}), "1"], check=True,
                   capture_output=True)
    return onnx.load(target), target, None


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 21])
@pytest.mark.parametrize("bits", [8, 4])
def test_every_opset(tmp_path, opset, bits):
    x = weights(2, 64)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], name="layer"), helper.make_node("Softmax", ["h"], ["y"], axis=1)]
    model = build(nodes, {"x": x}, {"w": weights(64, 40) * 0.1}, opset=opset, ir=10 if opset > 20 else 8)
    _, path, _ = apply(model, tmp_path, {"quantize_weights": {"bits": bits, "keep_small": 0}})
    assert np.max(np.abs(run(model, {"x": x})[0] - run(path, {"x": x})[0])) < (0.01 if bits == 8 else 0.05)


def test_group_that_does_not_divide_and_group_larger_than_the_inputs(tmp_path):
    for inputs in (70, 20):
        model, feeds = case("MatMul", weights(4, inputs), weights(inputs, 30))
        _, path, _ = apply(model, tmp_path, {"quantize_weights": {"bits": 8, "granularity": "group", "group_size": 32, "keep_small": 0}})
        assert sqnr_db(run(model, feeds)[0], run(path, feeds)[0]) >= 38


@pytest.mark.parametrize("bits", [8, 5, 4, 2])
def test_asymmetric_is_no_worse_on_one_sided_weights(tmp_path, bits):
    x, w = np.abs(weights(4, 64)), np.abs(weights(64, 48))
    model, feeds = case("MatMul", x, w)
    errors = []
    for symmetric in (True, False):
        _, path, _ = apply(model, tmp_path, {"quantize_weights": {"bits": bits, "symmetric": symmetric, "keep_small": 0, "clip": "none"}})
        errors.append(sqnr_db(run(model, feeds)[0], run(path, feeds)[0]))
    assert errors[1] > errors[0] + 3  # twice the levels where the weights are


def test_mse_clipping_is_no_worse_and_helps_outliers(tmp_path):
    w = weights(256, 48)
    w[::64] *= 6
    model, feeds = case("MatMul", weights(4, 256), w)
    errors = []
    for clip in ("none", "mse"):
        _, _, reports = apply(model, tmp_path, {"quantize_weights": {"bits": 4, "clip": clip, "keep_small": 0, "granularity": "tensor"}})
        errors.append(reports[0]["layers"][0]["relative_error"])
    assert errors[1] < 0.9 * errors[0]


def test_zeros_and_constants_of_every_size_survive(tmp_path):
    w = np.zeros((64, 48), np.float32)
    w[:, 3] = 1e30
    w[:, 4] = 1e-38
    model, feeds = case("MatMul", np.ones((2, 64), np.float32), w)
    _, path, _ = apply(model, tmp_path, {"quantize_weights": {"bits": 8, "keep_small": 0}})
    before, after = run(model, feeds)[0], run(path, feeds)[0]
    assert np.all(np.isfinite(after))
    np.testing.assert_allclose(after[:, 3], before[:, 3], rtol=0.01)
    assert np.all(after[:, [0, 1, 2] + list(range(5, 48))] == 0)


def test_any_number_of_threads_gives_the_same_bytes(tmp_path):
    model, _ = case("MatMul", weights(2, 300), weights(300, 500))
    files = []
    for threads in (1, 2, 5):
        _, path, _ = apply(model, tmp_path, {"quantize_weights": {"bits": 4, "granularity": "group", "keep_small": 0}}, threads=threads)
        files.append(path.read_bytes())
    assert files[0] == files[1] == files[2]


def test_keep_small_leaves_the_smallest_layers_float(tmp_path):
    x = weights(2, 64)
    nodes = [helper.make_node("MatMul", ["x", "w1"], ["h"], name="big"), helper.make_node("MatMul", ["h", "w2"], ["y"], name="small")]
    model = build(nodes, {"x": x}, {"w1": weights(64, 256), "w2": weights(256, 1)})
    _, _, reports = apply(model, tmp_path, {"quantize_weights": {"bits": 8}})
    reasons = {layer["name"]: layer.get("skipped_reason") or "" for layer in reports[0]["layers"]}
    assert reasons["big"] == "" and "keep_small" in reasons["small"]


def test_nan_weights_are_refused_by_name(tmp_path):
    import json
    import subprocess
    from test_methods import TOOL
    w = weights(64, 48)
    w[3, 4] = np.nan
    model, _ = case("MatMul", weights(2, 64), w)
    onnx.save(model, tmp_path / "nan.onnx")
    done = subprocess.run([TOOL, "apply", tmp_path / "nan.onnx", tmp_path / "o.onnx",
                           json.dumps({"steps": [{"quantize_weights": {"keep_small": 0}}]}), "1"], capture_output=True, text=True)
    assert done.returncode != 0 and "layer" in done.stderr and "nan" in done.stderr.lower()
