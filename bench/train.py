#!/usr/bin/env python3
"""Images (or sequences) a second of training: Lathe against PyTorch, same nets, parameters, data and run.

    bench/train.py [--only NAME,...] [--threads 1,2] [--seconds S] [--rounds N] [--torch PYTHON]

A step is forwards, cross-entropy, backwards and Nesterov's SGD on one batch (bench/train_models.py has the nets). Both take
turns, --rounds times; the table has the best of the rounds' fastest steps (the fastest tenth's slowest), the ratio, that of
examples a second of processor time (which other programs on the machine disturb less), the loss
of the first step of both, which must be equal, and the page faults of a steady step of Lathe's. PyTorch is run by the
interpreter --torch (this one by default), in eager mode.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from train_models import NETS, build  # noqa: E402

BENCH = os.environ.get("BENCH_TRAIN", str(HERE.parent / "build/release/bin/bench_train"))


def write(name, folder):
    import onnx
    from onnx import helper, numpy_helper
    model, parameters, x, labels = build(name)
    onnx.save(model, folder / "model.onnx")
    arrays = parameters | {"x": x, "labels": labels}
    holder = helper.make_graph([], "inputs", [], [], [numpy_helper.from_array(v, k) for k, v in arrays.items()])
    onnx.save(helper.make_model(holder, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), folder / "inputs.onnx")
    np.savez(folder / "arrays.npz", **arrays)


def run(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(NETS))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--torch", default=sys.executable)
    options = parser.parse_args()
    torch = subprocess.run([options.torch, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True,
                           check=False)
    has_torch = torch.returncode == 0
    print(f"PyTorch {torch.stdout.strip()}" if has_torch else "PyTorch not installed: Lathe alone")
    print(f"{'net':<12} {'threads':>7} {'Lathe/s':>9} {'PyTorch/s':>9} {'ratio':>6} {'of CPU':>6} {'first loss':>19} {'faults':>7} {'MiB':>6}")
    for name in options.only.split(","):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            write(name, folder)
            for threads in options.threads.split(","):
                ours, theirs = [], []
                for _ in range(options.rounds):
                    ours.append(run([BENCH, threads, options.seconds, folder]))
                    if has_torch:
                        theirs.append(run([options.torch, HERE / "train_torch.py", name, folder / "arrays.npz", threads,
                                           options.seconds]))
                mine = max(o["best"] for o in ours)
                peer = max((t["best"] for t in theirs), default=float("nan"))
                cpu = max(o["cpu"] for o in ours) / max((t["cpu"] for t in theirs), default=float("nan"))
                peer_loss = theirs[0]["first_loss"] if theirs else float("nan")
                print(f"{name:<12} {threads:>7} {mine:>9.0f} {peer:>9.0f} {mine / peer:>6.2f} {cpu:>6.2f} "
                      f"{ours[0]['first_loss']:>9.5f} {peer_loss:>9.5f} {min(o['faults'] for o in ours):>7.1f} "
                      f"{ours[0]['bytes'] / 2 ** 20:>6.0f}", flush=True)


main()
