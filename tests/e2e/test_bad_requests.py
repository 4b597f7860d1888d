"""Requests that name the wrong thing: recipes about another model, models that are not there, digests that do not match."""

import base64
import concurrent.futures
import hashlib
import json
import os
import pathlib
import subprocess

import bad_models as bad
import pytest
from conftest import GRPCURL
from test_bad_input import INT8, check_alive, check_failed, newest_job


@pytest.mark.parametrize("make, step, words", [
    (bad.without_weights, "quantize_weights:bits=8", ["no layer with constant weights", "Gemm", "Conv"]),
    (bad.without_weights, "low_rank:rank=2", ["no layer with constant weights"]),
    (bad.without_weights, "fp16", ["no layer with constant weights"]),
    (bad.only_a_3x3_conv, "low_rank:rank=2", ["'conv1'", "Conv", "docs/recipes.md"]),
    (bad.conv_and_matmul, "low_rank:rank=2,targets=conv1", ["'conv1'", "Conv"]),
    (lambda: bad.good_model().SerializeToString(), "prune_weights:sparsity=0.5,targets=conv*|layer?",
     ["steps[0].prune_weights.targets", "conv*, layer?", "'fc1', 'fc2'"]),
])
def test_a_recipe_about_another_model(server, tmp_path, make, step, words):
    path = tmp_path / "m.onnx"
    path.write_bytes(make())
    run = server.lathe("compress", path, "-o", tmp_path / "o.onnx", "--step", step, check=False)
    assert run.returncode == 3, run.stderr
    assert "INVALID_RECIPE" in run.stderr and not (tmp_path / "o.onnx").exists()
    check_failed(server, newest_job(server), words, reason="INVALID_RECIPE")
    server.lathe("inspect", path)  # nothing is wrong with the model
    check_alive(server, tmp_path, seed=300 + len(step))


def test_a_step_without_work_beside_one_that_has_some_is_told_in_the_report(server, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(bad.only_a_3x3_conv())
    report = tmp_path / "r.json"
    server.lathe("compress", path, "-o", tmp_path / "o.onnx", "--step", "low_rank:rank=2", *INT8, "--report", report)
    layer = json.loads(report.read_text())["layers"][0]
    assert layer["bits"] == 8 and layer["name"] == "conv1"


def test_a_job_on_a_model_that_is_not_there(server, tmp_path):
    run = server.lathe("submit", "models/nothere", *INT8, check=False)
    assert run.returncode == 1 and "models/nothere" in run.stderr
    inspected = server.lathe("inspect", "models/nothere", check=False)
    assert inspected.returncode == 1 and "models/nothere" in inspected.stderr
    error = server.grpcurl("lathe.v1.JobService/CreateJob", {"job": {"model": "models/nothere", "recipe": {
        "steps": [{"fp16": {}}]}}}, check=False)
    assert "FailedPrecondition" in error and "MODEL_NOT_FOUND" in error
    check_alive(server, tmp_path, seed=400)


def test_a_model_deleted_after_its_job_was_queued(new_server, tmp_path):
    server = new_server(workers=0).start()
    path = tmp_path / "m.onnx"
    path.write_bytes(bad.good_model().SerializeToString())
    model = server.lathe("upload", path).stdout.strip()
    job = server.lathe("submit", model, *INT8).stdout.strip()
    server.grpcurl("lathe.v1.ModelService/DeleteModel", {"name": model})
    server.stop()
    server.workers = 1
    server.restart()
    # Its blobs were promised to the job when it was acknowledged.
    assert server.lathe("wait", job).stdout.strip() == "SUCCEEDED"
    assert server.lathe("submit", model, *INT8, check=False).returncode == 1


def stream(server, method, messages):
    run = subprocess.run([GRPCURL, "-plaintext", "-d", "@", server.address, method],
                         input="\n".join(map(json.dumps, messages)), capture_output=True, text=True, timeout=60)
    return run.returncode, run.stdout + run.stderr


def test_a_digest_that_does_not_match_keeps_nothing(server, tmp_path):
    data = os.urandom(5000)
    wrong = hashlib.sha256(b"something else" + data[:8]).hexdigest()
    encoded = base64.b64encode(data).decode()
    error = server.grpcurl("lathe.v1.BlobService/PutBlob", {"digest": wrong, "data": encoded}, check=False)
    assert "InvalidArgument" in error and "DIGEST_MISMATCH" in error and wrong in error
    code, said = stream(server, "lathe.v1.BlobService/UploadBlob", [
        {"header": {"digest": wrong, "size_bytes": len(data)}}, {"chunk": encoded}])
    assert code and "InvalidArgument" in said and "DIGEST_MISMATCH" in said and wrong in said
    for path in ({"path": "m.onnx", "content": encoded, "digest": wrong}, {"path": "m.onnx", "digest": wrong}):
        error = server.grpcurl("lathe.v1.ModelService/CreateModel", {"model": {"files": [path]}}, check=False)
        assert isinstance(error, str) and wrong in error, error
    state = server.grpcurl("lathe.v1.BlobService/QueryUpload", {"digest": wrong})
    assert not state.get("complete", False) and int(state.get("committed_bytes", state.get("committedBytes", 0))) == 0
    assert "lathe_digest_mismatches_total" in server.metrics()
    check_alive(server, tmp_path, seed=401)


@pytest.mark.parametrize("digest", ["", "abc", "../../../etc/passwd", "A" * 64, "0" * 65])
def test_a_digest_that_is_none_is_refused(server, digest):
    error = server.grpcurl("lathe.v1.BlobService/GetBlob", {"digest": digest}, check=False)
    assert isinstance(error, str) and "InvalidArgument" in error and "digest" in error


def test_a_blob_damaged_on_the_servers_disk_fails_its_job_by_name(new_server, tmp_path):
    server = new_server(flags=["--retry-seconds", "0", "--max-attempts", "2"]).start()
    path = tmp_path / "m.onnx"
    path.write_bytes(bad.good_model().SerializeToString())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    model = server.lathe("upload", path).stdout.strip()
    [stored] = [p for p in pathlib.Path(server.data).rglob(f"*{digest[4:]}*") if p.is_file()]
    stored.chmod(0o600)
    damaged = bytearray(stored.read_bytes())
    damaged[100] ^= 1
    stored.write_bytes(damaged)
    job = server.lathe("submit", model, *INT8).stdout.strip()
    assert server.lathe("wait", job, "--timeout", "60s", check=False).returncode == 3
    error = server.lathe_json("job", job)["error"]
    assert digest in error["message"], error
    check_alive(server, tmp_path, seed=402)


@pytest.mark.parametrize("kept", [0, 100])
def test_a_blob_cut_short_on_the_servers_disk_is_replaced_by_uploading_it_again(new_server, tmp_path, kept):
    server = new_server().start()
    path = tmp_path / "m.onnx"
    path.write_bytes(bad.good_model().SerializeToString())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    server.lathe("upload", path)
    [stored] = [p for p in pathlib.Path(server.data).rglob(f"*{digest[4:]}*") if p.is_file()]
    stored.chmod(0o600)
    stored.write_bytes(stored.read_bytes()[:kept])
    model = server.lathe("upload", path).stdout.strip()
    assert stored.read_bytes() == path.read_bytes()
    job = server.lathe("submit", model, *INT8).stdout.strip()
    assert server.lathe("wait", job, "--timeout", "60s").returncode == 0


def test_64_duplicates_at_once_make_one_job(server, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(bad.good_model(seed=403).SerializeToString())
    model = server.lathe("upload", path).stdout.strip()
    request = {"job": {"model": model, "recipe": {"steps": [{"fp16": {}}]}}, "request_id": "the-same"}
    before = len(server.lathe_json("jobs", "-n", 1000)["jobs"])
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda _: server.grpcurl("lathe.v1.JobService/CreateJob", request), range(64)))
    assert len({a["name"] for a in answers}) == 1
    assert len(server.lathe_json("jobs", "-n", 1000)["jobs"]) == before + 1
    request["job"]["priority"] = 5
    error = server.grpcurl("lathe.v1.JobService/CreateJob", request, check=False)
    assert isinstance(error, str) and "InvalidArgument" in error and "REQUEST_ID_REUSED" in error
    assert "the-same" in error
