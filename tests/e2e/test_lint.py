"""`lathe lint`: findings for people and for programs, by target, and the exit code that goes with them."""

import pathlib
import sys

import numpy as np
import onnx
import pytest
from conftest import lathe

sys.path.append(str(pathlib.Path(__file__).parents[1] / "conformance"))
import qdq_models as q  # noqa: E402  # pylint: disable=wrong-import-position
from onnxruntime_library import library  # noqa: E402  # pylint: disable=wrong-import-position

PRIVATE = {"LATHE_SERVER": ""}


@pytest.fixture(scope="module", name="slow_model")
def slow_model_fixture(tmp_path_factory):
    path = tmp_path_factory.mktemp("lint") / "slow.onnx"
    onnx.save(q.conv(activation="Relu"), path)
    return path


def test_what_is_slow_is_told_with_its_fix_and_an_exit_code_of_its_own(server, slow_model):
    run = server.lathe("lint", slow_model, check=False)
    assert run.returncode == 6, run.stderr
    assert run.stdout.startswith("slow: activation_range (vnni, avx2, arm)\n  Relu 'act', ")
    assert "\n  fix: let the range begin at 0" in run.stdout
    assert run.stdout.endswith("\n0 errors, 1 slow place, 0 notes for target portable\n")


def test_a_clean_model_exits_with_zero_on_a_private_server_too(digits_model):
    run = lathe("lint", digits_model, env=PRIVATE)
    assert run.stdout == "0 errors, 0 slow places, 0 notes for target portable\n"


def test_json_has_the_findings_of_the_target_alone(server, tmp_path):
    path = tmp_path / "saturates.onnx"
    onnx.save(q.conv(values=np.full((16, 16, 3, 3), 100, np.int8)), path)
    answer = server.lathe_json("lint", path, "--target", "vnni")
    assert (answer["target"], answer["errors"], answer["slow"]) == ("vnni", 0, 0)
    run = server.lathe("--json", "lint", path, "--target", "avx2", check=False)
    assert run.returncode == 6 and '"rule": "int16_saturation"' in run.stdout and run.stderr == ""
    summary = server.lathe_json("inspect", path)
    assert "int16_saturation" in [finding["rule"] for finding in summary["lint"]]
    assert "lint: 1 errors and 0 slow places" in server.lathe("inspect", path).stdout


def test_an_unknown_target_is_wrong_usage(slow_model):
    run = lathe("lint", slow_model, "--target", "toaster", check=False, env=PRIVATE)
    assert run.returncode == 2 and "toaster" in run.stderr


def test_onnxruntime_itself_is_asked_where_there_is_its_library(slow_model, digits_model, tmp_path):
    run = lathe("lint", slow_model, "--ort-library", library(), check=False, env=PRIVATE)
    assert run.returncode == 6, run.stderr
    assert "slow: not_fused" in run.stdout and "slow: activation_range" in run.stdout, run.stdout
    fused = tmp_path / "fused.onnx"
    onnx.save(q.conv(), fused)
    run = lathe("lint", fused, "--ort-library", library(), env=PRIVATE)
    assert run.stdout == "0 errors, 0 slow places, 0 notes for target portable\n"
    # A float model has nothing to fuse, and is not loaded.
    assert lathe("lint", digits_model, "--ort-library", library(), env=PRIVATE).returncode == 0


def test_a_file_that_onnxruntime_does_not_load_is_a_finding(tmp_path):
    path = tmp_path / "bad.onnx"
    model = q.conv()
    model.graph.node.append(onnx.helper.make_node("Unheard", [model.graph.output[0].name], ["extra"], domain="com.example"))
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    onnx.save(model, path)
    run = lathe("lint", path, "--ort-library", library(), check=False, env=PRIVATE)
    assert run.returncode == 6 and "error: not_loaded" in run.stdout and "Unheard" in run.stdout, run.stdout + run.stderr


def test_a_library_goes_with_a_private_server_alone(server, slow_model):
    run = server.lathe("lint", slow_model, "--ort-library", library(), check=False)
    assert run.returncode == 2 and "--ort-library is for a private server" in run.stderr
