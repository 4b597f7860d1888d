"""Real models through `lathe compress`, loaded by stock ONNX Runtime and compared on their outputs."""

import json

import numpy as np
import onnx
import pytest
import real_models
from conftest import run_ort, sqnr_db


def compress(server, source, target, steps):
    report = target.with_suffix(".json")
    arguments = [a for s in steps for a in ("--step", s)]
    server.lathe("compress", source, "-o", target, "--report", report, *arguments, timeout=600)
    return json.loads(report.read_text())


def worst_sqnr(name, source, target, seeds=(0, 1, 2)):
    """Lowest SQNR over the float outputs, each over all seeds together."""
    signal, noise = {}, {}
    for seed in seeds:
        feed = real_models.feeds(name, seed)
        before, after = run_ort(source, feed), run_ort(target, feed)
        for output, value in before.items():
            if value.dtype.kind != "f":
                continue
            assert value.shape == after[output].shape
            signal[output] = signal.get(output, 0) + np.sum(value.astype(np.float64) ** 2)
            noise[output] = noise.get(output, 0) + np.sum((value.astype(np.float64) - after[output]) ** 2)
    assert signal
    return min(10 * np.log10(signal[o] / max(noise[o], 1e-300)) for o in signal)


FLOAT_OUTPUT_MODELS = ["detector", "nudenet", "minilm"]


@pytest.mark.parametrize("name", FLOAT_OUTPUT_MODELS)
def test_int8_per_channel_keeps_the_outputs_at_a_quarter_of_the_size(server, tmp_path, name):
    source, target = real_models.fetch(name), tmp_path / "out.onnx"
    report = compress(server, source, target, ["quantize_weights:bits=8"])
    assert target.stat().st_size <= 0.28 * source.stat().st_size
    assert worst_sqnr(name, source, target) >= 35
    assert report["after"]["file_bytes"] == target.stat().st_size
    assert any(layer["bits"] == 8 for layer in report["layers"])


def test_int8_of_a_text_recognizer_whose_output_is_class_ids(server, tmp_path):
    # Its only declared output is integer; the logits before the ArgMax are compared where there are any, and the ids.
    source, target = real_models.fetch("ocr"), tmp_path / "out.onnx"
    compress(server, source, target, ["quantize_weights:bits=8"])
    assert target.stat().st_size <= 0.28 * source.stat().st_size
    for seed in range(3):
        feed = real_models.feeds("ocr", seed)
        (before,), (after,) = run_ort(source, feed).values(), run_ort(target, feed).values()
        if before.dtype.kind == "f":
            assert sqnr_db(before, after) >= 35
        else:
            assert np.mean(before == after) == 1


def test_int4_in_groups_of_the_transformer(server, tmp_path):
    source, target = real_models.fetch("minilm"), tmp_path / "out.onnx"
    compress(server, source, target, ["quantize_weights:bits=4,granularity=group,group_size=32"])
    assert target.stat().st_size <= 0.17 * source.stat().st_size
    assert worst_sqnr("minilm", source, target) >= 5


@pytest.mark.parametrize("name", ["detector", "nudenet", "minilm", "ocr"])
@pytest.mark.parametrize("step, most", [("fp16", 0.56), ("prune_weights:sparsity=0.3", 1.01),
                                        ("low_rank:energy=0.95", 1.01)])
def test_other_methods_give_a_model_that_runs(server, tmp_path, name, step, most):
    source, target = real_models.fetch(name), tmp_path / "out.onnx"
    report = compress(server, source, target, [step])
    assert target.stat().st_size <= most * source.stat().st_size
    feed = real_models.feeds(name, 0)
    before, after = run_ort(source, feed), run_ort(target, feed)
    assert {k: v.shape for k, v in before.items()} == {k: v.shape for k, v in after.items()}
    if step == "fp16":
        assert worst_sqnr(name, source, target) >= 40 if name != "ocr" else True
    assert report["layers"]


def test_an_already_quantized_model_is_left_alone_and_said_so(server, tmp_path):
    source, target = real_models.fetch("quantized_ocr"), tmp_path / "out.onnx"
    report = compress(server, source, target, ["quantize_weights:bits=8"])
    quantized = [layer for layer in report["layers"] if "already quantized" in (layer.get("skipped_reason") or "")]
    assert len(quantized) >= 20
    feed = real_models.feeds("quantized_ocr", 0)
    for before, after in zip(run_ort(source, feed).values(), run_ort(target, feed).values()):
        np.testing.assert_array_equal(before, after)


def test_three_steps_on_the_transformer(server, tmp_path):
    source, target = real_models.fetch("minilm"), tmp_path / "out.onnx"
    report = compress(server, source, target, ["prune_weights:sparsity=0.1", "low_rank:energy=0.9999",
                                               "quantize_weights:bits=8"])
    assert [s["method"] for s in report["steps"]] == ["prune_weights", "low_rank", "quantize_weights"]
    assert worst_sqnr("minilm", source, target) >= 10
    onnx.load(target)  # a well-formed file for other tools too
