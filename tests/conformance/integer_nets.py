"""Nets of many kinds with random weights and data that fit them, for tests of integer arithmetic and for bench/quantization.py."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Net:
    """Collects nodes and weights; the graph's input is `x`."""

    def __init__(self, seed=0, as_constants=False):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.weights, self.count, self.as_constants = [], [], 0, as_constants

    def name(self):
        self.count += 1
        return f"v{self.count}"

    def put(self, array):
        name = self.name()
        tensor = numpy_helper.from_array(np.asarray(array), name)
        if self.as_constants:
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.weights.append(tensor)
        return name

    def weight(self, *shape, fan=None):
        fan = fan or int(np.prod(shape[1:]))
        return self.put((self.rng.standard_normal(shape) * (2 / fan) ** 0.5).astype(np.float32))

    def op(self, op, *inputs, **attributes):
        out = self.name()
        self.nodes.append(helper.make_node(op, list(inputs), [out], name=f"{op}_{out}", **attributes))
        return out

    def conv(self, x, channels, out, kernel=3, stride=1, group=1, norm=True):
        w = self.weight(out, channels // group, kernel, kernel)
        y = self.op("Conv", x, w, pads=[kernel // 2] * 4, strides=[stride] * 2, group=group)
        if not norm:
            return y
        scale, shift, mean = (self.put(self.rng.uniform(a, b, out).astype(np.float32)) for a, b in ((0.5, 1.5), (-0.3, 0.3), (-0.2, 0.2)))
        return self.op("BatchNormalization", y, scale, shift, mean, self.put(self.rng.uniform(0.5, 1.5, out).astype(np.float32)))

    def linear(self, x, k, n):
        product = self.op("MatMul", x, self.weight(k, n, fan=k))
        return self.op("Add", product, self.put((self.rng.standard_normal(n) * 0.1).astype(np.float32)))

    def layer_norm(self, x, width):
        """Taken apart, as exporters write it."""
        mean = self.op("ReduceMean", x, axes=[-1])
        centred = self.op("Sub", x, mean)
        power = self.op("Pow", centred, self.put(np.float32(2)))
        deviation = self.op("Sqrt", self.op("Add", self.op("ReduceMean", power, axes=[-1]), self.put(np.float32(1e-5))))
        scale, shift = np.ones(width, np.float32), np.zeros(width, np.float32)
        scale[:2] = 12  # a few loud channels, as trained transformers have
        return self.op("Add", self.op("Mul", self.op("Div", centred, deviation), self.put(scale)), self.put(shift))

    def model(self, inputs, outputs, opset=17):
        graph = helper.make_graph(
            self.nodes, "net", [helper.make_tensor_value_info(n, t, s) for n, t, s in inputs],
            [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 8
        inferred = onnx.shape_inference.infer_shapes(model)
        for output, known in zip(model.graph.output, inferred.graph.output):
            output.CopyFrom(known)
        onnx.checker.check_model(model)
        return model


def pictures(rng, n, channels, size):
    """Smooth structure plus noise: more like an image than white noise is."""
    y, x = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size), indexing="ij")
    out = np.zeros((n, channels, size, size), np.float32)
    for image in out:
        for plane in image:
            fx, fy, phase = *rng.uniform(1, 9, 2), rng.uniform(0, 6)
            plane[:] = 0.5 + 0.4 * np.sin(fx * 6 * x + fy * 6 * y + phase)
    return np.clip(out + rng.normal(0, 0.05, out.shape), 0, 1).astype(np.float32)


def residual_net(as_constants=False, width=32, size=32):
    net = Net(1, as_constants)
    x = net.op("Relu", net.conv("x", 3, width))
    for _ in range(3):
        y = net.op("Relu", net.conv(x, width, width))
        x = net.op("Relu", net.op("Add", net.conv(y, width, width), x))
    x = net.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.op("Relu", net.op("Concat", net.conv(x, width, width), net.conv(x, width, width, kernel=1), axis=1))
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    logits = net.op("Gemm", x, net.weight(10, 2 * width), net.put(np.zeros(10, np.float32)), transB=1)
    return (net.model([("x", TensorProto.FLOAT, ["n", 3, size, size])], [logits]),
            lambda rng, n: {"x": pictures(rng, n, 3, size)})


def mobile_net(size=48):
    net = Net(2)
    x = net.op("Clip", net.conv("x", 3, 16, stride=2), net.put(np.float32(0)), net.put(np.float32(6)))
    for channels, out in ((16, 32), (32, 32), (32, 64)):
        wide = channels * 4
        y = net.op("Clip", net.conv(x, channels, wide, kernel=1), net.put(np.float32(0)), net.put(np.float32(6)))
        y = net.op("Clip", net.conv(y, wide, wide, group=wide), net.put(np.float32(0)), net.put(np.float32(6)))
        y = net.conv(y, wide, out, kernel=1)
        x = net.op("Add", x, y) if channels == out else y
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    logits = net.op("Gemm", x, net.weight(10, 64), net.put(np.zeros(10, np.float32)), transB=1)
    return (net.model([("x", TensorProto.FLOAT, ["n", 3, size, size])], [logits]),
            lambda rng, n: {"x": pictures(rng, n, 3, size)})


def detector(size=64):
    """SiLU, Resize and Concat as detectors have them; two outputs of unlike scale."""
    net = Net(3)

    def silu(v):
        return net.op("Mul", v, net.op("Sigmoid", v))

    a = silu(net.conv("x", 3, 32, stride=2))
    b = silu(net.conv(a, 32, 64, stride=2))
    c = silu(net.conv(b, 64, 64))
    up = net.op("Resize", c, "", net.put(np.array([1, 1, 2, 2], np.float32)), mode="nearest")
    d = silu(net.conv(net.op("Concat", a, up, axis=1), 96, 64))
    boxes = net.op("Mul", net.conv(d, 64, 4, kernel=1, norm=False), net.put(np.float32(40)))
    scores = net.op("Sigmoid", net.conv(d, 64, 8, kernel=1, norm=False))
    return (net.model([("x", TensorProto.FLOAT, ["n", 3, size, size])], [boxes, scores]),
            lambda rng, n: {"x": pictures(rng, n, 3, size)})


def transformer(width=128, layers=2, length=32, vocabulary=2000):
    net = Net(4)
    table = net.put((net.rng.standard_normal((vocabulary, width)) * 0.5).astype(np.float32))
    x = net.layer_norm(net.op("Gather", table, "ids"), width)
    heads, size = 4, width // 4
    for _ in range(layers):
        def split(v):
            shaped = net.op("Reshape", v, net.put(np.array([0, 0, heads, size], np.int64)))
            return net.op("Transpose", shaped, perm=[0, 2, 1, 3])
        q, k, v = (split(net.linear(x, width, width)) for _ in range(3))
        scores = net.op("Mul", net.op("MatMul", q, net.op("Transpose", k, perm=[0, 1, 3, 2])), net.put(np.float32(size ** -0.5)))
        mixed = net.op("Transpose", net.op("MatMul", net.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        mixed = net.op("Reshape", mixed, net.put(np.array([0, 0, width], np.int64)))
        x = net.layer_norm(net.op("Add", x, net.linear(mixed, width, width)), width)
        hidden = net.linear(x, width, 4 * width)
        erf = net.op("Erf", net.op("Div", hidden, net.put(np.float32(2 ** 0.5))))
        gelu = net.op("Mul", net.op("Mul", hidden, net.op("Add", erf, net.put(np.float32(1)))), net.put(np.float32(0.5)))
        x = net.layer_norm(net.op("Add", x, net.linear(gelu, 4 * width, width)), width)
    pooled = net.op("ReduceMean", x, axes=[1], keepdims=0)
    return (net.model([("ids", TensorProto.INT64, ["n", "length"])], [pooled]),
            lambda rng, n: {"ids": np.minimum(rng.zipf(1.3, (n, length)), vocabulary - 1).astype(np.int64)})


def text_classifier(width=32, vocabulary=500):
    """An embedding, a LayerNorm and a small head: what integer tools break."""
    net = Net(5)
    table = net.put(net.rng.standard_normal((vocabulary, width)).astype(np.float32))
    x = net.layer_norm(net.op("ReduceMean", net.op("Gather", table, "ids"), axes=[1], keepdims=0), width)
    x = net.op("Relu", net.linear(x, width, 64))
    logits = net.linear(x, 64, 5)
    return (net.model([("ids", TensorProto.INT64, ["n", 16])], [logits]),
            lambda rng, n: {"ids": rng.integers(0, vocabulary, (n, 16))})


def spectrogram_net(samples=2048, bins=64):
    """A filter bank as a strided Conv, power and logarithm, and a small convolutional head."""
    net = Net(6)
    t = np.arange(256) / 256
    bank = np.stack([np.hanning(256) * f(2 * np.pi * (k + 1) * t) for k in range(bins) for f in (np.cos, np.sin)])
    y = net.op("Conv", "x", net.put(bank[:, None].astype(np.float32)), strides=[64])
    power = net.op("Mul", y, y)
    x = net.op("Log", net.op("Add", power, net.put(np.float32(1e-4))))
    for channels, out in ((2 * bins, 64), (64, 64)):
        x = net.op("Relu", net.op("Conv", x, net.weight(out, channels, 3), pads=[1, 1]))
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    logits = net.op("Gemm", x, net.weight(6, 64), net.put(np.zeros(6, np.float32)), transB=1)

    def data(rng, n):
        time = np.arange(samples) / 256
        tones = [sum(rng.uniform(0.01, 1) * np.sin(2 * np.pi * rng.uniform(1, 60) * time + rng.uniform(0, 6)) for _ in range(3))
                 for _ in range(n)]
        return {"x": (np.stack(tones)[:, None] + rng.normal(0, 0.01, (n, 1, samples))).astype(np.float32)}

    return net.model([("x", TensorProto.FLOAT, ["n", 1, samples])], [logits]), data


def recurrent_net(length=20, width=32):
    net = Net(7)
    x = net.op("Transpose", "x", perm=[1, 0, 2])
    sequence = net.op("LSTM", x, net.weight(1, 4 * 64, width, fan=width), net.weight(1, 4 * 64, 64, fan=64), hidden_size=64)
    y = net.op("Squeeze", sequence, net.put(np.array([1], np.int64)))
    logits = net.linear(net.op("Transpose", y, perm=[1, 0, 2]), 64, 40)
    return (net.model([("x", TensorProto.FLOAT, ["n", length, width])], [logits]),
            lambda rng, n: {"x": rng.standard_normal((n, length, width)).astype(np.float32)})


def multilayer_perceptron():
    net = Net(8)
    x = net.op("Relu", net.op("Gemm", "x", net.weight(512, 256), net.put(np.zeros(512, np.float32)), transB=1))
    x = net.op("Relu", net.op("Gemm", x, net.weight(512, 512), net.put(np.zeros(512, np.float32)), transB=1))
    logits = net.op("Gemm", x, net.weight(10, 512), net.put(np.zeros(10, np.float32)), transB=1)
    return (net.model([("x", TensorProto.FLOAT, ["n", 256])], [logits]),
            lambda rng, n: {"x": np.maximum(rng.standard_normal((n, 256)), 0).astype(np.float32)})


NETS = {"residual": residual_net, "residual_constants": lambda: residual_net(as_constants=True), "mobile": mobile_net,
        "silu_detector": detector, "transformer": transformer, "text_classifier": text_classifier, "spectrogram": spectrogram_net,
        "recurrent": recurrent_net, "perceptron": multilayer_perceptron}
