"""What the engine finds and inlines in files that exporters write, with ONNX Runtime as the referee."""

import json
import os
import subprocess

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper, parser

TOOL = os.environ.get("LATHE_TEST_TOOL", "")


def tool(*args):
    assert TOOL and os.access(TOOL, os.X_OK), "LATHE_TEST_TOOL must name the built lathe_test_tool"
    return subprocess.run([TOOL, *map(str, args)], capture_output=True, text=True, timeout=120, check=True).stdout


def layers(path):
    return {layer["name"]: layer for layer in map(json.loads, tool("layers", path).splitlines())}


def run(path, feeds):
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feeds)


def rand(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def with_initializers(text, **tensors):
    model = parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in tensors.items())
    return model


FUNCTIONS = """
<ir_version: 10, opset_import: ["" : 18, "local" : 1]>
agraph (float[2, 4] x) => (float[2, 3] y) {
  h = local.Block <act = 1> (x, w1, b1)
  y = local.Block (h, w2, b2)
}
<opset_import: ["" : 18, "local" : 1], domain: "local">
Block <act : int = 0> (X, W, B) => (Y) {
  t = local.Linear <transposed = 1> (X, W)
  a = Constant <value_int : int = @act> ()
  on = Cast <to = 9> (a)
  s = Add (t, B)
  Y = If (on) <then_branch = act_graph () => (r) { r = Relu (s) }, else_branch = id_graph () => (q) { q = Identity (s) }>
}
<opset_import: ["" : 18], domain: "local">
Linear <transposed> (P, Q) => (R) {
  R = Gemm <transB : int = @transposed> (P, Q)
}
"""


def test_inlined_functions_compute_the_same(tmp_path):
    tensors = {"w1": rand(5, 4, seed=1), "b1": rand(5, seed=2), "w2": rand(3, 5, seed=3), "b2": rand(3, seed=4)}
    model = with_initializers(FUNCTIONS, **tensors)
    before, after = tmp_path / "before.onnx", tmp_path / "after.onnx"
    onnx.save(model, before)
    assert all("function" in layer["blocked"] for layer in layers(before).values())
    note = tool("inline", before, after)
    assert "local::Linear" in note and "local::Block" in note
    inlined = onnx.load(after)
    assert not inlined.functions
    onnx.checker.check_model(inlined)
    feeds = {"x": rand(2, 4)}
    np.testing.assert_array_equal(run(before, feeds)[0], run(after, feeds)[0])
    found = layers(after)
    assert [layer["source"] for layer in found.values()] == ["w1", "w2"]
    assert not any(layer["blocked"] for layer in found.values())


def test_untidy_weights_are_found(tmp_path):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    agraph (float[2, 4] x, bool c, int64[3] ids) => (float[2, 6] y, float[2, 9] logits, float[2, 6] z) {
      half32 = Cast <to = 1> (half)
      y = MatMul (x, half32)
      id = Identity (table)
      rows = Gather (id, ids)
      tr = Transpose <perm = [1, 0]> (table)
      logits = MatMul (x, tr)
      z = If (c) <
        then_branch = one () => (a) { a = MatMul (x, outer) },
        else_branch = two () => (b) { own = Constant <value = float[1, 1] {2.0}> ()  b0 = MatMul (x, outer)  b = Mul (b0, own) }
      >
    }
    """
    model = with_initializers(text, half=rand(4, 6).astype(np.float16), table=rand(9, 4), outer=rand(4, 6))
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    by_source = {layer["source"]: layer for layer in layers(path).values()}
    assert set(by_source) == {"half", "table", "outer"}
    assert by_source["half"]["dtype"] == "float16"
    assert [use["op"] for use in by_source["table"]["uses"]] == ["Gather", "MatMul"]
    assert by_source["table"]["uses"][1]["permutation"] == [1, 0]
    assert len(by_source["outer"]["uses"]) == 2
    assert not any(layer["blocked"] for layer in by_source.values())


def test_initializers_listed_as_inputs_are_weights(tmp_path):
    weight = helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 6])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4]), weight],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 6])], [numpy_helper.from_array(rand(4, 6), "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)], ir_version=3)
    before, after = tmp_path / "before.onnx", tmp_path / "after.onnx"
    onnx.save(model, before)
    assert list(layers(before)) == ["MatMul_0"]
    tool("upgrade", before, after, 21)
    assert [i.name for i in onnx.load(after).graph.input] == ["x"]
    np.testing.assert_array_equal(run(before, {"x": rand(2, 4)})[0], run(after, {"x": rand(2, 4)})[0])


def test_quantized_models_list_every_layer_as_done(tmp_path):
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    agraph (float[1, 4, 8, 8] x) => (float[1, 6, 6, 6] y) {
      w = DequantizeLinear <axis = 0> (wq, ws, wz)
      xq = QuantizeLinear (x, s, z)
      xd = DequantizeLinear (xq, s, z)
      y = Conv (xd, w)
    }
    """
    model = with_initializers(
        text, wq=np.ones((6, 4, 3, 3), np.int8), ws=np.full(6, 0.1, np.float32), wz=np.zeros(6, np.int8),
        s=np.array(0.1, np.float32), z=np.array(128, np.uint8))
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    (layer,) = layers(path).values()
    assert layer["blocked"] == "already quantized (int8)"
    assert layer["dims"] == [6, 4, 3, 3]
