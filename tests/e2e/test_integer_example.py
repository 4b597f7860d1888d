"""The convolutional example of docs/quantization.md: integers keep its accuracy, and ONNX Runtime fuses them."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits_cnn")
    subprocess.run([sys.executable, ROOT / "examples" / "train_digits_cnn.py"], cwd=folder, check=True)
    return folder


def session(path, optimized=None):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if optimized:
        options.optimized_model_filepath = str(optimized)
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def test_the_example_keeps_its_accuracy_in_integers(server, example, tmp_path):
    small, report = tmp_path / "small.onnx", tmp_path / "r.json"
    run = server.lathe("compress", example / "digits_cnn.onnx", "-o", small, "--report", report, "--step", "quantize_activations",
                       "--data", f"calibration={example / 'digits_cnn' / 'train.npz'}",
                       "--data", f"test={example / 'digits_cnn' / 'test.npz'}")
    told = json.loads(report.read_text())
    test = np.load(example / "digits_cnn" / "test.npz")
    right = {}
    for name, path in (("before", example / "digits_cnn.onnx"), ("after", small)):
        (logits,) = session(path).run(None, {"image": test["image"]})
        right[name] = int((logits.argmax(axis=1) == test["labels"]).sum())
    assert right["before"] >= 0.95 * 360 and abs(right["after"] - right["before"]) <= 2
    assert round(told["evaluation"]["before"]["accuracy"] * 360) == right["before"]
    # Where ONNX Runtime sums integers, the executor sums floats: a digit on the edge may fall to the other side.
    assert abs(round(told["evaluation"]["after"]["accuracy"] * 360) - right["after"]) <= 1
    assert told["ratios"]["file_bytes"] >= 3
    layers = {layer["name"]: layer for layer in told["layers"]}
    assert all("int8 arithmetic, static" in layers[name]["scheme"] for name in ("conv1", "conv2"))
    assert all(layers[name]["sqnr_db"] > 30 and layers[name]["output_sqnr_db"] > 20 for name in ("conv1", "conv2"))
    assert "what was gained is storage, not time" not in run.stdout
    optimized = tmp_path / "optimized.onnx"
    session(small, optimized)
    assert sum(node.op_type == "QLinearConv" for node in onnx.load(optimized).graph.node) == 2


def test_a_static_step_without_data_is_refused_with_the_fix(server, example, tmp_path):
    run = server.lathe("compress", example / "digits_cnn.onnx", "-o", tmp_path / "o.onnx", "--step", "quantize_activations:mode=static",
                       check=False)
    assert run.returncode != 0 and "--data" in run.stderr and not (tmp_path / "o.onnx").exists()


def test_an_accuracy_to_keep_decides_instead_of_noise(server, example, tmp_path):
    train = example / "digits_cnn" / "train.npz"
    report = tmp_path / "r.json"
    server.lathe("compress", example / "digits_cnn.onnx", "-o", tmp_path / "o.onnx", "--report", report, "--step",
                 "quantize_activations:max_accuracy_drop=0.005", "--data", f"calibration={train}",
                 "--data", f"test={example / 'digits_cnn' / 'test.npz'}")
    told = json.loads(report.read_text())
    (note,) = [note for step in told["steps"] for note in step["notes"] if note.startswith("accuracy ")]
    before, after = (float(part.split("%")[0].split()[-1]) for part in (note.split(" before")[0], note.split(" after")[0]))
    # Per cent with two digits, of labelled examples; half a point may be lost.
    assert before >= 95 and after >= before - 0.51 and "labelled calibration examples that are held back" in note
    assert told["evaluation"]["after"]["accuracy"] >= told["evaluation"]["before"]["accuracy"] - 0.01
    assert sum("int8 arithmetic" in layer["scheme"] for layer in told["layers"]) >= 2


def test_an_accuracy_to_keep_needs_labels(server, example, tmp_path):
    step = ["--step", "quantize_activations:max_accuracy_drop=0.005"]
    source, target = example / "digits_cnn.onnx", tmp_path / "o.onnx"
    bare = server.lathe("compress", source, "-o", target, *step, check=False)
    assert bare.returncode == 2 and "steps[0].quantize_activations.max_accuracy_drop" in bare.stderr, bare.stderr
    unlabelled = tmp_path / "images.npz"
    np.savez(unlabelled, image=np.load(example / "digits_cnn" / "train.npz")["image"][:64])
    run = server.lathe("compress", source, "-o", target, *step, "--data", f"calibration={unlabelled}", check=False)
    assert run.returncode == 3 and "INVALID_DATASET" in run.stderr, run.stderr
    assert "max_accuracy_drop needs labels" in run.stderr and "images.npz" in run.stderr and not target.exists()


def test_without_data_only_weights_are_quantized_and_the_report_says_so(server, example, tmp_path):
    report = tmp_path / "r.json"
    server.lathe("compress", example / "digits_cnn.onnx", "-o", tmp_path / "o.onnx", "--step", "quantize_activations", "--report", report)
    told = json.loads(report.read_text())
    assert any("no calibration data" in note for step in told["steps"] for note in step["notes"])
    assert told["ratios"]["file_bytes"] > 2.5
