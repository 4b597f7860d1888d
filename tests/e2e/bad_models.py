"""Models that are wrong in one way each, written as bytes: onnx's own checker would refuse to make most of them."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

LEN, GROUP_START, GROUP_END = 2, 3, 4


def varint(value):
    out = bytearray()
    while True:
        out.append((value & 0x7F) | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)


def field(number, payload, claims=None):
    """A length-delimited field; `claims` is a length to lie about."""
    return varint(number << 3 | LEN) + varint(len(payload) if claims is None else claims) + payload


def model_of(nodes, weights=(), outputs=("y",), inputs=("x",), width=16):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(list(nodes), "net", [value(i, TensorProto.FLOAT, ["n", width]) for i in inputs],
                              [value(o, TensorProto.FLOAT, None) for o in outputs], list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def weight(name="w", shape=(16, 16), seed=0):
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def matmul(name="mm", x="x", w="w", y="y"):
    return helper.make_node("MatMul", [x, w], [y], name=name)


def good_model(seed=0):
    return model_of([matmul("fc1", "x", "w1", "h"), matmul("fc2", "h", "w2", "y")],
                    [weight("w1", seed=seed), weight("w2", seed=seed + 1)])


def with_tensor(tensor):
    return model_of([matmul()], [tensor]).SerializeToString()


def tensor(dims, **fields):
    return TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, **fields)


def truncated():
    return good_model().SerializeToString()[:-300]


def random_bytes():
    return np.random.default_rng(3).bytes(100_000)


def graph_that_claims_2_gb():
    return b"\x08\x08" + field(7, good_model().graph.SerializeToString(), claims=2**31 - 1)


def weight_that_claims_2_gb():
    """The last weight's raw_data claims 2 GB - 1; every message around it fits its own claim."""
    raw = varint(9 << 3 | LEN) + varint(2**31 - 1) + b"\0" * 64
    graph = model_of([matmul()]).graph.SerializeToString() + field(5, b"\x08\x10\x08\x10\x10\x01\x42\x01w" + raw)
    return b"\x08\x08" + field(8, b"\x10\x11") + field(7, graph)


def nested_graphs(depth=2000):
    """If within If within If."""
    graph = b""
    for _ in range(depth):
        attribute = field(1, b"then_branch") + b"\xa0\x01\x05" + field(6, graph)
        graph = field(1, field(4, b"If") + field(5, attribute)) + field(2, b"g")
    return b"\x08\x08" + field(8, b"\x10\x11") + field(7, graph)


def nested_types(depth=5000):
    """An input whose type is a sequence of sequences of sequences."""
    kind = b""
    for _ in range(depth):
        kind = field(4, field(1, kind))
    graph = field(11, field(1, b"x") + field(2, kind))
    return b"\x08\x08" + field(8, b"\x10\x11") + field(7, graph)


def nested_groups(depth=100_000):
    """An unknown field of groups within groups."""
    return (good_model().SerializeToString() + varint(99 << 3 | GROUP_START) * depth +
            varint(99 << 3 | GROUP_END) * depth)


def external(location, length=16 * 16 * 4, offset=0):
    out = tensor([16, 16], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        out.external_data.add(key=key, value=str(value))
    return with_tensor(out)


def cycle():
    return model_of([matmul("a", "v2", "w", "v1"), matmul("b", "v1", "w", "v2"),
                     helper.make_node("Add", ["x", "v2"], ["y"], name="c")], [weight()]).SerializeToString()


def missing_input():
    return model_of([matmul("reader", "nowhere")], [weight()]).SerializeToString()


def duplicate_outputs():
    return model_of([matmul("first"), matmul("second")], [weight()]).SerializeToString()


def output_of_nobody():
    return model_of([matmul()], [weight()], outputs=("y", "phantom")).SerializeToString()


def no_opset():
    model = good_model()
    del model.opset_import[:]
    return model.SerializeToString()


def not_finite(value):
    model = good_model()
    values = numpy_helper.to_array(model.graph.initializer[1]).copy()
    values[3, 5] = value
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(values, "w2"))
    return model.SerializeToString()


def without_weights():
    return model_of([helper.make_node("Relu", ["x"], ["y"], name="relu")]).SerializeToString()


def only_a_3x3_conv():
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv1", kernel_shape=[3, 3])
    graph = helper.make_graph([node], "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 9, 9])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
                              [weight("w", (16, 8, 3, 3))])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model.SerializeToString()


