"""Latency in ONNX Runtime's own library, measured by a job in its sandbox: real server, worker and library."""

import json
import pathlib
import subprocess
import sys
import time

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import BIN, Server, lathe
from onnx import TensorProto, helper, numpy_helper
from train_digits import digits_split

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "conformance"))
from onnxruntime_library import library  # noqa: E402

EIGHT_BITS = ["--step", "quantize_weights:bits=8,keep_small=0"]
PRIVATE = {"LATHE_SERVER": ""}


@pytest.fixture(scope="module")
def digits_data(tmp_path_factory):
    _, x, _, y = digits_split()
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(path, pixels=x, labels=y.astype(np.int64))
    return path


@pytest.fixture(scope="module")
def ort_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ort")
    config = folder / "lathed.yaml"
    config.write_text(f"ort-library: {library()}\n")
    server = Server(folder, flags=["--config", config]).start()
    yield server
    server.stop()


def check_figure(figure, batch):
    assert figure["version"] == onnxruntime.__version__
    assert figure["threads"] == 1 and figure["batch"] == batch and figure["runs"] >= 5
    assert figure["before_ms"] > 0 and figure["after_ms"] > 0
    assert figure["ratio"] == pytest.approx(figure["after_ms"] / figure["before_ms"])
    for side in ("before", "after"):
        low, high = figure[f"{side}_spread_ms"]
        assert low <= figure[f"{side}_ms"] <= high
    assert not {"before_error", "after_error", "not_measured"} & figure.keys()


def first_worker(server):
    """As soon as one has come."""
    deadline = time.monotonic() + 60
    while not (workers := server.lathe_json("workers").get("workers", [])):
        assert time.monotonic() < deadline, server.log()
        time.sleep(0.05)
    return workers[0]


def test_workers_tell_which_version_they_measure_in(ort_server):
    worker = first_worker(ort_server)
    assert worker["onnxruntime_version"] == onnxruntime.__version__
    assert onnxruntime.__version__ in ort_server.lathe("workers").stdout


def test_a_worker_without_the_library_measures_as_before(server, digits_model, digits_data, tmp_path):
    report = tmp_path / "r.json"
    server.lathe("compress", digits_model, "-o", tmp_path / "s.onnx", "--report", report, "--data", f"test={digits_data}", *EIGHT_BITS)
    assert "onnxruntime" not in json.loads(report.read_text())["latency"]
    worker = first_worker(server)
    assert not worker.get("onnxruntime_version")


def test_a_compression_is_measured_in_onnx_runtime_too(ort_server, digits_model, digits_data, tmp_path):
    report, page = tmp_path / "r.json", tmp_path / "r.html"
    run = ort_server.lathe("compress", digits_model, "-o", tmp_path / "small.onnx", "--report", report, "--html", page, "--data",
                           f"test={digits_data}", *EIGHT_BITS, "--constraint", "max_latency_ratio=1000")
    told = json.loads(report.read_text())
    check_figure(told["latency"]["onnxruntime"], told["latency"]["batch"])
    assert told["latency"]["before_ms"] > 0  # the executor's own, beside it
    name = f"ONNX Runtime {onnxruntime.__version__}"
    assert f"in {name}: " in run.stdout
    assert name in page.read_text()
    # The constraint is judged by it.
    constraint, = told["constraints"]
    assert constraint["value"] == told["latency"]["onnxruntime"]["ratio"] and name in constraint["explanation"]


def test_a_constraint_missed_in_onnx_runtime_fails_the_job(ort_server, digits_model, digits_data, tmp_path):
    run = ort_server.lathe("compress", digits_model, "-o", tmp_path / "s.onnx", "--data", f"test={digits_data}", *EIGHT_BITS,
                           "--constraint", "max_latency_ratio=1e-6", check=False)
    assert run.returncode == 3
    assert "TOLERANCE_NOT_MET" in run.stderr and f"a run in ONNX Runtime {onnxruntime.__version__} takes" in run.stderr


def dense(name, rows, columns):
    return numpy_helper.from_array(np.random.default_rng(7).standard_normal((rows, columns)).astype(np.float32), name)


def model_of(path, nodes, weights, domains=(), **save):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, ["n", 64])], [value("y", TensorProto.FLOAT, None)], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), *(helper.make_opsetid(d, 1) for d in domains)])
    model.ir_version = 8
    onnx.save(model, path, **save)
    return path


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.npz"
    np.savez(path, x=np.random.default_rng(3).standard_normal((40, 64)).astype(np.float32))
    return path


def test_a_model_with_external_data_is_measured(ort_server, rows, tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    model = model_of(folder / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], [dense("w", 64, 64)],
                     save_as_external_data=True, location="w.bin", size_threshold=0)
    assert (folder / "w.bin").exists()
    report = tmp_path / "r.json"
    ort_server.lathe("compress", model, "-o", tmp_path / "s.onnx", "--report", report, "--data", f"test={rows}", "--step", "fp16")
    check_figure(json.loads(report.read_text())["latency"]["onnxruntime"], 32)


def test_two_models_are_compared_in_it(ort_server, rows, tmp_path):
    one = model_of(tmp_path / "one.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], [dense("w", 64, 64)])
    two = model_of(tmp_path / "two.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], [dense("w", 64, 64)])
    told = json.loads(ort_server.lathe("--json", "evaluate", one, "--against", two, "--data", rows).stdout)
    check_figure(told["latency"]["onnxruntime"], 32)
    alone = json.loads(ort_server.lathe("--json", "evaluate", one, "--data", rows).stdout)["latency"]["onnxruntime"]
    assert alone["before_ms"] > 0 and "after_ms" not in alone and "ratio" not in alone


def test_a_model_that_onnx_runtime_cannot_load_is_told_in_its_words(ort_server, rows, tmp_path):
    """Neither it nor the executor knows the operator: the result is there all the same, and the report says why."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Sparkle", ["h"], ["y"], name="odd", domain="my.ops")]
    model = model_of(tmp_path / "m.onnx", nodes, [dense("w", 64, 64)], domains=["my.ops"])
    report = tmp_path / "r.json"
    run = ort_server.lathe("compress", model, "-o", tmp_path / "s.onnx", "--report", report, "--data", f"test={rows}", *EIGHT_BITS)
    told = json.loads(report.read_text())
    figure = told["latency"]["onnxruntime"]
    with pytest.raises(Exception, match="Sparkle"):
        onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for side in ("before_error", "after_error"):
        assert figure[side].startswith("cannot be loaded: ") and "Sparkle" in figure[side] and "my.ops" in figure[side]
        assert "/" not in figure[side].split("Sparkle")[0]  # no folder of the worker
    assert "runs" not in figure
    assert "cannot be loaded" in run.stdout and any("Sparkle" in warning for warning in told["warnings"])


def test_a_model_that_the_executor_cannot_run_is_still_measured(ort_server, rows, tmp_path):
    """com.microsoft operators are ONNX Runtime's own."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]),
             helper.make_node("CDist", ["h", "h"], ["y"], domain="com.microsoft", metric="euclidean")]
    model = model_of(tmp_path / "m.onnx", nodes, [dense("w", 64, 64)], domains=["com.microsoft"])
    report = tmp_path / "r.json"
    run = ort_server.lathe("compress", model, "-o", tmp_path / "s.onnx", "--report", report, "--data", f"test={rows}", *EIGHT_BITS)
    told = json.loads(report.read_text())
    assert "CDist" in told["evaluation"]["not_evaluated"]
    check_figure(told["latency"]["onnxruntime"], 32)
    assert "before_ms" not in told["latency"]
    assert f"in ONNX Runtime {onnxruntime.__version__}: " in run.stdout


def test_latency_off_leaves_it_out(ort_server, digits_model, digits_data, tmp_path):
    report = tmp_path / "r.json"
    ort_server.lathe("compress", digits_model, "-o", tmp_path / "s.onnx", "--report", report, "--data", f"test={digits_data}",
                     *EIGHT_BITS, "--evaluate", "latency=false")
    assert "latency" not in json.loads(report.read_text())


def test_a_private_server_takes_the_library(digits_model, digits_data, tmp_path):
    env = {**PRIVATE, "TMPDIR": str(tmp_path)}
    run = lathe("--json", "compress", digits_model, "-o", tmp_path / "s.onnx", "--data", f"test={digits_data}", *EIGHT_BITS,
                "--ort-library", library(), env=env)
    check_figure(json.loads(run.stdout)["report"]["latency"]["onnxruntime"], 32)


def test_a_private_server_refuses_a_wrong_library_at_once(digits_model, digits_data, tmp_path):
    text = tmp_path / "libonnxruntime.so"
    text.write_text("no library")
    run = lathe("compress", digits_model, "-o", tmp_path / "s.onnx", "--data", f"test={digits_data}", *EIGHT_BITS, "--ort-library",
                text, env={**PRIVATE, "TMPDIR": str(tmp_path)}, check=False)
    assert run.returncode != 0 and "cannot be loaded" in run.stderr and "--ort-library" in run.stderr
    assert not (tmp_path / "s.onnx").exists()


def test_a_named_server_has_a_flag_of_its_own(ort_server, digits_model, digits_data, tmp_path):
    run = ort_server.lathe("compress", digits_model, "-o", tmp_path / "s.onnx", "--data", f"test={digits_data}", *EIGHT_BITS,
                           "--ort-library", library(), check=False)
    assert run.returncode == 2 and "lathe-worker --ort-library" in run.stderr


@pytest.mark.parametrize("content, said", [(None, "there is no file"), ("text", "cannot be loaded")])
def test_worker_and_server_refuse_a_wrong_library_at_start(tmp_path, content, said):
    path = tmp_path / "libonnxruntime.so"
    if content:
        path.write_text(content)
    worker = subprocess.run([BIN / "lathe-worker", "--server", "127.0.0.1:1", "--cache-dir", tmp_path, "--ort-library", path],
                            capture_output=True, text=True, check=False, timeout=60)
    assert worker.returncode == 1 and said in worker.stderr and str(path) in worker.stderr
    server = subprocess.run([BIN / "lathed", "--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0", "--metrics-listen",
                             "127.0.0.1:0", "--ort-library", path], capture_output=True, text=True, check=False, timeout=60)
    assert server.returncode == 2 and said in server.stderr and "--ort-library" in server.stderr


def test_a_job_that_may_not_take_the_memory_says_so_and_goes_on(digits_data, tmp_path, rows):
    """A model of 48 MiB in a job of 380 MiB: the executor manages in 250, ONNX Runtime might not in the rest."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "v"], ["y"])]
    model = model_of(tmp_path / "m.onnx", nodes, [dense("w", 64, 96 * 1024), dense("v", 96 * 1024, 64)])
    server = Server(tmp_path / "s", flags=["--ort-library", library(), "--worker-memory-limit-mb", "380"])
    server.folder.mkdir()
    server.start()
    try:
        report = tmp_path / "r.json"
        server.lathe("compress", model, "-o", tmp_path / "small.onnx", "--report", report, "--data", f"test={rows}", "--step",
                     "quantize_weights:bits=8", "--evaluate", "diagnosis=false")
        figure = json.loads(report.read_text())["latency"]["onnxruntime"]
        assert "--memory-limit-mb" in figure["before_error"] and "ratio" not in figure
    finally:
        server.stop()
