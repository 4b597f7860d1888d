#!/usr/bin/env python3
"""Peak memory of the job process against the size of the model.

    bench/memory.py [--synthetic MB,MB...] [--recipe NAME ...] [--phases] [MODEL.onnx ...]

Runs `lathe-job` on each model with each recipe and prints VmHWM, as the process itself reports it, and
its ratio to the bytes of the model's files. `base` is the peak of a job on a model of a few weights: what
the program and its libraries take. Synthetic models: `transformer` (an embedding, attention and
feed-forward layers) and `one-layer` (all weights in one matrix, the worst case).

--phases samples RssAnon and RssFile as the job runs, and prints the largest sum seen in each stage.
--digests prints the SHA-256 of what was written, to compare builds.
"""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import tempfile
import threading
import time

import numpy as np
import onnx
from onnx import TensorProto, helper

ROOT = pathlib.Path(__file__).resolve().parents[1]
THREE_STEPS = [{"prune_weights": {"sparsity": 0.5}}, {"low_rank": {"parameter_ratio": 0.5}},
               {"quantize_weights": {"bits": 8, "granularity": "channel"}}]
RECIPES = {
    "8-bit": [{"quantize_weights": {"bits": 8, "granularity": "channel"}}],
    "4-bit": [{"quantize_weights": {"bits": 4, "granularity": "group", "group_size": 32}}],
    "asymmetric": [{"quantize_weights": {"bits": 8, "granularity": "channel", "symmetric": False}}],
    "fp16": [{"fp16": {}}],
    "prune": [{"prune_weights": {"sparsity": 0.5}}],
    "prune-global": [{"prune_weights": {"sparsity": 0.5, "scope": "global"}}],
    "sparse": [{"prune_weights": {"sparsity": 0.9, "storage": "sparse"}}],
    "low-rank": [{"low_rank": {"parameter_ratio": 0.5}}],
    "three-steps": THREE_STEPS,
}


def save(path, nodes, initializers, x_type, x_shape, external=False):
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", x_type, x_shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, save_as_external_data=external)


def weight(name, rng, *shape):
    values = rng.standard_normal(shape, dtype=np.float32)
    values *= np.float32(shape[0] ** -0.5)
    return helper.make_tensor(name, TensorProto.FLOAT, shape, values.tobytes(), raw=True)


def transformer(path, megabytes, external=False):
    """Half of the bytes and less in the embedding; the rest in layers of 12 d^2 weights."""
    d = 256 if megabytes < 20 else 512 if megabytes < 200 else 1024
    rng = np.random.default_rng(1)
    layers = max(1, round(megabytes * 1e6 * 0.6 / (48 * d * d)))
    words = max(64, int((megabytes * 1e6 - layers * 48 * d * d) / (4 * d)))
    initializers = [weight("embedding", rng, words, d)]
    nodes = [helper.make_node("Gather", ["embedding", "x"], ["h0"], name="embed")]
    at = "h0"
    for i in range(layers):
        for part, rows, columns in (("q", d, d), ("k", d, d), ("v", d, d), ("o", d, d), ("up", d, 4 * d),
                                    ("down", 4 * d, d)):
            name = f"{part}{i}"
            initializers.append(weight(f"{name}.w", rng, rows, columns))
            nodes.append(helper.make_node("MatMul", [at, f"{name}.w"], [f"{name}.y"], name=name))
            at = f"{name}.y"
    nodes.append(helper.make_node("Identity", [at], ["y"]))
    save(path, nodes, initializers, TensorProto.INT64, ["tokens"], external)


def one_layer(path, megabytes, external=False):
    rows = max(4, round(megabytes * 1e6 / 4 / 4096))
    w = weight("w", np.random.default_rng(2), rows, 4096)
    save(path, [helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")], [w], TensorProto.FLOAT, ["n", rows], external)


def model_files(model):
    """The model's file and its external data."""
    names = {model.name}
    proto = onnx.load(model, load_external_data=False)
    for tensor in proto.graph.initializer:
        names |= {entry.value for entry in tensor.external_data if entry.key == "location"}
    return [model.parent / name for name in sorted(names)]


def memory_of(pid):
    fields = {}
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            for line in f:
                if line.startswith("Rss"):
                    key, value = line.split()[:2]
                    fields[key[:-1]] = int(value) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return fields.get("RssAnon", 0), fields.get("RssFile", 0)


def run(job, model, recipe, threads, phases):
    """The result event, the seconds and (anonymous, file) bytes at the peak of each stage."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for name in ("output", "meta", "temp"):
            paths[f"{name}_folder"] = os.path.join(folder, name)
            os.mkdir(paths[f"{name}_folder"])
        spec = {"kind": "compress", "input_folder": str(model.parent), "main_file": model.name, **paths,
                "recipe_json": json.dumps({"steps": recipe, "seed": 1}), "bindings": {}, "threads": threads, "files": [],
                "datasets": [], "limits": {"memory_bytes": 0, "cpu_seconds": 0, "file_bytes": 0}, "parent_pid": 0}
        spec_path = os.path.join(folder, "spec.json")
        pathlib.Path(spec_path).write_text(json.dumps(spec))
        reading, writing = os.pipe()
        start = time.monotonic()
        process = subprocess.Popen(["/bin/sh", "-c", f"exec \"$0\" \"$1\" 3>&{writing}", str(job), spec_path],
                                   pass_fds=(writing,))
        os.close(writing)
        stage, stages, result = ["start"], {}, {}

        def listen():
            with os.fdopen(reading, encoding="utf-8") as events:
                for line in events:
                    event = json.loads(line)
                    stage[0] = event.get("stage", stage[0])
                    if "files" in event or "code" in event:
                        result.update(event)

        listener = threading.Thread(target=listen)
        listener.start()
        while process.poll() is None:
            if phases:
                now = memory_of(process.pid)
                if sum(now) > sum(stages.get(stage[0], (0, 0))):
                    stages[stage[0]] = now
            time.sleep(0.002 if phases else 0.02)
        listener.join()
        seconds = time.monotonic() - start
        if "files" not in result:
            raise SystemExit(f"{model}: the job failed ({process.returncode}): {result}")
        digests = []
        for file in result["files"]:
            with open(os.path.join(paths["output_folder"], file["path"]), "rb") as f:
                digests.append(hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest")
                               else hashlib.sha256(f.read()).hexdigest())
        result["sha256"] = " ".join(digests)
        return result, seconds, stages


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    parser.add_argument("--synthetic", default="100,400", help="megabytes of the synthetic models; '' for none")
    parser.add_argument("--shapes", default="transformer,one-layer")
    parser.add_argument("--recipe", action="append", choices=RECIPES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--job", type=pathlib.Path, default=ROOT / "build/release/bin/lathe-job")
    parser.add_argument("--phases", action="store_true")
    parser.add_argument("--digests", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = []
        for megabytes in filter(None, args.synthetic.split(",")):
            for shape in args.shapes.split(","):
                path = pathlib.Path(folder) / f"{shape}-{megabytes}" / "model.onnx"
                path.parent.mkdir()
                {"transformer": transformer, "one-layer": one_layer}[shape](path, float(megabytes))
                models.append((f"{shape} {megabytes}", path))
        models += [(path.stem, path.resolve()) for path in args.models]
        tiny = pathlib.Path(folder) / "tiny" / "model.onnx"
        tiny.parent.mkdir()
        one_layer(tiny, 0)
        base = run(args.job, tiny, RECIPES["8-bit"], args.threads, False)[0]["peak_rss_bytes"]
        print(f"base: {base / 1e6:.0f} MB")
        print(f"{'model':20} {'recipe':13} {'model MB':>9} {'peak MB':>8} {'ratio':>6} {'less base':>9} {'seconds':>8}")
        for name, model in models:
            size = sum(file.stat().st_size for file in model_files(model))
            for recipe in args.recipe or RECIPES:
                result, seconds, stages = run(args.job, model, RECIPES[recipe], args.threads, args.phases)
                peak = result["peak_rss_bytes"]
                print(f"{name:20} {recipe:13} {size / 1e6:9.1f} {peak / 1e6:8.1f} {peak / size:6.2f} "
                      f"{(peak - base) / size:9.2f} {seconds:8.2f}", flush=True)
                for stage, (anonymous, mapped) in stages.items():
                    print(f"    {stage:18} anonymous {anonymous / size:5.2f}  files {mapped / size:5.2f}")
                if args.digests:
                    print(f"    {result['sha256']}")


if __name__ == "__main__":
    main()
