"""Training through the service: a killed worker's work goes on elsewhere, a student learns from a teacher."""

import json
import os
import signal

import numpy as np
import onnx
import pytest
from conftest import job_processes, run_ort, wait_for
from onnx import TensorProto, helper, numpy_helper
from train_digits import digits_split

# Some seconds of training, more than a checkpoint takes, of a network large enough that a step is not all overhead.
STEPS = 3000
FINE_TUNE = f"fine_tune:steps={STEPS},batch_size=128,validation=0.1,schedule=constant"


def network(path, hidden, seed=0):
    """An untrained perceptron on the digits, 64 to 10, with two hidden layers."""
    rng = np.random.default_rng(seed)
    sizes = [64, hidden, hidden, 10]
    nodes, weights, value = [], [], "pixels"
    for i in range(3):
        scale = (2 / sizes[i]) ** 0.5
        weights.append(numpy_helper.from_array((rng.standard_normal(sizes[i:i + 2]) * scale).astype(np.float32), f"w{i}"))
        weights.append(numpy_helper.from_array(np.zeros(sizes[i + 1], np.float32), f"b{i}"))
        out = "logits" if i == 2 else f"h{i}"
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [out], f"fc{i}"))
        value = out
        if i < 2:
            nodes.append(helper.make_node("Relu", [out], [f"r{i}"], f"act{i}"))
            value = f"r{i}"
    graph = helper.make_graph(nodes, "net", [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 64])],
                              [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def accuracy(path):
    _, x, _, y = digits_split()
    return float((run_ort(path, {"pixels": x})["logits"].argmax(axis=1) == y).mean())


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Training and test digits."""
    folder = tmp_path_factory.mktemp("data")
    x, test_x, y, test_y = digits_split()
    np.savez(folder / "train.npz", pixels=x, labels=y.astype(np.int64))
    np.savez(folder / "test.npz", pixels=test_x, labels=test_y.astype(np.int64))
    return folder


def test_kill_9_in_the_middle_of_training_costs_no_byte(new_server, new_worker, digits, tmp_path):
    server = new_server(workers=0, flags=["--lease-seconds", "3", "--retry-seconds", "0.2", "--no-result-cache"]).start()
    model = network(tmp_path / "net.onnx", 256)
    work = [model, "--data", f"train={digits / 'train.npz'}", "--data", f"test={digits / 'test.npz'}", "--step", FINE_TUNE]
    job = server.lathe("submit", *work).stdout.strip()
    first = new_worker(server.address, "first", flags=["--checkpoint-seconds", "1", "--threads", "1"])
    saved = wait_for(lambda: server.lathe_json("job", job).get("checkpoint_time"), seconds=120, what="a checkpoint")
    # Not the first one alone: what is replaced does not stay.
    wait_for(lambda: server.lathe_json("job", job).get("checkpoint_time", saved) != saved, seconds=120, what="another checkpoint")
    [process] = job_processes(first.process.pid)
    assert server.lathe_json("job", job)["state"] == "JOB_STATE_RUNNING"
    first.process.kill()
    try:
        os.kill(process, signal.SIGKILL)  # it dies with its worker by itself
    except ProcessLookupError:
        pass
    second = new_worker(server.address, "second", flags=["--checkpoint-seconds", "1", "--threads", "2"])
    assert server.lathe("wait", job, "--timeout", "280s", timeout=300).stdout.strip() == "SUCCEEDED"
    done = server.lathe_json("job", job)
    assert done["attempt_count"] == 2 and done["worker"].startswith("workers/second-")
    assert "checkpoint_time" not in done

    # It says so: in the log of the second attempt, and in the report.
    [line] = [line for line in server.lathe("logs", job).stdout.splitlines() if "resumed from step" in line]
    step = int(line.split("resumed from step ")[1].split(" of ")[0])
    assert 0 < step < STEPS, line
    report = json.loads(server.lathe("--json", "report", job).stdout)
    assert any(note.startswith(f"resumed from step {step} of {STEPS}") for note in report["steps"][0]["notes"]), report["steps"]

    # What is replaced goes at once. One that was on its way when its worker died, or when the job ended, is the collector's.
    blobs = [path for path in (server.data / "blobstore").rglob("*") if path.is_file()]
    assert len([path for path in blobs if path.read_bytes()[:9] == b"LATHESET1"]) <= 2, blobs

    whole = server.lathe("submit", *work).stdout.strip()
    assert server.lathe("wait", whole, "--timeout", "280s", timeout=300).stdout.strip() == "SUCCEEDED"
    assert "resumed" not in server.lathe("logs", whole).stdout
    server.lathe("download", job, "-o", tmp_path / "resumed.onnx")
    server.lathe("download", whole, "-o", tmp_path / "whole.onnx")
    assert (tmp_path / "resumed.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()
    assert accuracy(tmp_path / "resumed.onnx") > 0.9
    assert second.process.poll() is None


def test_a_job_process_that_dies_alone_goes_on_where_it_was(new_server, new_worker, digits, tmp_path):
    """The worker lives, and has the state itself."""
    server = new_server(workers=0, flags=["--retry-seconds", "0.2"]).start()
    job = server.lathe("submit", network(tmp_path / "net.onnx", 256), "--data", f"train={digits / 'train.npz'}",
                       "--step", FINE_TUNE, "--evaluate", "task=none").stdout.strip()
    worker = new_worker(server.address, "only", flags=["--checkpoint-seconds", "1"])
    wait_for(lambda: server.lathe_json("job", job).get("checkpoint_time"), seconds=120, what="a checkpoint")
    [process] = job_processes(worker.process.pid)
    os.kill(process, signal.SIGKILL)
    assert server.lathe("wait", job, "--timeout", "280s", timeout=300).stdout.strip() == "SUCCEEDED"
    assert server.lathe_json("job", job)["attempt_count"] == 2
    assert "resumed from step" in server.lathe("logs", job).stdout


def test_a_student_learns_from_its_teacher(server, digits, tmp_path, digits_model):
    """Without a single label of its own."""
    x, _, _, _ = digits_split()
    np.savez(tmp_path / "bare.npz", pixels=x)
    student = network(tmp_path / "student.onnx", 24)
    assert accuracy(student) < 0.3
    server.lathe("compress", student, "-o", tmp_path / "taught.onnx", "--teacher", digits_model, "--report", tmp_path / "r.json",
                 "--data", f"train={tmp_path / 'bare.npz'}", "--evaluate", "task=none", "--step", "distill:epochs=20,alpha=1,loss=kl")
    assert accuracy(tmp_path / "taught.onnx") > 0.9
    report = json.loads((tmp_path / "r.json").read_text())
    assert any("teacher" in note for note in report["notes"])


def test_what_a_teacher_may_be_is_said_before_anything_runs(server, digits, tmp_path, digits_model):
    student = network(tmp_path / "student.onnx", 24)
    data = ["--data", f"train={digits / 'train.npz'}"]
    before = server.lathe_json("jobs")
    run = server.lathe("compress", student, "-o", tmp_path / "x.onnx", "--teacher", digits_model, *data, "--step", "fine_tune",
                       check=False)
    assert run.returncode == 2 and "only distill steps learn from a teacher" in run.stderr, run.stderr
    request = {"job": {"model": server.lathe("upload", student).stdout.strip(), "teacher_model": "models/none",
                       "datasets": [], "recipe": {"steps": [{"fp16": {}}]}}}
    refused = server.grpcurl("lathe.v1.JobService/CreateJob", request, check=False)
    assert "job.teacher_model" in refused and "distill" in refused, refused
    assert server.lathe_json("jobs") == before
    # What only the models themselves tell, the job tells.
    other = onnx.load(digits_model)
    for node in other.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = "elsewhere" if name == "pixels" else name
    other.graph.input[0].name = "elsewhere"
    onnx.save(other, tmp_path / "other.onnx")
    run = server.lathe("compress", student, "-o", tmp_path / "x.onnx", "--teacher", tmp_path / "other.onnx", *data, "--step", "distill",
                       check=False)
    assert run.returncode != 0 and "the teacher has an input 'elsewhere'" in run.stderr, run.stderr


def test_train_inside_a_step_is_a_step_behind_it(server, digits, tmp_path, digits_model):
    inside, behind = tmp_path / "inside.yaml", tmp_path / "behind.yaml"
    inside.write_text("steps: [{quantize_weights: {bits: 2, keep_small: 0, train: {method: lsq, epochs: 2}}}]")
    behind.write_text("steps: [{quantize_weights: {bits: 2, keep_small: 0}}, {fine_tune: {quantized: lsq, epochs: 2}}]")
    for recipe in (inside, behind):
        server.lathe("compress", digits_model, "-o", recipe.with_suffix(".onnx"), "--recipe", recipe, "--data",
                     f"train={digits / 'train.npz'}")
    assert inside.with_suffix(".onnx").read_bytes() == behind.with_suffix(".onnx").read_bytes()
    inside.write_text("steps: [fp16, {quantize_weights: {bits: 2, train: {epochs: 0}}}]")
    run = server.lathe("compress", digits_model, "-o", tmp_path / "x.onnx", "--recipe", inside, check=False)
    assert run.returncode == 2 and "steps[1].quantize_weights.train.epochs" in run.stderr, run.stderr


@pytest.mark.parametrize("recipe, field", [
    ("steps: [fine_tune]", "steps[0].fine_tune"),
    ("steps: [fp16, {quantize_weights: {train: {}}}]", "steps[1].quantize_weights.train"),
    ("steps: [{prune_weights: {sparsity: 0.9, schedule: cubic}}]", "steps[0].prune_weights.schedule"),
])
def test_training_that_cannot_be_is_refused_before_it_is_queued(server, digits, tmp_path, digits_model, recipe, field):
    before = server.lathe_json("jobs")
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe)
    run = server.lathe("compress", digits_model, "-o", tmp_path / "x.onnx", "--recipe", path, "--data", f"test={digits / 'test.npz'}",
                       check=False)
    assert run.returncode == 2 and field in run.stderr, run.stderr
    assert server.lathe_json("jobs") == before
