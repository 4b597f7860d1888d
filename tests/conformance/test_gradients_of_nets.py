"""Gradients of small nets whose values and gradients stay in blocked layouts between nodes: the fast backend against the
plain one, which keeps everything plain. Both compute in float32; sums of a few thousand products of size about one differ
by some 1e-5 of the gradient's own size.
"""

import json
import subprocess

import numpy as np
import pytest
from onnx import TensorProto, helper

from onnx_cases import TOOL, read_outputs, write_inputs


class Net:
    def __init__(self, x):
        self.rng = np.random.default_rng(3)
        self.nodes, self.inputs, self.count = [], {"x": self.rng.standard_normal(x).astype(np.float32)}, 0

    def weights(self, *shape):
        name = f"w{len(self.inputs)}"
        self.inputs[name] = (self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)
        return name

    def emit(self, op, *inputs, **attributes):
        self.count += 1
        self.nodes.append(helper.make_node(op, list(inputs), [f"v{self.count}"], **attributes))
        return f"v{self.count}"

    def conv(self, x, out, inner, kernel=3, group=1, **attributes):
        return self.emit("Conv", x, self.weights(out, inner // group, kernel, kernel), self.weights(out), group=group,
                         pads=[kernel // 2] * 4, **attributes)

    def norm(self, x, channels, training=1):
        statistics = [self.weights(channels) for _ in range(3)]
        variance = f"w{len(self.inputs)}"
        self.inputs[variance] = self.rng.uniform(0.5, 2, channels).astype(np.float32)
        return self.emit("BatchNormalization", x, *statistics, variance, training_mode=training)


def residual(net):
    x = net.emit("Relu", net.norm(net.conv("x", 16, 3), 16))
    y = net.norm(net.conv(x, 16, 16), 16)
    x = net.emit("Relu", net.emit("Add", x, y))
    return net.emit("GlobalAveragePool", net.conv(x, 32, 16, strides=[2, 2]))


def odd_channels(net):
    """Channels that leave the last block half empty."""
    x = net.emit("Relu", net.norm(net.conv("x", 20, 3), 20))
    x = net.emit("MaxPool", net.conv(x, 18, 20), kernel_shape=[2, 2], strides=[2, 2])
    return net.emit("AveragePool", net.norm(x, 18, 0), kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def mixed_layouts(net):
    """Sums of a blocked value and a plain one, and a bias that broadcasts, bring gradients of both layouts together."""
    x = net.conv("x", 16, 3)
    plain = net.emit("Transpose", net.emit("Transpose", x, perm=[0, 1, 3, 2]), perm=[0, 1, 3, 2])
    x = net.emit("Add", net.emit("Add", x, plain), net.weights(16, 1, 1))
    return net.emit("Tanh", net.conv(net.emit("Sigmoid", x), 16, 16))


def depthwise(net):
    x = net.emit("Relu", net.conv("x", 32, 3, 1))
    x = net.emit("Relu", net.conv(x, 32, 32, 3, 32, strides=[2, 2]))
    return net.emit("Flatten", net.emit("Relu", net.conv(x, 16, 32, 1)))


def run(model, given, folder, flags):
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    write_inputs(folder / "inputs.onnx", given)
    done = subprocess.run([TOOL, "grad", *flags, str(folder)], capture_output=True, text=True, check=True, timeout=120)
    answer = json.loads(done.stdout)
    assert answer["ok"] and not answer["blocked"], answer
    return read_outputs(folder / "outputs.onnx")


@pytest.mark.parametrize("make", [residual, odd_channels, mixed_layouts, depthwise], ids=lambda make: make.__name__)
def test_blocked_layouts_give_the_gradients_of_plain_ones(make, tmp_path):
    net = Net((3, 3, 10, 12))
    out = make(net)
    graph = helper.make_graph(
        net.nodes, "g", [helper.make_tensor_value_info(k, TensorProto.FLOAT, v.shape) for k, v in net.inputs.items()],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    given = {k: (v, None) for k, v in net.inputs.items()}
    # A run without gradients tells the output's shape.
    shape = run(model, given, tmp_path / "shape", [])["out:" + out].shape
    given["grad:" + out] = (net.rng.standard_normal(shape).astype(np.float32), None)
    found = {"fast": run(model, given, tmp_path / "fast", []), "plain": run(model, given, tmp_path / "plain", ["--reference"])}
    assert set(found["fast"]) == set(found["plain"]) and "x" in found["fast"]
    for name, wanted in found["plain"].items():
        scale = max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(found["fast"][name], wanted, rtol=0, atol=2e-4 * scale, err_msg=name)
