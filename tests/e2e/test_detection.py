"""Detectors measured on true boxes of a dataset, in jobs."""

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import real_models
from onnx import TensorProto, helper, numpy_helper


def raw_detector(path):
    """[N, 6, 5]: two classes and five places, put out as they came in."""
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 6, 5]) for name in ("x", "places")]
    eye = numpy_helper.from_array(np.eye(5, dtype=np.float32), "eye")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "eye"], ["places"])], "g", info[:1], info[1:], [eye])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def scenes():
    """Four images with a box of class 0 each. Two are found at once, and once more by a box over it; two are missed."""
    x, boxes = np.zeros((4, 6, 5), np.float32), np.zeros((4, 2, 4), np.float32)
    for i in range(4):
        boxes[i] = [[10, 10, 30, 50], [np.nan] * 4]
        at = [20, 30, 20, 40] if i < 2 else [80, 80, 20, 40]
        x[i, :4] = np.array([at, [at[0] + 1, *at[1:]], *[[150, 150, 8, 8]] * 3]).T
        x[i, 4] = [0.9 - 0.1 * i, 0.85 - 0.1 * i, 0, 0, 0]
    return x, boxes


@pytest.mark.parametrize("keys", [
    {"classes": np.array([[0, -1]] * 4)},
    {"classes": np.array([[0, 7]] * 4), "box_counts": np.array([1] * 4)},
    {"classes": np.zeros((4, 2), np.uint8)},  # the second box is four NaN
])
def test_a_detector_is_measured_in_a_job(server, tmp_path, keys):
    model = raw_detector(tmp_path / "d.onnx")
    x, boxes = scenes()
    if "box_counts" in keys:
        boxes = np.nan_to_num(boxes)
    np.savez(tmp_path / "d.npz", x=x, boxes=boxes, **keys)
    report = tmp_path / "r.json"
    run = server.lathe("compress", model, "-o", tmp_path / "o.onnx", "--step", "fp16", "--data", f"test={tmp_path / 'd.npz'}",
                       "--evaluate", "detector=raw", "--report", report)
    told = json.loads(report.read_text())["evaluation"]
    assert told["task"] == "detection" and told["examples"] == 4
    # The second box over each is suppressed. Precision 1 up to recall 1/2 at every overlap: 51 of COCO's 101 recalls.
    assert told["before"]["map_50"] == pytest.approx(51 / 101, abs=1e-12)
    assert told["before"]["map_50_95"] == pytest.approx(51 / 101, abs=1e-12)
    assert told["after"]["boxes"] == told["before"]["boxes"] == 4 and told["before"]["true_boxes"] == 4
    assert "map_50" in run.stdout
    # Left alone, the second boxes are wrong ones: with 0.85 and 0.75 after 0.9 and 0.8, precision 1, 1/2, 2/3, 1/2.
    report.unlink()
    server.lathe("evaluate", model, "--data", tmp_path / "d.npz", "--report", report, "--evaluate", "max_overlap=1,detector=raw")
    told = json.loads(report.read_text())["evaluation"]
    assert told["before"]["map_50"] == pytest.approx((26 + 25 * 2 / 3) / 101, abs=1e-12)


def kept(raw, least, most):
    """(class, box) of one image's raw outputs [4 + classes, places] after greedy suppression at an overlap of 0.7."""
    boxes, scores = raw[:4].T.astype(float), raw[4:].T
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    taken = []
    for place, cls in sorted(zip(*np.nonzero(scores >= least)), key=lambda pc: -scores[pc]):
        if len(taken) == most:
            break
        x1, y1, x2, y2 = corners[place]

        def overlaps(other):
            a1, b1, a2, b2 = other
            common = max(0, min(x2, a2) - max(x1, a1)) * max(0, min(y2, b2) - max(y1, b1))
            return common / ((x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - common) > 0.7

        if not any(cls == c and overlaps(box) for c, box in taken):
            taken.append((cls, corners[place]))
    return taken


def test_a_real_detector_finds_the_boxes_that_onnx_runtime_finds(server, tmp_path):
    """nudenet's raw outputs: what ONNX Runtime and a suppression written here find is taken as the truth."""
    model = real_models.fetch("nudenet")
    x = real_models.picture(np.random.default_rng(3), (4, 3, 160, 160))
    (raw,) = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"images": x})
    least, most = float(np.quantile(raw[:, 4:], 0.99)), 12
    boxes, classes = np.zeros((4, most, 4), np.float32), np.full((4, most), -1)
    for i in range(4):
        for k, (cls, box) in enumerate(kept(raw[i], least, most)):
            boxes[i, k], classes[i, k] = box, cls
    assert (classes >= 0).sum() >= 10
    np.savez(tmp_path / "d.npz", images=x, boxes=boxes, classes=classes)
    report = tmp_path / "r.json"
    server.lathe("evaluate", model, "--data", tmp_path / "d.npz", "--report", report,
                 "--evaluate", f"task=detection,max_boxes={most},min_score={least:.9f},latency=false")
    told = json.loads(report.read_text())["evaluation"]
    # Scores that are equal but for rounding may change places; most of what is found is the same.
    assert told["before"]["map_50"] > 0.95 and told["before"]["map_50_95"] > 0.9


def test_an_output_that_the_model_has_not_fails_the_job_at_once(server, tmp_path):
    model = server.lathe_json("upload", raw_detector(tmp_path / "d.onnx"))["name"]
    x, boxes = scenes()
    np.savez(tmp_path / "d.npz", x=x, boxes=boxes, classes=np.array([[0, -1]] * 4))
    run = server.lathe("evaluate", model, "--data", tmp_path / "d.npz", "--evaluate", "output=boxes", check=False)
    assert run.returncode == 3 and "INVALID_RECIPE" in run.stderr and "attempt" not in run.stderr
    assert "no output 'boxes'; it has 'places'" in run.stderr
