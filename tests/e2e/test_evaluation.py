"""Models measured on data: in compression jobs, and in evaluations of one model or two. ONNX Runtime is the referee."""

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import lathe
from onnx import TensorProto, helper, numpy_helper
from train_digits import digits_split

TWO_BITS = ["--step", "quantize_weights:bits=2,keep_small=0"]


@pytest.fixture(scope="module")
def digits_data(tmp_path_factory):
    """The test split, stored deflated."""
    _, x, _, y = digits_split()
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez_compressed(path, pixels=x, labels=y.astype(np.int64))
    return path


def right_answers(path):
    """How many test digits ONNX Runtime gets right, and the logits."""
    _, x, _, y = digits_split()
    (logits,) = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"pixels": x})
    return int((logits.argmax(axis=1) == y).sum()), logits


def model_of(path, nodes, inputs, outputs, weights=(), domains=()):
    def info(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(nodes, "g", [info(*i) for i in inputs], [info(*o) for o in outputs], list(weights))
    imports = [helper.make_opsetid("", 17), *(helper.make_opsetid(d, 1) for d in domains)]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = 8
    onnx.save(model, path)
    return path


def dense(name, rows, columns):
    values = np.random.default_rng(7).standard_normal((rows, columns)).astype(np.float32)
    return numpy_helper.from_array(values, name)


def test_a_compression_tells_accuracies_that_are_onnx_runtimes(server, digits_model, digits_data, tmp_path):
    small, report = tmp_path / "small.onnx", tmp_path / "r.json"
    run = server.lathe("compress", digits_model, "-o", small, "--report", report, "--data", f"test={digits_data}", *TWO_BITS)
    told = json.loads(report.read_text())
    evaluation = told["evaluation"]
    before, logits = right_answers(digits_model)
    after, small_logits = right_answers(small)
    assert after < before
    assert evaluation["examples"] == 360 and evaluation["task"] == "classification"
    assert round(evaluation["before"]["accuracy"] * 360) == before
    assert round(evaluation["after"]["accuracy"] * 360) == after
    assert evaluation["p_value"] < 0.05
    sqnr = 10 * np.log10((logits.astype(np.float64) ** 2).sum() / ((logits - small_logits).astype(np.float64) ** 2).sum())
    assert evaluation["fidelity"]["logits"]["sqnr_db"] == pytest.approx(sqnr, abs=0.01)
    # Each layer was looked at; the first one's input is the same in both models.
    layers = {layer["name"]: layer for layer in told["layers"]}
    assert layers["fc1"]["isolated_sqnr_db"] == pytest.approx(layers["fc1"]["output_sqnr_db"], abs=1e-6)
    assert all(0 < layers[name]["isolated_sqnr_db"] < 40 for name in ("fc1", "fc2", "fc3"))
    assert told["latency"]["before_ms"] > 0 and told["before"]["peak_activation_bytes"] > 0
    assert told["inputs"]["datasets"][0]["used"]
    assert "accuracy" in run.stdout and "SQNR" in run.stdout


def test_the_model_after_each_step_is_what_that_step_alone_gives(server, digits_model, digits_data, tmp_path):
    """The middle of the trace against a job that ends there, its ends against the report's own figures."""
    steps = ["--step", "prune_weights:sparsity=0.9", "--step", "quantize_weights:bits=2,keep_small=0"]

    def told(name, *flags, data=digits_data):
        report = tmp_path / f"{name}.json"
        run = server.lathe("compress", digits_model, "-o", tmp_path / f"{name}.onnx", "--report", report, "--data", f"test={data}", *flags)
        return json.loads(report.read_text()), run.stdout

    whole, text = told("whole", *steps)
    middle, _ = told("middle", *steps[:2])
    assert "trace" not in middle
    trace = whole["trace"]
    assert [(point["step"], point["method"]) for point in trace] == [(None, None), (0, "prune_weights"), (1, "quantize_weights")]
    assert {point["figure"] for point in trace} == {"accuracy"}
    assert [point["file_bytes"] for point in trace] == [whole["before"]["file_bytes"], middle["after"]["file_bytes"],
                                                        whole["after"]["file_bytes"]]
    assert [point["value"] for point in trace] == [whole["evaluation"]["before"]["accuracy"], middle["evaluation"]["after"]["accuracy"],
                                                   whole["evaluation"]["after"]["accuracy"]]
    assert trace[0]["value"] > trace[1]["value"] > trace[2]["value"]
    assert "step by step" in text and "1. prune_weights" in text
    assert "trace" not in told("without", *steps, "--evaluate", "each_step=false")[0]
    # Without labels outputs are compared with the original's.
    _, x, _, _ = digits_split()
    np.savez(tmp_path / "bare.npz", pixels=x)
    bare = told("bare", *steps, data=tmp_path / "bare.npz")[0]["trace"]
    alone = told("alone", *steps[:2], data=tmp_path / "bare.npz")[0]
    assert [point["figure"] for point in bare] == ["sqnr_db"] * 3 and bare[0]["value"] is None
    assert bare[1]["value"] == pytest.approx(alone["evaluation"]["fidelity"]["logits"]["sqnr_db"], abs=1e-9)
    assert bare[1]["value"] > bare[2]["value"]


def test_a_missed_constraint_fails_the_job_and_keeps_report_and_result(server, digits_model, digits_data, tmp_path):
    small = tmp_path / "small.onnx"
    run = server.lathe("compress", digits_model, "-o", small, "--data", f"test={digits_data}", *TWO_BITS,
                       "--constraint", "max_accuracy_drop=0.01", check=False)
    assert run.returncode == 3
    assert "TOLERANCE_NOT_MET" in run.stderr and "accuracy fell by" in run.stderr
    assert "MISSED: max_accuracy_drop" in run.stdout
    assert not small.exists()
    job = server.lathe_json("jobs", "--limit", "1")["jobs"][0]
    assert job["state"] == "JOB_STATE_FAILED" and job["error"]["reason"] == "JOB_ERROR_REASON_TOLERANCE_NOT_MET"
    assert job["result"]["rejected"] is True
    report = server.lathe_json("report", job["name"])
    assert report["constraints"] == [{"name": "max_accuracy_drop", "limit": 0.01, "met": False,
                                      "value": pytest.approx(report["constraints"][0]["value"]),
                                      "explanation": report["constraints"][0]["explanation"]}]
    rejected = tmp_path / "rejected.onnx"
    server.lathe("download", job["result"]["model"], "-o", rejected)
    onnx.checker.check_model(onnx.load(rejected))


def test_a_constraint_that_holds_changes_nothing(server, digits_model, digits_data, tmp_path):
    small = tmp_path / "small.onnx"
    run = server.lathe("compress", digits_model, "-o", small, "--data", f"test={digits_data}", "--step",
                       "quantize_weights:bits=8,keep_small=0", "--constraint", "max_accuracy_drop=0.01", "--constraint",
                       "max_file_ratio=0.3")
    assert small.exists() and "MISSED" not in run.stdout


def test_a_constraint_without_data_is_refused_before_any_work(server, digits_model, tmp_path):
    run = server.lathe("compress", digits_model, "-o", tmp_path / "s.onnx", *TWO_BITS, "--constraint",
                       "max_accuracy_drop=0.01", check=False)
    assert run.returncode == 3 and "INVALID_RECIPE" in run.stderr and "--data" in run.stderr


def test_one_model_is_evaluated_on_a_private_server(digits_model, digits_data, tmp_path):
    run = lathe("--json", "evaluate", digits_model, "--data", digits_data, env={"LATHE_SERVER": "", "TMPDIR": str(tmp_path)})
    report = json.loads(run.stdout)
    assert report["kind"] == "evaluation" and "after" not in report
    right, _ = right_answers(digits_model)
    assert round(report["evaluation"]["before"]["accuracy"] * 360) == right
    assert report["evaluation"]["after"] is None


def test_two_models_are_compared(server, digits_model, digits_data, tmp_path):
    small, page = tmp_path / "small.onnx", tmp_path / "page.html"
    server.lathe("compress", digits_model, "-o", small, *TWO_BITS)
    report = server.lathe_json("evaluate", digits_model, "--against", small, "--data", digits_data, "--html", page)
    assert report["kind"] == "comparison"
    assert round(report["evaluation"]["after"]["accuracy"] * 360) == right_answers(small)[0]
    assert report["after"]["file_bytes"] == small.stat().st_size
    assert "<html" in page.read_text()


def test_a_model_with_an_operator_that_cannot_run_is_compressed_all_the_same(server, tmp_path):
    model = model_of(tmp_path / "m.onnx",
                     [helper.make_node("MatMul", ["x", "w"], ["t"], name="mm"),
                      helper.make_node("Frobnicate", ["t"], ["y"], name="odd", domain="com.example")],
                     [("x", ["n", 64])], [("y", ["n", 64])], [dense("w", 64, 64)], ["com.example"])
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 64), np.float32))
    small, report = tmp_path / "s.onnx", tmp_path / "r.json"
    server.lathe("compress", model, "-o", small, "--report", report, "--data", tmp_path / "d.npz", "--step",
                 "quantize_weights:bits=8,keep_small=0")
    told = json.loads(report.read_text())
    assert "'odd'" in told["evaluation"]["not_evaluated"]
    assert small.stat().st_size < 0.5 * model.stat().st_size


def test_nan_outputs_are_reported_with_the_node_that_made_them(server, tmp_path):
    model = model_of(tmp_path / "m.onnx",
                     [helper.make_node("MatMul", ["x", "w"], ["t"], name="mm"),
                      helper.make_node("Log", ["t"], ["l"], name="log"),
                      helper.make_node("Add", ["l", "l"], ["y"], name="twice")],
                     [("x", ["n", 32])], [("y", ["n", 32])], [dense("w", 32, 32)])
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(1).standard_normal((4, 32)).astype(np.float32))
    report = server.lathe_json("evaluate", model, "--data", tmp_path / "d.npz")
    assert any("'log'" in warning and "NaN" in warning for warning in report["warnings"])
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize("command", ["evaluate", "compress", "submit"])
@pytest.mark.parametrize("arrays, flags, words", [
    ({"pixels": np.zeros((4, 63), np.float32)}, [], ["'pixels'", "float32 [batch,64]", "float32 [4,63]", "must be 64, not 63"]),
    ({"pixels": np.zeros((4, 64), "M8[D]")}, [], ["bad.npz", "pixels"]),
    ({"pixel": np.zeros((4, 64), np.float32), "more": np.zeros(4, np.float32)}, [], ["'pixel'", "did you mean 'pixels'"]),
    ({"labels": np.zeros(4, np.int64)}, [], ["no array for the input 'pixels'", "labels"]),
    ({"pixels": np.zeros((0, 64), np.float32)}, [], ["bad.npz", "no examples"]),
    ({"pixels": np.zeros((4, 64), np.float32), "labels": np.zeros(3, np.int64)}, [], ["'labels'", "3", "4"]),
    ({"pixels": np.zeros((4, 64), np.float32)}, ["--evaluate", "output=logit"], ["evaluate.output", "'logit'", "logits"]),
    ({"pixels": np.zeros((4, 64), np.float32)}, ["--preprocess", "resize=8|8"], ["pixels", "preprocess"]),
])
def test_what_headers_tell_is_said_before_there_is_a_job(server, digits_model, tmp_path, command, arrays, flags, words):
    np.savez(tmp_path / "bad.npz", **arrays)
    step = [] if command == "evaluate" else ["--step", "fp16"]
    step += ["-o", tmp_path / "out.onnx"] if command == "compress" else []
    jobs, models = server.lathe_json("jobs")["jobs"], server.lathe_json("models")
    run = server.lathe(command, digits_model, "--data", tmp_path / "bad.npz", *step, *flags, check=False)
    assert run.returncode not in (0, 3), run.stderr
    for word in words:
        assert word in run.stderr, run.stderr
    assert server.lathe_json("jobs")["jobs"] == jobs and server.lathe_json("models") == models, "nothing was sent"


@pytest.mark.parametrize("arrays, words", [
    ({"pixels": np.zeros((4, 64), np.float32), "labels": np.full(4, 10)}, ["labels", "10"]),
    ({"pixels": np.full((4, 64), np.nan, np.float32)}, ["pixels", "NaN"]),
])
def test_data_that_do_not_fit_fail_the_job_and_say_why(server, digits_model, tmp_path, arrays, words):
    np.savez(tmp_path / "bad.npz", **arrays)
    run = server.lathe("evaluate", digits_model, "--data", tmp_path / "bad.npz", check=False)
    assert run.returncode == 3
    assert "INVALID_DATASET" in run.stderr
    for word in words:
        assert word in run.stderr, run.stderr


@pytest.mark.parametrize("limit", ["storage", "memory", "compute", "energy"])
def test_advice_is_a_recipe_that_runs(server, digits_model, tmp_path, limit):
    recipe = tmp_path / "recipe.yaml"
    told = server.lathe("advise", digits_model, "--limit", limit, "-o", recipe)
    assert len(told.stdout.splitlines()) >= 2
    server.lathe("compress", digits_model, "-o", tmp_path / "s.onnx", "--recipe", recipe)
    assert (tmp_path / "s.onnx").stat().st_size < digits_model.stat().st_size
