"""The models of bench/train.py: each with its ONNX graph, its parameters, and the same net for PyTorch.

A net is written once, against an interface of a dozen operators; `Onnx` emits nodes for them, and train_torch.py calls
PyTorch. Parameters come by name, in the order in which the net asks for them.
"""

import numpy as np


class Parameters:
    """Makes parameters on first use: He's initialization, seeded by the order."""

    def __init__(self):
        self.values = {}
        self.rng = np.random.default_rng(7)

    def get(self, name, shape, fill=None):
        if fill is not None:
            value = np.full(shape, fill, np.float32)
        else:
            fan_in = int(np.prod(shape[1:])) or 1
            value = (self.rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)
        return self.values.setdefault(name, value)


def mlp(f, x):
    for i, (n, k) in enumerate(((512, 784), (512, 512))):
        x = f.relu(f.linear(x, f"l{i}", n, k))
    return f.linear(x, "l2", 10, 512)


def lenet5(f, x):
    x = f.max_pool(f.relu(f.conv(x, "c0", 6, 1, 5, pad=2)))
    x = f.max_pool(f.relu(f.conv(x, "c1", 16, 6, 5)))
    x = f.relu(f.linear(f.flatten(x), "l0", 120, 400))
    x = f.relu(f.linear(x, "l1", 84, 120))
    return f.linear(x, "l2", 10, 84)


def resnet20(channels):
    def net(f, x):
        x = f.relu(f.norm(f.conv(x, "stem", 16, channels, 3, pad=1, bias=False), "stem.n", 16))
        inner = 16
        for stage, width in enumerate((16, 32, 64)):
            for block in range(3):
                name, stride = f"s{stage}.{block}", 2 if stage > 0 and block == 0 else 1
                y = f.relu(f.norm(f.conv(x, name + ".a", width, inner, 3, stride, 1, False), name + ".an", width))
                y = f.norm(f.conv(y, name + ".b", width, width, 3, 1, 1, False), name + ".bn", width)
                if inner != width:
                    x = f.norm(f.conv(x, name + ".s", width, inner, 1, stride, 0, False), name + ".sn", width)
                x, inner = f.relu(f.add(x, y)), width
        return f.linear(f.flatten(f.average_plane(x)), "head", 10, 64)
    return net


def transformer(f, x):
    for i in range(2):
        name = f"b{i}"
        q, k, v = (f.heads(f.dense(x, f"{name}.{p}", 384, 384), 12) for p in "qkv")
        mixed = f.dense(f.attention(q, k, v, 32), name + ".o", 384, 384)
        x = f.layer_norm(f.add(x, mixed), name + ".n0", 384)
        wide = f.gelu(f.dense(x, name + ".up", 1536, 384))
        x = f.layer_norm(f.add(x, f.dense(wide, name + ".down", 384, 1536)), name + ".n1", 384)
    return f.linear(f.mean_tokens(x), "head", 10, 384)


def lstm(f, x):
    return f.linear(f.lstm_last(x, "lstm", 128, 64), "head", 10, 128)


# Name: net, shape of a batch, that stands for so many examples.
NETS = {
    "resnet20-28": (resnet20(1), (128, 1, 28, 28)),
    "resnet20-32": (resnet20(3), (128, 3, 32, 32)),
    "mlp": (mlp, (128, 784)),
    "lenet5": (lenet5, (128, 1, 28, 28)),
    "transformer": (transformer, (16, 128, 384)),
    "lstm": (lstm, (64, 64, 64)),
}


class Onnx:
    """Emits nodes. Values are names."""

    def __init__(self, parameters):
        self.parameters, self.nodes, self.constants, self.count = parameters, [], {}, 0

    def emit(self, op, inputs, outputs=1, **attributes):
        from onnx import helper
        self.count += 1
        names = [f"v{self.count}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def parameter(self, name, shape, fill=None):
        self.parameters.get(name, shape, fill)
        return name

    def constant(self, values, dtype=np.int64):
        name = f"k{len(self.constants)}"
        self.constants[name] = np.array(values, dtype)
        return name

    def conv(self, x, name, out, inner, kernel, stride=1, pad=0, bias=True):
        inputs = [x, self.parameter(name + ".w", (out, inner, kernel, kernel))]
        inputs += [self.parameter(name + ".b", (out,), 0)] if bias else []
        return self.emit("Conv", inputs, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4)

    def linear(self, x, name, out, inner):
        return self.emit("Gemm", [x, self.parameter(name + ".w", (out, inner)), self.parameter(name + ".b", (out,), 0)], transB=1)

    def dense(self, x, name, out, inner):
        y = self.emit("MatMul", [x, self.parameter(name + ".w", (inner, out))])
        return self.emit("Add", [y, self.parameter(name + ".b", (out,), 0)])

    def norm(self, x, name, channels):
        inputs = [x, self.parameter(name + ".w", (channels,), 1), self.parameter(name + ".b", (channels,), 0),
                  self.constant(np.zeros(channels), np.float32), self.constant(np.ones(channels), np.float32)]
        return self.emit("BatchNormalization", inputs, 3, training_mode=1)[0]

    def layer_norm(self, x, name, width):
        inputs = [x, self.parameter(name + ".w", (width,), 1), self.parameter(name + ".b", (width,), 0)]
        return self.emit("LayerNormalization", inputs)

    def heads(self, x, count):
        return self.emit("Transpose", [self.emit("Reshape", [x, self.constant([0, 0, count, -1])])], perm=[0, 2, 1, 3])

    def attention(self, q, k, v, width):
        scores = self.emit("MatMul", [q, self.emit("Transpose", [k], perm=[0, 1, 3, 2])])
        scores = self.emit("Mul", [scores, self.constant(1 / np.sqrt(width), np.float32)])
        mixed = self.emit("MatMul", [self.emit("Softmax", [scores]), v])
        mixed = self.emit("Transpose", [mixed], perm=[0, 2, 1, 3])
        return self.emit("Reshape", [mixed, self.constant([0, 0, -1])])

    def lstm_last(self, x, name, hidden, inner):
        steps_first = self.emit("Transpose", [x], perm=[1, 0, 2])
        inputs = [steps_first, self.parameter(name + ".w", (1, 4 * hidden, inner)),
                  self.parameter(name + ".r", (1, 4 * hidden, hidden)), self.parameter(name + ".b", (1, 8 * hidden), 0)]
        last = self.emit("LSTM", inputs, 2, hidden_size=hidden)[1]
        return self.emit("Squeeze", [last, self.constant([0])])

    def relu(self, x):
        return self.emit("Relu", [x])

    def gelu(self, x):
        return self.emit("Gelu", [x])

    def add(self, a, b):
        return self.emit("Add", [a, b])

    def flatten(self, x):
        return self.emit("Flatten", [x])

    def max_pool(self, x):
        return self.emit("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])

    def average_plane(self, x):
        return self.emit("GlobalAveragePool", [x])

    def mean_tokens(self, x):
        return self.emit("ReduceMean", [x, self.constant([1])], keepdims=0)


def build(name):
    """The ONNX model, its parameters, and a batch: x and labels."""
    from onnx import TensorProto, helper, numpy_helper
    net, shape = NETS[name]
    parameters = Parameters()
    emitter = Onnx(parameters)
    out = net(emitter, "x")
    inputs = {"x": [None, *shape[1:]]} | {k: list(v.shape) for k, v in parameters.values.items()}
    graph = helper.make_graph(
        emitter.nodes, name, [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, [None, 10])],
        [numpy_helper.from_array(v, k) for k, v in emitter.constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape).astype(np.float32)
    labels = rng.integers(0, 10, shape[0])
    return model, parameters.values, x, labels
