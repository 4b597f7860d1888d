#!/usr/bin/env python3
"""Integer models by Lathe's defaults against ONNX Runtime's own quantizers (and NNCF's): same model, data and run.

    bench/quantization.py [--only NAME,...] [--peers minmax,percentile,entropy,dynamic,nncf] [--examples N] [--rounds N]

Prints for each model and tool the signal-to-noise ratio of the worst output on examples that no tool has seen, the latency
in ONNX Runtime (one thread, batch 1, float and integer runs taken in turns) as a fraction of float's, and the file as a
fraction of the original's. Models: nets with random weights of tests/conformance/integer_nets.py, and the real models of
tests/e2e/real_models.py on smooth pictures and token ids. Peers get the model lifted to opset 17. NNCF must be installed
(pip install nncf) to take part.
"""

import argparse
import contextlib
import io
import logging
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import onnx
import onnxruntime as ort

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "tests/conformance"), str(ROOT / "tests/e2e")]
import real_models  # noqa: E402
from integer_nets import NETS  # noqa: E402

LATHE = os.environ.get("LATHE", str(ROOT / "build/release/bin/lathe"))
PEERS = ["minmax", "percentile", "entropy", "dynamic", "nncf"]


def session(path):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def example(arrays, i):
    return {k: v[i:i + 1] for k, v in arrays.items()}


def worst_db(before, after, arrays):
    a, b = session(before), session(after)
    signal, noise = {}, {}
    for i in range(len(next(iter(arrays.values())))):
        for j, (x, y) in enumerate(zip(a.run(None, example(arrays, i)), b.run(None, example(arrays, i)))):
            if x.dtype == np.float32 and x.shape == y.shape:
                signal[j] = signal.get(j, 0) + float((x.astype(np.float64) ** 2).sum())
                noise[j] = noise.get(j, 0) + float(((x.astype(np.float64) - y) ** 2).sum())
    return min(10 * np.log10(signal[j] / max(noise[j], 1e-30)) for j in signal)


def latency_ratio(before, after, arrays, rounds):
    """Median over rounds of (time of `after`) / (time of `before`), both run in turns."""
    a, b, feeds = session(before), session(after), example(arrays, 0)

    def timed(s):
        start = time.perf_counter()
        s.run(None, feeds)
        return time.perf_counter() - start

    once = max(min(timed(a) for _ in range(3)), 1e-6)
    repeat = max(1, int(0.005 / once))
    ratios = []
    for _ in range(rounds):
        x = min(timed(a) for _ in range(repeat + 1))
        y = min(timed(b) for _ in range(repeat + 1))
        ratios.append(y / x)
    return statistics.median(ratios)


def calibration_reader(arrays):
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.at = 0

        def get_next(self):
            if self.at >= len(next(iter(arrays.values()))):
                return None
            self.at += 1
            return example(arrays, self.at - 1)

    return Reader()


def lifted(source, folder):
    model = onnx.load(source)
    if next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) < 17:
        model = onnx.version_converter.convert_version(model, 17)
    path = folder / "lifted.onnx"
    onnx.save(model, path)
    return path


def by_peer(peer, source, arrays, folder):
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    target, prepared = folder / f"{peer}.onnx", folder / "prepared.onnx"
    if peer == "nncf":
        import nncf

        model = onnx.load(lifted(source, folder))
        data = nncf.Dataset([example(arrays, i) for i in range(len(next(iter(arrays.values()))))])
        onnx.save(nncf.quantize(model, data, subset_size=len(next(iter(arrays.values())))), target)
        return target
    quant_pre_process(str(lifted(source, folder)), str(prepared), skip_symbolic_shape=True)
    if peer == "dynamic":
        quantize_dynamic(str(prepared), str(target), per_channel=True, weight_type=QuantType.QInt8)
    else:
        method = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}[peer]
        quantize_static(str(prepared), str(target), calibration_reader(arrays), quant_format=QuantFormat.QDQ,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True,
                        calibrate_method=getattr(CalibrationMethod, method))
    return target


def by_lathe(source, arrays, folder, flags=()):
    target, data = folder / "lathe.onnx", folder / "calibration.npz"
    np.savez(data, **arrays)
    subprocess.run([LATHE, "compress", source, "-o", target, "--step", "quantize_activations", "--data", f"calibration={data}",
                    "--evaluate", "task=none", *flags], check=True, capture_output=True)
    return target


def data_of_real(name, count, seed):
    rng = np.random.default_rng(seed)
    if name == "minilm":
        ids = np.zeros((count, 24), np.int64)
        mask = np.zeros((count, 24), np.int64)
        for i in range(count):
            n = rng.integers(6, 25)
            ids[i, 0], ids[i, n - 1], mask[i, :n] = 101, 102, 1
            ids[i, 1:n - 1] = np.minimum(999 + rng.zipf(1.25, n - 2) % 20000, 29999)
        return {"input_ids": ids, "attention_mask": mask}
    key, shape, scale, shift = {"ocr": ("input1", (1, 64, 160), 2, -1), "detector": ("images", (3, 416, 416), 255, 0),
                                "nudenet": ("images", (3, 320, 320), 1, 0)}[name]
    return {key: real_models.picture(rng, (count, *shape)) * np.float32(scale) + np.float32(shift)}


def main():
    names = [*NETS, "ocr", "detector", "nudenet", "minilm"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(names))
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    print(f"{'model':20} {'tool':11} {'SQNR dB':>8} {'latency':>8} {'size':>6}   (latency and size: of float's)")
    for name in args.only.split(","):
        with tempfile.TemporaryDirectory() as text:
            folder = pathlib.Path(text)
            if name in NETS:
                model, data = NETS[name]()
                source = folder / "float.onnx"
                onnx.save(model, source)
                calibration, unseen = data(np.random.default_rng(1), args.examples), data(np.random.default_rng(2), 32)
            else:
                source = real_models.fetch(name)
                calibration, unseen = data_of_real(name, args.examples, 1), data_of_real(name, 16, 2)
            for tool in ["lathe", *filter(None, args.peers.split(","))]:
                try:
                    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                        make = by_lathe if tool == "lathe" else lambda *a, tool=tool: by_peer(tool, *a)
                        target = make(source, calibration, folder)
                        db, ratio = worst_db(source, target, unseen), latency_ratio(source, target, unseen, args.rounds)
                    size = target.stat().st_size / pathlib.Path(source).stat().st_size
                    print(f"{name:20} {tool:11} {db:8.1f} {ratio:8.2f} {size:6.3f}", flush=True)
                except Exception as error:  # noqa: BLE001: a peer that fails is a row of the table
                    print(f"{name:20} {tool:11} failed: {type(error).__name__}: {str(error)[:90]}", flush=True)


if __name__ == "__main__":
    main()
