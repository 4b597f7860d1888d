"""Bad models: a clear error that names what and where, one attempt, and a server that goes on working.

Each goes in by `lathe compress` and by `lathe inspect`. What the client would refuse goes in by grpcurl.
"""

import base64
import math
import os

import bad_models as bad
import pytest

INT8 = ["--step", "quantize_weights:bits=8,keep_small=0"]
PRUNE = ["--step", "prune_weights:sparsity=0.5"]

# name -> bytes of m.onnx, words of the error
MODELS = {
    "empty": (lambda: b"", ["m.onnx", "is empty", "upload the model again"]),
    "truncated": (bad.truncated, ["m.onnx", "at byte", "truncated", "export or copy it again"]),
    "random": (bad.random_bytes, ["m.onnx"]),
    "text": (lambda: b"<html>not found</html>", ["m.onnx"]),
    "graph_claims_2_gb": (bad.graph_that_claims_2_gb, ["m.onnx", "claims 2147483647 bytes", "truncated"]),
    "weight_claims_2_gb": (bad.weight_that_claims_2_gb, ["m.onnx", "claims 2147483647 bytes", "initializer"]),
    "nested_graphs": (bad.nested_graphs, ["m.onnx", "deep"]),
    "nested_types": (bad.nested_types, ["m.onnx", "deep"]),
    "nested_groups": (bad.nested_groups, ["m.onnx", "deep"]),
    "no_opset": (bad.no_opset, ["opset"]),
    "dims_overflow": (lambda: bad.with_tensor(bad.tensor([2**40, 2**40], raw_data=b"\0" * 64)),
                      ["'w'", "1099511627776"]),
    "dims_claim_2_gb": (lambda: bad.with_tensor(bad.tensor([2**29], raw_data=b"\0" * 64)), ["'w'", "2147483648", "64"]),
    "dims_negative": (lambda: bad.with_tensor(bad.tensor([16, -16], raw_data=b"\0" * 64)), ["'w'", "-16"]),
    "data_too_short": (lambda: bad.with_tensor(bad.tensor([16, 16], raw_data=b"\0" * 1000)), ["'w'", "1024", "1000"]),
    "data_too_long": (lambda: bad.with_tensor(bad.tensor([16, 16], raw_data=b"\0" * 1028)), ["'w'", "1024", "1028"]),
    "typed_data_too_short": (lambda: bad.with_tensor(bad.tensor([16, 16], float_data=[1.0] * 255)),
                             ["'w'", "1024", "1020"]),
    "data_twice": (lambda: bad.with_tensor(bad.tensor([1], raw_data=b"\0" * 4, float_data=[1.0])),
                   ["'w'", "raw_data", "float_data"]),
    "cycle": (bad.cycle, ["'a'", "'b'", "cycle"]),
    "missing_input": (bad.missing_input, ["'reader'", "'nowhere'"]),
    "duplicate_outputs": (bad.duplicate_outputs, ["'first'", "'second'", "'y'", "twice"]),
    "output_of_nobody": (bad.output_of_nobody, ["'phantom'"]),
}


def check_failed(server, job, words, reason="INVALID_MODEL"):
    """The job failed for good on its first attempt, and says why."""
    shown = server.lathe_json("job", job)
    assert shown["state"] == "JOB_STATE_FAILED", shown
    assert shown["error"]["reason"] == f"JOB_ERROR_REASON_{reason}", shown["error"]
    assert shown["attempt_count"] == 1 and not shown["error"]["will_retry"], shown
    for word in words:
        assert word in shown["error"]["message"], shown["error"]["message"]


def check_alive(server, tmp_path, seed):
    """The same server and worker do a good job: a new model each time, so that no cache answers."""
    assert server.process.poll() is None, server.log()
    good = tmp_path / "good.onnx"
    good.write_bytes(bad.good_model(seed=seed).SerializeToString())
    server.lathe("compress", good, "-o", tmp_path / "good.out.onnx", *INT8)
    assert "local worker ended" not in server.log()


def newest_job(server):
    return server.lathe_json("jobs", "-n", 1)["jobs"][0]["name"]


@pytest.mark.parametrize("name", MODELS)
def test_a_bad_model_is_named_with_its_fault(server, tmp_path, name):
    make, words = MODELS[name]
    path = tmp_path / "m.onnx"
    path.write_bytes(make())
    run = server.lathe("compress", path, "-o", tmp_path / "o.onnx", *INT8, check=False)
    assert run.returncode == 3, run.stderr
    assert "INVALID_MODEL" in run.stderr and not (tmp_path / "o.onnx").exists()
    for word in words:
        assert word in run.stderr, run.stderr
    check_failed(server, newest_job(server), words)
    inspected = server.lathe("inspect", path, check=False)
    assert inspected.returncode in (1, 2), inspected.stderr
    for word in words:
        assert word in inspected.stderr, inspected.stderr
    check_alive(server, tmp_path, seed=10 + list(MODELS).index(name))


@pytest.mark.parametrize("value, word", [(math.nan, "NaN"), (math.inf, "infinite"), (-math.inf, "infinite")])
@pytest.mark.parametrize("step", ["quantize_weights:bits=8,keep_small=0", "quantize_weights:bits=4,granularity=group",
                                  "prune_weights:sparsity=0.5", "prune_weights:sparsity=0.5,scope=global",
                                  "low_rank:rank=2"])
def test_weights_that_are_not_finite_are_named_by_layer(server, tmp_path, value, word, step):
    path = tmp_path / "m.onnx"
    path.write_bytes(bad.not_finite(value))
    run = server.lathe("compress", path, "-o", tmp_path / "o.onnx", "--step", step, check=False)
    assert run.returncode == 3, run.stderr
    check_failed(server, newest_job(server), ["'fc2'", word])
    assert "fc2" in server.lathe("inspect", path).stdout  # a look at it harms nobody


def test_finite_layers_of_such_a_model_can_be_had(server, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(bad.not_finite(math.nan))
    server.lathe("compress", path, "-o", tmp_path / "o.onnx", "--step", "prune_weights:sparsity=0.5,skip=fc2")


@pytest.mark.parametrize("location, words", [
    ("../outside.bin", ["../outside.bin", "leaves the model's folder"]),
    ("sub/../../outside.bin", ["sub/../../outside.bin", "leaves the model's folder"]),
    ("/etc/hostname", ["/etc/hostname", "leaves the model's folder"]),
    ("link.bin", ["link.bin", "outside.bin", "copy the file"]),
    ("folder/outside.bin", ["folder/outside.bin", "link", "copy the file"]),
    ("gone.bin", ["gone.bin", "is not there"]),
])
def test_external_data_outside_the_folder_is_never_uploaded(server, tmp_path, location, words):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "outside.bin").write_bytes(os.urandom(1024))
    os.symlink(tmp_path / "outside.bin", folder / "link.bin")
    os.symlink(tmp_path, folder / "folder")
    path = folder / "m.onnx"
    path.write_bytes(bad.external(location))
    before = server.lathe_json("models", "-n", 1000)["models"]
    for command in (["upload", path], ["inspect", path], ["compress", path, "-o", tmp_path / "o.onnx", *INT8]):
        run = server.lathe(*command, check=False)
        assert run.returncode in (1, 2), run.stderr
        for word in words:
            assert word in run.stderr, run.stderr
    assert server.lathe_json("models", "-n", 1000)["models"] == before


def test_a_cache_that_links_to_a_folder_of_blobs_is_no_escape(server, tmp_path):
    """As model hubs keep files: names in one folder, contents in another, under their digests."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    (blobs / "a1").write_bytes(bad.external("w.bin"))
    (blobs / "b2").write_bytes(bad.weight().raw_data)
    os.symlink("../../blobs/a1", snapshot / "m.onnx")
    os.symlink("../../blobs/b2", snapshot / "w.bin")
    server.lathe("compress", snapshot / "m.onnx", "-o", tmp_path / "o.onnx", *INT8)


@pytest.mark.parametrize("location, files, words", [
    ("../w.bin", {"w.bin": 1024}, ["'w'", "../w.bin"]),
    ("/etc/hostname", {}, ["'w'", "/etc/hostname"]),
    ("w.bin", {}, ["'w'", "w.bin", "does not exist"]),
    ("w.bin", {"w.bin": 1000}, ["'w'", "w.bin", "1000"]),
    ("sub", {"sub/w.bin": 1024}, ["'w'", "sub", "not a regular file"]),
])
def test_the_engine_refuses_external_data_by_itself(server, tmp_path, location, files, words):
    """The client cannot be trusted: the same by bare RPC."""
    encode = lambda data: base64.b64encode(data).decode()
    model = server.grpcurl("lathe.v1.ModelService/CreateModel", {"model": {"main_file": "m.onnx", "files": [
        {"path": "m.onnx", "content": encode(bad.external(location))},
        *({"path": p, "content": encode(bytes(size))} for p, size in files.items())]}})["name"]
    job = server.lathe("submit", model, *INT8).stdout.strip()
    assert server.lathe("wait", job, check=False).returncode == 3
    check_failed(server, job, words)
    inspected = server.lathe("inspect", model, check=False)
    assert inspected.returncode in (1, 2)
    for word in words:
        assert word in inspected.stderr
    check_alive(server, tmp_path, seed=100 + len(words) + sum(files.values()))


@pytest.mark.parametrize("length, offset, words", [
    (1000, 0, ["'w'", "1000", "1024"]),
    (1024, 4, ["'w'", "w.bin"]),
    (2**63, 0, ["'w'", "9223372036854775808"]),
    (1024, 2**63 - 1, ["'w'", "w.bin"]),
    (-1, 0, ["'w'", "-1"]),
])
def test_external_ranges_that_do_not_fit_are_refused(server, tmp_path, length, offset, words):
    path = tmp_path / "m.onnx"
    path.write_bytes(bad.external("w.bin", length=length, offset=offset))
    (tmp_path / "w.bin").write_bytes(bytes(1024))
    run = server.lathe("compress", path, "-o", tmp_path / "o.onnx", *INT8, check=False)
    assert run.returncode == 3, run.stderr
    check_failed(server, newest_job(server), words)
