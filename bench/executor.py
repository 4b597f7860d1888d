#!/usr/bin/env python3
"""The executor's speed against ONNX Runtime's: same models, one thread each, runs taken in turns.

    bench/executor.py [--batch 1,32] [--rounds N] [--only NAME,...] [--profile] [MODEL.onnx ...]

Prints medians and their ratio (ONNX Runtime's time over the executor's: above 1 the executor is
faster; the target is 0.8). Without models: a residual net, a mobile net, a transformer encoder and
an LSTM with random weights, written by this program. A given model's free extents become 1 (the
first one the batch). --profile prints where the executor's time goes, by operator.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/conformance"))
from onnx_cases import read_outputs, run_folders, write_inputs  # noqa: E402

TOOL = os.environ.get("LATHE_TEST_TOOL", str(ROOT / "build/release/bin/lathe_test_tool"))


class Net:
    """Collects nodes and weights."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.weights, self.count = [], [], 0

    def name(self):
        self.count += 1
        return f"v{self.count}"

    def weight(self, *shape, values=None):
        name = self.name()
        if values is None:
            fan = int(np.prod(shape[1:])) if len(shape) > 1 else 1
            values = self.rng.standard_normal(shape) * (2 / max(fan, 1)) ** 0.5
        self.weights.append(onnx.numpy_helper.from_array(np.asarray(values, np.float32).reshape(shape), name))
        return name

    def ints(self, *values):
        name = self.name()
        self.weights.append(onnx.numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def scalar(self, value):
        name = self.name()
        self.weights.append(onnx.numpy_helper.from_array(np.float32(value), name))
        return name

    def op(self, op, *inputs, **attributes):
        out = self.name()
        self.nodes.append(helper.make_node(op, list(inputs), [out], **attributes))
        return out

    def conv(self, x, i, o, k, stride=1, group=1, norm=True):
        w = self.weight(o, i // group, k, k)
        x = self.op("Conv", x, w, kernel_shape=[k, k], strides=[stride, stride], pads=[k // 2] * 4, group=group)
        if not norm:
            return x
        return self.op("BatchNormalization", x, self.weight(o, values=self.rng.uniform(0.5, 1.5, o)),
                       self.weight(o, values=self.rng.standard_normal(o) * 0.1),
                       self.weight(o, values=self.rng.standard_normal(o) * 0.1),
                       self.weight(o, values=self.rng.uniform(0.5, 1.5, o)))

    def model(self, x_shape, y):
        graph = helper.make_graph(self.nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x_shape)],
                                  [helper.make_tensor_value_info(y, TensorProto.FLOAT, None)], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def resnet(batch):
    """ResNet-18's shape: 1.8 G multiply-accumulates an image."""
    net = Net()
    x = net.op("Relu", net.conv("x", 3, 64, 7, 2))
    x = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    width = 64
    for stage, o in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            y = net.op("Relu", net.conv(x, width, o, 3, stride))
            y = net.conv(y, o, o, 3)
            skip = x if stride == 1 and width == o else net.conv(x, width, o, 1, stride)
            x = net.op("Relu", net.op("Add", y, skip))
            width = o
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    return net.model([batch, 3, 224, 224], net.op("Gemm", x, net.weight(1000, 512), net.weight(1000), transB=1))


def mobilenet(batch):
    """MobileNetV2's shape: 0.3 G multiply-accumulates an image."""
    net = Net()

    def relu6(x):
        return net.op("Clip", x, net.scalar(0), net.scalar(6))
    x = relu6(net.conv("x", 3, 32, 3, 2))
    width = 32
    for expand, o, repeat, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                                      (6, 160, 3, 2), (6, 320, 1, 1)):
        for block in range(repeat):
            step = stride if block == 0 else 1
            y, inner = x, width * expand
            if expand > 1:
                y = relu6(net.conv(y, width, inner, 1))
            y = relu6(net.conv(y, inner, inner, 3, step, inner))
            y = net.conv(y, inner, o, 1)
            x = net.op("Add", x, y) if step == 1 and width == o else y
            width = o
    x = relu6(net.conv(x, width, 1280, 1))
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    return net.model([batch, 3, 224, 224], net.op("Gemm", x, net.weight(1000, 1280), net.weight(1000), transB=1))


def transformer(batch, layers=4, d=384, heads=12, tokens=128):
    """MiniLM's shape, with Gelu and layer normalization as exporters write them out."""
    net = Net()

    def dense(x, i, o):
        w = net.weight(i, o, values=net.rng.standard_normal((i, o)) / i ** 0.5)
        return net.op("Add", net.op("MatMul", x, w), net.weight(o))

    def norm(x):
        away = net.op("Sub", x, net.op("ReduceMean", x, axes=[-1]))
        var = net.op("ReduceMean", net.op("Pow", away, net.scalar(2)), axes=[-1])
        x = net.op("Div", away, net.op("Sqrt", net.op("Add", var, net.scalar(1e-5))))
        return net.op("Add", net.op("Mul", x, net.weight(d, values=np.ones(d))), net.weight(d))

    def split(x):
        return net.op("Reshape", x, net.ints(0, 0, heads, d // heads))
    x = "x"
    for _ in range(layers):
        q = net.op("Transpose", split(dense(x, d, d)), perm=[0, 2, 1, 3])
        k = net.op("Transpose", split(dense(x, d, d)), perm=[0, 2, 3, 1])
        v = net.op("Transpose", split(dense(x, d, d)), perm=[0, 2, 1, 3])
        score = net.op("Div", net.op("MatMul", q, k), net.scalar((d // heads) ** 0.5))
        mixed = net.op("MatMul", net.op("Softmax", score, axis=-1), v)
        mixed = net.op("Reshape", net.op("Transpose", mixed, perm=[0, 2, 1, 3]), net.ints(0, 0, d))
        x = norm(net.op("Add", x, dense(mixed, d, d)))
        y = dense(x, d, 4 * d)
        half = net.op("Mul", y, net.op("Add", net.op("Erf", net.op("Div", y, net.scalar(2 ** 0.5))), net.scalar(1)))
        x = norm(net.op("Add", x, dense(net.op("Mul", half, net.scalar(0.5)), 4 * d, d)))
    return net.model([batch, tokens, d], x)


def lstm(batch, steps=64, width=128, hidden=256):
    """Two bidirectional layers and a classifier."""
    net = Net()
    x = net.op("Transpose", "x", perm=[1, 0, 2])
    for layer in range(2):
        i = width if layer == 0 else 2 * hidden
        w = net.weight(2, 4 * hidden, i, values=net.rng.standard_normal((2, 4 * hidden, i)) / i ** 0.5)
        r = net.weight(2, 4 * hidden, hidden,
                       values=net.rng.standard_normal((2, 4 * hidden, hidden)) / hidden ** 0.5)
        x = net.op("LSTM", x, w, r, net.weight(2, 8 * hidden), hidden_size=hidden, direction="bidirectional")
        x = net.op("Reshape", net.op("Transpose", x, perm=[0, 2, 1, 3]), net.ints(0, 0, -1))
    y = net.op("Add", net.op("MatMul", x, net.weight(2 * hidden, 96)), net.weight(96))
    return net.model([batch, steps, width], net.op("Softmax", y, axis=-1))


NETS = {"resnet-like": resnet, "mobilenet-like": mobilenet, "transformer": transformer, "lstm": lstm}


def inputs_of(model, batch):
    rng = np.random.default_rng(1)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = {}
    for info in model.graph.input:
        if info.name in constants:
            continue
        dims = [d.dim_value or (batch if i == 0 else 1) for i, d in enumerate(info.type.tensor_type.shape.dim)]
        dtype = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        values = rng.standard_normal(dims) if dtype.kind == "f" else np.ones(dims)
        inputs[info.name] = np.asarray(values, dtype)
    return inputs


def session(path):
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def measure(name, model, batch, rounds, folder, profile):
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    inputs = inputs_of(model, batch)
    write_inputs(folder / "inputs.onnx", {key: (value, None) for key, value in inputs.items()})
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    answer = run_folders([folder])[0]
    if not answer["ok"]:
        print(f"| {name} | {batch} | cannot run: {answer['error'][:200]} | | | |")
        return
    if profile:
        print(f"{name}, batch {batch}:")
        subprocess.run([TOOL, "time", "--profile", str(folder)], check=True)
    peer = session(folder / "model.onnx")
    names = [output.name for output in peer.get_outputs()]
    wanted = peer.run(None, inputs)
    got = read_outputs(folder / "outputs.onnx")
    worst = max(float(np.abs(got[n] - w).max() / (np.abs(w).max() + 1e-30)) for n, w in zip(names, wanted)
                if w.size and w.dtype.kind == "f")
    for _ in range(2):
        peer.run(None, inputs)
    ours, theirs = [], []
    with subprocess.Popen([TOOL, "time", str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tool:
        assert tool.stdout.readline().strip() == "ready"
        for _ in range(rounds):
            tool.stdin.write("1\n")
            tool.stdin.flush()
            ours.append(float(tool.stdout.readline()))
            start = time.perf_counter()
            peer.run(None, inputs)
            theirs.append(1e3 * (time.perf_counter() - start))
        tool.stdin.close()
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(f"| {name} | {batch} | {mine:.2f} ms ({min(ours):.2f}) | {other:.2f} ms ({min(theirs):.2f}) | "
          f"{other / mine:.2f} ({min(theirs) / min(ours):.2f}) | {worst:.1e} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", default="1,32")
    parser.add_argument("--rounds", type=int, default=0, help="0: as many as a few seconds allow")
    parser.add_argument("--only", default="")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    only = set(filter(None, arguments.only.split(",")))
    print("| model | batch | executor: median (least) | ONNX Runtime | ratio | largest difference over range |")
    print("|---|---|---|---|---|---|")
    for batch in map(int, arguments.batch.split(",")):
        nets = {path.stem: (lambda _, p=path: onnx.load(str(p))) for path in arguments.models} or NETS
        for name, build in nets.items():
            if only and name not in only:
                continue
            rounds = arguments.rounds or (40 if batch == 1 else 8)
            with tempfile.TemporaryDirectory() as folder:
                measure(name, build(batch), batch, rounds, pathlib.Path(folder), arguments.profile)


if __name__ == "__main__":
    main()
