"""`--json`: every command prints JSON alone on standard output, on success and on failure, with the documented exit code."""

import json
import re

import numpy as np
import pytest
from conftest import lathe

STEP = ["--step", "quantize_weights:bits=8"]
STREAMS = {"watch", "logs"}


def commands():
    text = lathe("--help").stdout
    return re.findall(r"^ {2}([a-z]+) {2,}\S", text[text.index("Subcommands:"):], re.MULTILINE)


@pytest.fixture(scope="module")
def job(server, digits_model):
    name = server.lathe("submit", digits_model, *STEP).stdout.strip()
    server.lathe("wait", name)
    return name


def successes(job, model, folder):
    """command -> arguments with which it succeeds, in an order that works."""
    np.savez(folder / "d.npz", pixels=np.zeros((4, 64), np.float32), labels=np.arange(4))
    return {
        "compress": [model, "-o", folder / "c.onnx", *STEP],
        "evaluate": [model, "--data", folder / "d.npz"],
        "advise": [model],
        "upload": [model],
        "models": [],
        "inspect": [model],
        "lint": [model],
        "submit": [model, *STEP],
        "jobs": [],
        "job": [job],
        "wait": [job],
        "watch": [job],
        "logs": [job],
        "cancel": [job],
        "retry": [job],
        "report": [job],
        "download": [job, "-o", folder / "d.onnx"],
        "delete": [job],
        "capabilities": [],
        "workers": [],
    }


def test_every_command_succeeds_in_json(server, digits_model, job, tmp_path):
    arguments = successes(job, digits_model, tmp_path)
    assert set(arguments) == set(commands())
    for command in [c for c in arguments if c != "delete"] + ["delete"]:
        run = server.lathe("--json", command, *arguments[command])
        assert run.stderr == "", f"{command}: {run.stderr}"
        documents = run.stdout.splitlines() if command in STREAMS else [run.stdout]
        assert documents or command == "logs", command
        for document in documents:
            assert isinstance(json.loads(document), dict), f"{command}: {document}"


def failures(folder, model):
    """command -> (arguments with which it is refused, exit code)."""
    unknown = {c: (["jobs/none"], 1) for c in ("job", "wait", "watch", "logs", "cancel", "retry", "report", "delete")}
    return {**unknown,
            "compress": ([model, "-o", folder / "c.onnx", "--step", "quantize_weights:bits=9"], 2),
            "evaluate": (["models/none"], 2),
            "advise": (["models/none"], 1),
            "upload": ([folder / "none.onnx"], 2),
            "models": (["--limit", "0"], 2),
            "inspect": (["models/none"], 1),
            "lint": (["models/none"], 1),
            "submit": (["models/none", *STEP], 1),
            "jobs": (["--state", "sleeping"], 2),
            "download": (["models/none", "-o", folder / "d.onnx"], 1),
            "capabilities": (["stray"], 2),
            "workers": (["--no-such-flag"], 2)}


def test_every_command_fails_in_json(server, digits_model, tmp_path):
    arguments = failures(tmp_path, digits_model)
    assert set(arguments) == set(commands())
    for command, (args, code) in arguments.items():
        run = server.lathe("--json", command, *args, check=False)
        assert run.returncode == code, f"{command}: {run.returncode} {run.stderr}"
        error = json.loads(run.stdout)["error"]
        assert error["exit_code"] == code and error["message"] and error["code"], f"{command}: {error}"
        assert run.stderr, command


def test_nobody_there_and_no_command_at_all_are_json_too():
    run = lathe("--server", "127.0.0.1:1", "--connect-timeout", 0, "--json", "jobs", check=False)
    assert run.returncode == 5 and json.loads(run.stdout)["error"]["code"] == "UNAVAILABLE"
    run = lathe("--json", check=False)
    assert run.returncode == 2 and json.loads(run.stdout)["error"]["exit_code"] == 2


def test_a_refused_request_carries_its_reason_and_its_fields(server):
    run = server.lathe("--json", "submit", "models/NOT-A-NAME", *STEP, check=False)
    error = json.loads(run.stdout)["error"]
    assert run.returncode == 2 and error["reason"] == "BAD_REQUEST"
    assert [f["field"] for f in error["fields"]] == ["job.model"]


def test_a_job_that_failed_says_why_in_json(server, tmp_path):
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"\x00\x01 this is no model" * 50)
    run = server.lathe("--json", "compress", garbage, "-o", tmp_path / "o.onnx", *STEP, check=False)
    answer = json.loads(run.stdout)
    assert run.returncode == 3 and answer["job"]["error"]["reason"] == "JOB_ERROR_REASON_INVALID_MODEL"
    assert answer["files"] == [] and answer["report"] is None
