"""Small quantized models, written as an exporter would, whole or with one thing wrong."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
node = helper.make_node


def model(nodes, inputs, constants, outputs, opset=21, ir=10):
    """`inputs` and `outputs`: (name, element type, dims or None); `constants`: name -> array or TensorProto."""
    infos = [[helper.make_tensor_value_info(*value) for value in values] for values in (inputs, outputs)]
    tensors = [numpy_helper.from_array(np.asarray(value), name) if not isinstance(value, TensorProto) else value
               for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", infos[0], infos[1], initializer=tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)])
    made.ir_version = ir
    return made


def replaced(made, **constants):
    """The model with other values for some constants."""
    for tensor in made.graph.initializer:
        if tensor.name in constants:
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(constants[tensor.name]), tensor.name))
    return made


def pair(value, prefix, scale, zero, constants, dtype=np.uint8):
    """QuantizeLinear -> DequantizeLinear of `value`, to `prefix`d."""
    constants[prefix + "s"], constants[prefix + "z"] = np.float32(scale), dtype(zero)
    parameters = [prefix + "s", prefix + "z"]
    return [node("QuantizeLinear", [value, *parameters], [prefix + "q"], name=prefix + "_quantize"),
            node("DequantizeLinear", [prefix + "q", *parameters], [prefix + "d"], name=prefix + "_dequantize")]


def ends_with(nodes, name="y"):
    """The last node gives the model's output."""
    nodes[-1].output[0] = name
    return nodes


def integers(*shape, most=60, seed=0):
    """int8 whose neighbours never pass int16 in products with uint8."""
    return np.random.default_rng(seed).integers(-most, most + 1, shape).astype(np.int8)


def add_bias(kind, channels, weight_scale, constants, scale_factor=1.0):
    """The bias's value, and the node it needs. "float", "int32" or None."""
    if kind is None:
        return None, []
    if kind == "float":
        constants["b"] = np.linspace(-1, 1, channels).astype(np.float32)
        return "b", []
    constants["bs"] = (constants["xs"] * weight_scale * scale_factor).astype(np.float32)
    constants["bq"] = np.linspace(-2000, 2000, channels).astype(np.int32)
    constants["bz"] = np.zeros(channels, np.int32)
    return "bd", [node("DequantizeLinear", ["bq", "bs", "bz"], ["bd"], axis=0)]


def product(op="MatMul", k=64, n=32, axis=None, bias=None, quantize_output=True, weight=None, rows=4, out_scale=0.1, out_zero=128,
            weight_only=False, scale_factor=1.0, **attributes):
    """x [rows, k] times w [k, n] ([n, k] with transB), quantized."""
    transposed = attributes.get("transB", 0)
    weight = integers(*((n, k) if transposed else (k, n))) if weight is None else weight
    axis = (0 if transposed else 1) if axis is None else axis
    spread = np.linspace(0.004, 0.02, weight.shape[axis]).astype(np.float32)
    constants = {"w": weight, "ws": spread, "wz": np.zeros(weight.shape[axis], np.int8)}
    nodes = pair("x", "x", 0.02, 128, constants)
    constants["xs"] = np.float32(0.02)
    if weight_only:
        nodes, constants = [], {name: constants[name] for name in ("w", "ws", "wz")}
    nodes.append(node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=axis))
    value, before = add_bias(bias, n, spread, constants, scale_factor) if not weight_only else (None, [])
    nodes += before
    inputs = ["x" if weight_only else "xd", "wd"]
    last = "m"
    if op == "Gemm":
        nodes.append(node(op, inputs + ([value] if value else []), ["m"], name="layer", **attributes))
    else:
        nodes.append(node(op, inputs, ["m"], name="layer", **attributes))
        if value:
            nodes.append(node("Add", ["m", value], ["a"], name="bias"))
            last = "a"
    nodes += pair(last, "o", out_scale, out_zero, constants) if quantize_output and not weight_only else []
    return model(ends_with(nodes), [("x", FLOAT, [rows, k])], constants, [("y", FLOAT, None)])


def conv(inputs=16, outputs=16, axis=0, activation=None, out_scale=0.05, out_zero=128, data=np.uint8, out=np.uint8,
         weight=np.int8, bias="int32", quantize_output=True, float_output=False, groups=1, weight_only=False, op="Conv",
         scale_factor=1.0, values=None, opset=21, ir=10, float_weight=False):
    """A 3x3 convolution of x [1, inputs, 12, 12], quantized."""
    shape = (outputs, inputs // groups, 3, 3) if op == "Conv" else (inputs, outputs // groups, 3, 3)
    values = integers(*shape) if values is None else values
    channels = values.shape[axis]
    zero = 128 if weight == np.uint8 else 0
    constants = {"w": (values.astype(np.int32) + zero).astype(weight), "ws": np.linspace(0.002, 0.02, channels).astype(np.float32),
                 "wz": np.full(channels, zero, weight)}
    before = [] if weight_only else pair("x", "x", 0.02, 128 if data == np.uint8 else 0, constants, data)
    constants["xs"] = np.float32(0.02)
    nodes = before + [node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=axis)]
    if float_weight:
        nodes.pop()
        constants["wd"] = values.astype(np.float32) * 0.01
        for name in ("w", "ws", "wz"):
            del constants[name]
    spread = np.linspace(0.002, 0.02, outputs).astype(np.float32)
    value, more = add_bias(None if weight_only or float_weight else bias, outputs, spread, constants, scale_factor)
    nodes += more
    nodes.append(node(op, ["x" if weight_only else "xd", "wd"] + ([value] if value else []), ["c"], name="layer", group=groups,
                      pads=[1, 1, 1, 1]))
    last = "c"
    if activation == "Relu":
        nodes.append(node("Relu", ["c"], ["r"], name="act"))
        last = "r"
    elif activation == "Clip":
        constants["low"], constants["high"] = np.float32(0), np.float32(6)
        nodes.append(node("Clip", ["c", "low", "high"], ["r"], name="act"))
        last = "r"
    nodes += pair(last, "o", out_scale, out_zero, constants, out) if quantize_output and not weight_only else []
    if weight_only:
        del constants["xs"]
    made = [("y", FLOAT, None)] + ([("c", FLOAT, None)] if float_output else [])
    return model(ends_with(nodes), [("x", FLOAT, [1, inputs, 12, 12])], constants, made, opset=opset, ir=ir)


def unary(op, same=True, out_scale=0.03, out_zero=120, data=np.uint8, quantized=True, extra=None, opset=21, **attributes):
    """DequantizeLinear -> op -> QuantizeLinear of x [1, 16, 12, 12]; the same parameters on both sides, or others."""
    constants = dict(extra or {})
    zero = 0 if data == np.int8 or np.dtype(data).itemsize == 2 else 128
    nodes = pair("x", "x", 0.02, zero, constants, data) if quantized else []
    nodes.append(node(op, ["xd" if quantized else "x", *(extra or {})], ["m"], name="layer", **attributes))
    if quantized:
        nodes += pair("m", "o", *((0.02, zero) if same else (out_scale, out_zero)), constants, data)
    return model(ends_with(nodes), [("x", FLOAT, [1, 16, 12, 12])], constants, [("y", FLOAT, None)], opset=opset)


def binary(op, second=np.uint8, second_quantized=True):
    constants = {}
    nodes = pair("x", "x", 0.02, 128, constants)
    nodes += pair("z", "z", 0.03, 128 if second == np.uint8 else 0, constants, second) if second_quantized else []
    nodes.append(node(op, ["xd", "zd" if second_quantized else "z"], ["m"], name="layer"))
    nodes += pair("m", "o", 0.05, 128, constants)
    shape = [1, 16, 12, 12]
    return model(ends_with(nodes), [("x", FLOAT, shape), ("z", FLOAT, shape)], constants, [("y", FLOAT, None)])


def lookup(dequantize_first, rows=30000, width=64):
    constants = {"w": integers(rows, width), "s": np.float32(0.01), "z": np.int8(0)}
    nodes = ([node("DequantizeLinear", ["w", "s", "z"], ["d"]), node("Gather", ["d", "i"], ["y"], name="layer")] if dequantize_first
             else [node("Gather", ["w", "i"], ["d"], name="layer"), node("DequantizeLinear", ["d", "s", "z"], ["y"])])
    return model(nodes, [("i", TensorProto.INT64, [1, 8])], constants, [("y", FLOAT, None)])


def blocks(bits, level=4, float_zeros=False, group_index=False, k=768, n=768, block=32):
    """MatMulNBits of x [1, k]."""
    count = k // block
    rng = np.random.default_rng(0)
    constants = {"b": rng.integers(0, 256, (n, count, block * bits // 8)).astype(np.uint8), "s": np.full((n, count), 0.01, np.float32)}
    inputs = ["x", "b", "s"]
    if float_zeros:
        constants["z"] = np.full((n, count), 2.0 ** (bits - 1), np.float32)
        inputs.append("z")
    if group_index:
        constants["g"] = (np.arange(k) // block).astype(np.int32)
        inputs += [""] * (not float_zeros) + ["g"]
    attributes = {"accuracy_level": level} if level else {}
    made = node("MatMulNBits", inputs, ["y"], name="layer", domain="com.microsoft", K=k, N=n, bits=bits, block_size=block, **attributes)
    return model([made], [("x", FLOAT, [1, k])], constants, [("y", FLOAT, None)])


def integer_op(op, data=np.uint8, weight=np.int8, values=None):
    """A QLinearMatMul or QLinearConv of the file's own."""
    product_op = op == "QLinearMatMul"
    values = integers(*((128, 128) if product_op else (64, 64, 3, 3))) if values is None else values
    shift = 60 if weight == np.uint8 else 0
    constants = {"xs": np.float32(0.02), "xz": data(0), "w": (values.astype(np.int32) + shift).astype(weight),
                 "ws": np.float32(0.01), "wz": weight(0), "ys": np.float32(0.5), "yz": data(0)}
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(data))
    made = node(op, ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"], name="layer")
    shape = [64, 128] if product_op else [1, 64, 12, 12]
    return model([made], [("x", kind, shape)], constants, [("y", kind, None)])


def dynamic(op, values=None):
    """DynamicQuantizeLinear -> MatMulInteger or ConvInteger -> Cast -> Mul."""
    convolution = op == "ConvInteger"
    values = integers(*((64, 64, 3, 3) if convolution else (256, 256))) if values is None else values
    constants = {"w": values, "wz": np.int8(0), "ws": np.float32(0.01)}
    nodes = [node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]), node(op, ["q", "w", "z", "wz"], ["i"], name="layer"),
             node("Cast", ["i"], ["f"], to=FLOAT), node("Mul", ["s", "ws"], ["scale"]), node("Mul", ["f", "scale"], ["y"])]
    shape = [1, values.shape[1], 16, 16] if convolution else [4, values.shape[0]]
    return model(nodes, [("x", FLOAT, shape)], constants, [("y", FLOAT, None)])


def float_conv(outputs=64, inputs=64, size=16):
    weight = (integers(outputs, inputs, 3, 3) * np.float32(0.01)).astype(np.float32)
    return model([node("Conv", ["x", "w"], ["y"], name="layer", pads=[1, 1, 1, 1])], [("x", FLOAT, [1, inputs, size, size])],
                 {"w": weight}, [("y", FLOAT, None)])


def float_product(k=768, n=768, rows=1):
    weight = (integers(k, n) * np.float32(0.01)).astype(np.float32)
    return model([node("MatMul", ["x", "w"], ["y"], name="layer")], [("x", FLOAT, [rows, k])], {"w": weight}, [("y", FLOAT, None)])
