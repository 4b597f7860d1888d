"""The lathe command against a real server: every subcommand, exit codes, JSON, Ctrl-C, private servers, external data."""

import json
import os
import pathlib
import signal
import subprocess
import time

import numpy as np
import onnx
import pytest
from conftest import BIN, lathe, run_ort, sqnr_db
from onnx import TensorProto, helper, numpy_helper

INT8 = ["--step", "quantize_weights:bits=8,keep_small=0"]


def big_matmul_model(path, layers=12, width=768, external=False, seed=0):
    """A chain of MatMuls: slow enough to be watched and cancelled."""
    rng = np.random.default_rng(seed)
    nodes, weights, value = [], [], "x"
    for i in range(layers):
        weights.append(numpy_helper.from_array(
            (rng.standard_normal((width, width)) / np.sqrt(width)).astype(np.float32), f"w{i}"))
        nodes.append(helper.make_node("MatMul", [value, f"w{i}"], [f"y{i}"], name=f"mm{i}"))
        value = f"y{i}"
    graph = helper.make_graph(nodes, "chain", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
                              [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["n", width])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    if external:
        onnx.save(model, path, save_as_external_data=True, all_tensors_to_one_file=True, location="weights/w.bin"
                  if external == "folder" else "w.bin", size_threshold=0)
    else:
        onnx.save(model, path)
    return path


def test_compress_in_one_go_on_a_private_server(digits_model, tmp_path):
    small, report = tmp_path / "small.onnx", tmp_path / "report.json"
    run = lathe("compress", digits_model, "-o", small, "--report", report, *INT8,
                env={"LATHE_SERVER": "", "TMPDIR": str(tmp_path)})
    assert small.stat().st_size < 0.3 * digits_model.stat().st_size
    assert json.loads(report.read_text())["after"]["file_bytes"] == small.stat().st_size
    assert f"wrote {small}" in run.stdout and "fc1" in run.stdout
    x = np.random.default_rng(0).random((16, 64), np.float32)
    assert sqnr_db(run_ort(digits_model, {"pixels": x})["logits"], run_ort(small, {"pixels": x})["logits"]) > 35
    # The private server is gone, with its folder.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.json", "small.onnx"]


def test_every_step_of_the_long_way(server, digits_model, tmp_path):
    model = server.lathe("upload", digits_model).stdout.strip()
    assert model.startswith("models/")
    assert model in server.lathe("models").stdout
    assert any(m["name"] == model for m in server.lathe_json("models")["models"])
    assert "Gemm" in server.lathe("inspect", model).stdout
    job = server.lathe("submit", model, *INT8, "--label", "team=vision").stdout.strip()
    assert job.startswith("jobs/")
    assert server.lathe("wait", job).stdout.strip() == "SUCCEEDED"
    shown = server.lathe_json("job", job)
    assert shown["state"] == "JOB_STATE_SUCCEEDED" and shown["labels"] == {"team": "vision"}
    assert job in server.lathe("jobs", "--state", "succeeded").stdout
    assert "SUCCEEDED" in server.lathe("watch", job).stdout
    events = [json.loads(line) for line in server.lathe("--json", "watch", job).stdout.splitlines()]
    sequences = [int(e["sequence"]) for e in events]
    assert sequences == sorted(set(sequences)) and len(sequences) >= 3
    assert "before" in server.lathe_json("report", job)
    assert "fc1" in server.lathe("report", job).stdout
    folder = tmp_path / "into"
    folder.mkdir()
    written = server.lathe("download", job, "-o", folder).stdout.strip()
    assert pathlib.Path(written).parent == folder and pathlib.Path(written).exists()
    assert "quantize_weights" in server.lathe("capabilities").stdout
    assert len(server.lathe_json("workers")["workers"]) >= 1
    assert server.lathe("logs", job).returncode == 0
    again = server.lathe_json("retry", job)
    assert again["retry_of"] == job
    server.lathe("wait", again["name"])
    server.lathe("delete", again["name"])
    missing = server.lathe("job", again["name"], check=False)
    assert missing.returncode == 1 and again["name"] in missing.stderr


def test_the_same_job_twice_comes_from_the_cache_with_the_same_bytes(server, digits_model):
    step = ["--step", "quantize_weights:bits=5,keep_small=0"]
    model = server.lathe("upload", digits_model).stdout.strip()
    jobs = []
    for _ in range(2):
        jobs.append(server.lathe("submit", model, *step).stdout.strip())
        server.lathe("wait", jobs[-1])
    one, two = (server.lathe_json("job", j)["result"] for j in jobs)
    assert not one["from_cache"] and two["from_cache"]
    assert one["files"][0]["digest"] == two["files"][0]["digest"]


@pytest.mark.parametrize("arguments, words", [
    (["--step", "quantize_weights:bits=9"], ["steps[0].quantize_weights.bits", "[2, 8]", "got 9"]),
    (["--step", "quantise_weights:bits=8"], ["did you mean \"quantize_weights\""]),
    (["--step", "quantize_weights:bitz=8"], ["did you mean \"bits\""]),
    (["--step", "prune_weights:sparsity=0.5,threshold=1"], ["exclude each other"]),
    ([], ["no recipe"]),
    (["--recipe", "no/such/file.yaml"], ["no/such/file.yaml"]),
    (["--step", "fp16", "--bind", "batch=0"], ["--bind", "[1, 2147483647]"]),
    (["--step", "fp16", "--data", "missing.npz"], ["missing.npz"]),
    (["--step", "fp16", "--priority", "1000"], ["priority"]),
])
def test_wrong_usage_is_refused_before_anything_is_sent(digits_model, tmp_path, arguments, words):
    run = lathe("--server", "127.0.0.1:1", "--connect-timeout", 0, "compress", digits_model, "-o", tmp_path / "o.onnx",
                *arguments, check=False)
    assert run.returncode == 2, run.stderr
    for word in words:
        assert word in run.stderr
    assert not (tmp_path / "o.onnx").exists()


@pytest.mark.parametrize("seconds", ["nan", "-nan", "inf", "-1", "86401", "soon"])
def test_a_connect_timeout_that_is_no_length_of_time_is_refused(seconds):
    run = lathe("--server", "127.0.0.1:1", f"--connect-timeout={seconds}", "models", check=False)
    assert run.returncode == 2 and "--connect-timeout" in run.stderr, run.stderr


def test_exit_codes(server, digits_model, tmp_path):
    nobody = lathe("--server", "127.0.0.1:1", "--connect-timeout", 0, "models", check=False)
    assert nobody.returncode == 5 and "127.0.0.1:1" in nobody.stderr
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"\x00\x01 this is no model" * 50)
    failed = server.lathe("compress", garbage, "-o", tmp_path / "o.onnx", *INT8, check=False)
    assert failed.returncode == 3 and "INVALID_MODEL" in failed.stderr
    assert not (tmp_path / "o.onnx").exists()
    unknown = server.lathe("job", "jobs/nothere", check=False)
    assert unknown.returncode == 1 and "jobs/nothere" in unknown.stderr
    assert lathe("--help").returncode == 0
    assert lathe("nonsense", check=False).returncode == 2


def test_ctrl_c_cancels_the_job_it_started(server, tmp_path):
    model = big_matmul_model(tmp_path / "big.onnx", layers=40, width=1024)
    process = subprocess.Popen([BIN / "lathe", "--server", server.address, "compress", model, "-o", tmp_path / "o.onnx",
                                "--step", "low_rank:energy=0.5,algorithm=exact"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        running = server.lathe_json("jobs", "--state", "running")["jobs"]
        if running:
            break
        time.sleep(0.05)
    assert running, "the job never ran"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert server.lathe_json("job", running[0]["name"])["state"] == "JOB_STATE_CANCELLED"
    assert not (tmp_path / "o.onnx").exists()


@pytest.mark.parametrize("external", [True, "folder"])
def test_external_data_is_uploaded_whole(server, tmp_path, external):
    source = tmp_path / "in"
    (source / "weights").mkdir(parents=True)
    model = big_matmul_model(source / "m.onnx", layers=3, width=256, external=external)
    out = tmp_path / "out"
    out.mkdir()
    server.lathe("compress", model, "-o", out / "small.onnx", "--step", "quantize_weights:bits=8,keep_small=0")
    x = np.random.default_rng(1).standard_normal((4, 256)).astype(np.float32)
    name = "y2"
    assert sqnr_db(run_ort(model, {"x": x})[name], run_ort(out / "small.onnx", {"x": x})[name]) > 35
    total = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    assert total < 0.28 * sum(p.stat().st_size for p in source.rglob("*") if p.is_file())


def test_a_missing_external_file_is_named(server, tmp_path):
    model = big_matmul_model(tmp_path / "m.onnx", layers=1, width=64, external=True)
    os.remove(tmp_path / "w.bin")
    run = server.lathe("upload", model, check=False)
    assert run.returncode == 1 and "w.bin" in run.stderr


def test_the_report_says_whether_data_was_used(server, digits_model, tmp_path):
    np.savez(tmp_path / "d.npz", pixels=np.zeros((4, 64), np.float32))
    report = tmp_path / "r.json"
    server.lathe("compress", digits_model, "-o", tmp_path / "s.onnx", *INT8, "--data", f"test={tmp_path / 'd.npz'}",
                 "--report", report)
    datasets = json.loads(report.read_text())["inputs"]["datasets"]
    assert datasets[0]["role"] == "test" and datasets[0]["used"] is True
    server.lathe("compress", digits_model, "-o", tmp_path / "s.onnx", *INT8, "--data", f"test={tmp_path / 'd.npz'}",
                 "--report", report, "--evaluate", "task=none")
    told = json.loads(report.read_text())
    assert told["inputs"]["datasets"][0]["used"] is False and "evaluation" not in told


def test_a_recipe_file_as_yaml_and_as_json_gives_the_same_bytes(server, digits_model, tmp_path):
    (tmp_path / "r.yaml").write_text("steps:\n  - quantize_weights: {bits: 6, keep_small: 0}\n")
    (tmp_path / "r.json").write_text('{"steps": [{"quantize_weights": {"keep_small": 0.0, "bits": 6}}]}')
    for kind in ("yaml", "json"):
        server.lathe("compress", digits_model, "-o", tmp_path / f"{kind}.onnx", "--recipe", tmp_path / f"r.{kind}")
    assert (tmp_path / "yaml.onnx").read_bytes() == (tmp_path / "json.onnx").read_bytes()
