"""grpcurl alone, by reflection, drives the whole service: upload, job, wait, report, bytes."""

import base64
import hashlib
import json
import subprocess

from conftest import GRPCURL, run_ort, sqnr_db
import numpy as np


def test_reflection_lists_every_service(server):
    listed = subprocess.run([GRPCURL, "-plaintext", server.address, "list"], capture_output=True, text=True, check=True)
    for service in ("BlobService", "ModelService", "DatasetService", "JobService", "CapabilityService", "WorkerService"):
        assert f"lathe.v1.{service}" in listed.stdout
    described = subprocess.run([GRPCURL, "-plaintext", server.address, "describe", "grpc.health.v1.Health"],
                               capture_output=True, text=True)
    assert "rpc Check" in described.stdout, described.stderr
    assert server.grpcurl("grpc.health.v1.Health/Check", {})["status"] == "SERVING"


def test_whole_path_in_unary_calls(server, digits_model, tmp_path):
    original = digits_model.read_bytes()
    blob = server.grpcurl("lathe.v1.BlobService/PutBlob", {"data": base64.b64encode(original).decode()})
    assert blob["digest"] == hashlib.sha256(original).hexdigest()
    model = server.grpcurl("lathe.v1.ModelService/CreateModel", {
        "model": {"displayName": "digits", "files": [{"path": "digits.onnx", "digest": blob["digest"]}]}})
    job = server.grpcurl("lathe.v1.JobService/CreateJob", {
        "job": {"model": model["name"],
                "recipe": {"steps": [{"quantize_weights": {"bits": 8, "keep_small": 0}}]}},
        "request_id": "grpcurl-1"})
    done = server.grpcurl("lathe.v1.JobService/WaitJob", {"name": job["name"], "timeout": "60s"})
    assert done["state"] == "JOB_STATE_SUCCEEDED", done
    report = server.grpcurl("lathe.v1.JobService/GetReport", {"name": job["name"]})
    assert report["report"]["before"]["file_bytes"] == len(original)
    assert report["report"]["after"]["file_bytes"] < 0.30 * len(original)
    assert "fc1" in report["text"]
    result = done["result"]["files"][0]
    bytes_ = base64.b64decode(server.grpcurl("lathe.v1.BlobService/GetBlob", {"digest": result["digest"]})["data"])
    assert hashlib.sha256(bytes_).hexdigest() == result["digest"]
    small = tmp_path / "small.onnx"
    small.write_bytes(bytes_)
    x = np.random.default_rng(0).random((32, 64), np.float32)
    assert sqnr_db(run_ort(digits_model, {"pixels": x})["logits"], run_ort(small, {"pixels": x})["logits"]) > 35


def test_a_model_can_be_made_with_its_content_inline(server, digits_model):
    content = base64.b64encode(digits_model.read_bytes()).decode()
    model = server.grpcurl("lathe.v1.ModelService/CreateModel", {
        "model": {"files": [{"path": "m.onnx", "content": content}]}})
    assert model.get("main_file", model.get("mainFile")) == "m.onnx", model  # as grpcurl of this or that version spells it
    summary = server.grpcurl("lathe.v1.ModelService/InspectModel", {"name": model["name"]})
    assert "Gemm" in json.dumps(summary["summary"])


def test_a_bad_recipe_is_refused_with_field_paths(server, digits_model):
    content = base64.b64encode(digits_model.read_bytes()).decode()
    model = server.grpcurl("lathe.v1.ModelService/CreateModel", {
        "model": {"files": [{"path": "m.onnx", "content": content}]}})
    error = server.grpcurl("lathe.v1.JobService/CreateJob", {
        "job": {"model": model["name"], "recipe": {"steps": [{"fp16": {}}, {"quantize_weights": {"bits": 9}}]}}},
        check=False)
    assert isinstance(error, str) and "InvalidArgument" in error
    assert "recipe.steps[1].quantize_weights.bits" in error
    assert "[2, 8]" in error and "got 9" in error
