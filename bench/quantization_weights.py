#!/usr/bin/env python3
"""Data-aware weight rounding against rounding to nearest, on sentences that calibration did not see.

    bench/quantization_weights.py [--tool build/release/bin/lathe_test_tool] [--layer build/release/bin/bench_gptq]

MiniLM-L3 in ONNX Runtime, 1 - cosine between the sentence embeddings of the compressed model and of the original, mean over 256 sentences
of Python's own documentation; 256 others calibrate. With `blingfire` installed (pip install blingfire) sentences are split into the word
pieces the model was trained on; without it ids are drawn at random, and the table says so.
"""

import argparse
import json
import os
import pathlib
import pydoc_data.topics
import re
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime as ort

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import real_models  # noqa: E402

LENGTH = 48
GROUP = {"bits": 4, "granularity": "group", "group_size": 32}
RECIPES = {
    "nearest": {},
    "nearest, clip: output": {"clip": "output"},
    "hqq": {"algorithm": "hqq"},
    "hqq, asymmetric": {"algorithm": "hqq", "symmetric": False},
    "gptq": {"algorithm": "gptq"},
    "gptq, clip: output": {"algorithm": "gptq", "clip": "output"},
    "gptq, act_order": {"algorithm": "gptq", "act_order": True},
    "awq": {"algorithm": "awq"},
    "adaround": {"algorithm": "adaround"},
    "adaround, clip: output": {"algorithm": "adaround", "clip": "output"},
}
TABLES = "*embeddings*"  # the three tables that words, places and segments are looked up in


def sentences(count, seed):
    """Token ids [count, LENGTH] with their mask, and how they were made."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((count, LENGTH), np.int64)
    try:
        import blingfire
    except ImportError:
        for row in ids:
            length = rng.integers(8, LENGTH)
            row[:length] = rng.integers(1000, 30000, length)
        return ids, (ids != 0).astype(np.int64), "random ids"
    model = blingfire.load_model(os.path.join(os.path.dirname(blingfire.__file__), "bert_base_tok.bin"))
    text = re.sub(r"\s+", " ", " ".join(pydoc_data.topics.topics[key] for key in sorted(pydoc_data.topics.topics)))
    found = sorted({s.strip() for s in re.split(r"(?<=[.!?]) ", text) if 30 < len(s) < 220 and re.match(r"[A-Z][a-z]+ [a-z]", s)})
    rng.shuffle(found)
    if len(found) < count:
        raise SystemExit(f"only {len(found)} sentences")
    for row, sentence in zip(ids, found):
        pieces = [i for i in blingfire.text_to_ids(model, sentence, LENGTH - 2, 100).tolist() if i != 0]
        row[:len(pieces) + 2] = [101, *pieces, 102]
    return ids, (ids != 0).astype(np.int64), "word pieces"


def embed(path, ids, mask):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    # The model's last output is the sentence's embedding; the first ones hand its inputs through.
    return np.concatenate([session.run(None, {"input_ids": ids[i:i + 32], "attention_mask": mask[i:i + 32]})[-1]
                           for i in range(0, len(ids), 32)]).astype(np.float64)


def distance(a, b):
    cosine = np.sum(a * b, 1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return float(np.mean(1 - cosine))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", default=str(ROOT / "build/release/bin/lathe_test_tool"))
    parser.add_argument("--layer", default=str(ROOT / "build/release/bin/bench_gptq"))
    parser.add_argument("--only", default="", help="recipes whose name holds this")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    source = real_models.fetch("minilm")
    ids, mask, kind = sentences(512, 1)
    reference = embed(source, ids[256:], mask[256:])
    print(f"MiniLM-L3, 4 bits in groups of 32; calibrated on 256 sentences, measured on 256 others ({kind})\n")
    print("| recipe | tables too: 1 - cosine | of nearest | matrices alone | of nearest | MB | s |")
    print("|---|---|---|---|---|---|---|")
    nearest = {}
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "sentences.npz"
        np.savez(data, input_ids=ids[:256], attention_mask=mask[:256])
        for name, step in RECIPES.items():
            if args.only and args.only not in name and name != "nearest":
                continue
            cells = []
            for scope in ({}, {"skip": [TABLES]}):
                target = pathlib.Path(folder) / "small.onnx"
                recipe = {"steps": [{"quantize_weights": {**GROUP, **step, **scope}}]}
                start = time.perf_counter()
                subprocess.run([args.tool, "apply", source, target, json.dumps(recipe), str(args.threads), data], check=True,
                               stdout=subprocess.DEVNULL)
                seconds = time.perf_counter() - start
                error = distance(reference, embed(target, ids[256:], mask[256:]))
                base = nearest.setdefault(len(cells), error)
                cells += [f"{error:.5f}", f"{error / base:.2f}"]
                if not scope:
                    size = f"{target.stat().st_size / 1e6:.1f} | {seconds:.1f}"
            print("|", name, "|", " | ".join(cells), "|", size, "|", flush=True)
    if pathlib.Path(args.layer).exists():
        print()
        subprocess.run([args.layer], check=True)


if __name__ == "__main__":
    main()
