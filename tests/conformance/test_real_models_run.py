"""Real models and plain classifiers run by the engine give what ONNX Runtime gives."""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "e2e"))
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import real_models  # noqa: E402
from onnx_cases import read_outputs, run_folders, write_inputs  # noqa: E402

# Largest difference over the range of the output. Float sums in another order: 1e-4 is what the project promises.
TOLERANCE = 1e-4


def compare(folder, path, feeds, flags=(), tolerance=TOLERANCE):
    folder.mkdir()
    (folder / "model.onnx").symlink_to(pathlib.Path(path).resolve())
    write_inputs(folder / "inputs.onnx", {name: (value, None) for name, value in feeds.items()})
    (answer,) = run_folders([folder], flags)
    assert answer["ok"], answer
    assert answer["planned"] and answer["peak_bytes"] > 0
    got = read_outputs(folder / "outputs.onnx")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for info, wanted in zip(session.get_outputs(), session.run(None, feeds)):
        assert got[info.name].shape == wanted.shape and got[info.name].dtype == wanted.dtype, info.name
        span = max(float(wanted.max()) - float(wanted.min()), float(np.abs(wanted).max()), 1e-6)
        worst = float(np.abs(got[info.name].astype(np.float64) - wanted.astype(np.float64)).max()) / span
        assert worst <= tolerance, f"{info.name}: {worst:.2e} of its range"


@pytest.mark.parametrize("flags", [(), ("--plain",), ("--reference", "--plain")], ids=["as jobs run it", "as written", "reference"])
@pytest.mark.parametrize("name", ["ocr", "detector", "nudenet", "minilm"])
def test_real_model(name, flags, tmp_path):
    compare(tmp_path / "run", real_models.fetch(name), real_models.feeds(name, 3), flags)


def test_a_model_that_onnxruntime_quantized(tmp_path):
    # Every product rounds its input with ranges of its own: what falls to a neighbouring integer early moves what comes later.
    # ONNX Runtime without VNNI saturates, too, in some of the sums of this model's weights of 8 bits.
    compare(tmp_path / "run", real_models.fetch("quantized_ocr"), real_models.feeds("quantized_ocr", 3), (), tolerance=0.05)


def test_a_model_that_cannot_be_run_says_which_node(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    node = helper.make_node("CDist", ["x", "x"], ["y"], name="distances", domain="com.microsoft", metric="euclidean")
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), folder / "model.onnx")
    write_inputs(folder / "inputs.onnx", {"x": (np.zeros((2, 3), np.float32), None)})
    (answer,) = run_folders([folder])
    assert answer["code"] == "UNIMPLEMENTED" and "CDist 'distances'" in answer["error"]


def test_plain_classifiers(tmp_path):
    rng = np.random.default_rng(5)

    def weight(name, *shape):
        return onnx.numpy_helper.from_array((rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32), name)

    nodes = [helper.make_node("Conv", ["x", "w1", "b1"], ["a"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
             helper.make_node("Conv", ["c", "w2"], ["d"], group=8, pads=[1, 1, 1, 1]),
             helper.make_node("BatchNormalization", ["d", "g", "be", "m", "v"], ["e"]), helper.make_node("Relu", ["e"], ["f"]),
             helper.make_node("GlobalAveragePool", ["f"], ["h"]), helper.make_node("Flatten", ["h"], ["i"]),
             helper.make_node("Gemm", ["i", "w3", "b3"], ["j"], transB=1), helper.make_node("Softmax", ["j"], ["y"], axis=1)]
    positive = onnx.numpy_helper.from_array(rng.uniform(0.5, 2, 8).astype(np.float32), "v")
    weights = [weight("w1", 8, 3, 3, 3), weight("b1", 8), weight("w2", 8, 1, 3, 3), weight("g", 8), weight("be", 8),
               weight("m", 8), positive, weight("w3", 10, 8), weight("b3", 10)]
    graph = helper.make_graph(nodes, "cnn", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])], weights)
    for opset in (9, 13, 17, 21):
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 8 if opset < 21 else 10
        path = tmp_path / f"{opset}.onnx"
        onnx.save(model, path)
        compare(tmp_path / f"run{opset}", path, {"x": rng.standard_normal((5, 3, 16, 16)).astype(np.float32)})
