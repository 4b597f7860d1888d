"""Shapes, small values and multiply-accumulates against ONNX's own node tests, ONNX Runtime and published figures."""

import json
import os
import pathlib
import subprocess

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

TOOL = os.environ.get("LATHE_TEST_TOOL", "build/dev/bin/lathe_test_tool")
LIGHT = pathlib.Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def shapes(paths, **bindings):
    """What the engine knows of each model."""
    arguments = [f"{name}={size}" for name, size in bindings.items()] + [str(path) for path in paths]
    done = subprocess.run([TOOL, "shapes", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_shape_of_onnx_node_tests_is_right_or_unknown(tmp_path):
    paths, wanted = [], []
    for case in collect_testcases(None):
        if case.model is None or not case.data_sets:
            continue
        inputs, outputs = case.data_sets[0]
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        graph, kept = model.graph, []
        for position, (info, array) in enumerate(zip(list(graph.input), inputs)):
            # Shapes, axes and scales are constants in real models.
            small = isinstance(array, np.ndarray) and array.dtype in (np.int64, np.int32, np.float32, np.bool_)
            if position > 0 and small and array.size <= 64:
                graph.initializer.append(numpy_helper.from_array(array, info.name))
            else:
                kept.append(info)
        del graph.input[:]
        graph.input.extend(kept)
        for info in graph.output:
            info.type.Clear()  # the answer must not be read off
        paths.append(tmp_path / f"{len(paths)}.onnx")
        paths[-1].write_bytes(model.SerializeToString())
        wanted.append((case.name, {info.name: (list(array.shape), helper.np_dtype_to_tensor_dtype(array.dtype))
                                   for info, array in zip(graph.output, outputs) if isinstance(array, np.ndarray)}))
    answers = [answer for start in range(0, len(paths), 200) for answer in shapes(paths[start:start + 200])]
    assert len(answers) == len(paths) > 1000
    right, wrong = 0, []
    for (name, outputs), answer in zip(wanted, answers):
        assert "error" not in answer, (name, answer)
        for output, (dims, dtype) in outputs.items():
            known = answer["values"].get(output)
            if known is None or answer["assumptions"]:
                continue
            right += 1
            if (known["dims"], known["dtype"]) != (dims, dtype):
                wrong.append((name, output, known, dims, dtype))
    assert not wrong
    assert right > 1600  # of about 1900; the rest are operators without a rule, or data-dependent


# Published figures: He et al. (ResNet-50: 3.8 to 4.1 G, by where strides lie), Simonyan and Zisserman (VGG-19: 19.6 G),
# Huang et al. (DenseNet-121: 2.83 G), Iandola et al. (SqueezeNet 1.1: 0.35 G), Krizhevsky et al. with groups
# (AlexNet: 0.66 to 0.72 G), Szegedy et al. (Inception v1: 1.43 G).
@pytest.mark.parametrize("name, giga_macs", [("resnet50", 4.09), ("vgg19", 19.63), ("densenet121", 2.83),
                                             ("squeezenet", 0.349), ("bvlc_alexnet", 0.655), ("inception_v1", 1.43)])
def test_macs_of_well_known_networks_are_the_published_ones(name, giga_macs):
    answer, = shapes([LIGHT / f"light_{name}.onnx"])
    assert answer["macs_incomplete"] == []
    assert answer["macs"] / 1e9 == pytest.approx(giga_macs, rel=0.005)


def test_a_dynamic_export_resolves_as_onnx_runtime_runs_it(tmp_path):
    # Shape -> Gather -> arithmetic -> Concat -> Reshape / Resize / Expand, as exporters write it.
    def const(name, array):
        return numpy_helper.from_array(np.asarray(array), name)

    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Shape", ["c"], ["s"]),
        helper.make_node("Gather", ["s", "two"], ["h"], axis=0),
        helper.make_node("Slice", ["s", "three1", "four1"], ["w1"]),
        helper.make_node("Mul", ["h", "two"], ["h2"]),
        helper.make_node("Unsqueeze", ["h2", "zero1"], ["h21"]),
        helper.make_node("Slice", ["s", "zero1", "two1"], ["nc"]),
        helper.make_node("Concat", ["nc", "h21", "w1"], ["sizes"], axis=0),
        helper.make_node("Resize", ["c", "", "", "sizes"], ["r"], mode="nearest"),
        helper.make_node("Concat", ["nc", "minus1"], ["flat"], axis=0),
        helper.make_node("Reshape", ["r", "flat"], ["f"]),
        helper.make_node("Transpose", ["f"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["t", "f"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializer=[const("w", np.zeros((4, 3, 3, 3), np.float32)), const("two", np.int64(2)),
                     const("three1", np.int64([3])), const("four1", np.int64([4])), const("zero1", np.int64([0])),
                     const("two1", np.int64([2])), const("minus1", np.int64([-1]))])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    answer, = shapes([path], batch=2, height=21, width=10)

    names = [output for node in nodes for output in node.output]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    results = dict(zip(names, session.run(names, {"x": np.zeros((2, 3, 21, 10), np.float32)})))
    for name, array in results.items():
        assert answer["values"][name]["dims"] == list(array.shape), name
        if "elements" in answer["values"][name]:
            assert answer["values"][name]["elements"] == array.reshape(-1).tolist(), name
    positions = results["f"].shape[2]
    assert answer["macs"] == results["c"].size * 3 * 9 + 2 * positions * positions * 4
