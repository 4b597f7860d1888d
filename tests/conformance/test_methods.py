"""What the data-free methods write is what ONNX Runtime computes with the same change done in numpy."""

import json
import os
import subprocess

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

TOOL = os.environ.get("LATHE_TEST_TOOL", "build/dev/bin/lathe_test_tool")
FLOAT = TensorProto.FLOAT


def apply(model, tmp_path, *steps, seed=0, threads=2):
    """(changed model, its path, the report of each step)."""
    source, target = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(model, source)
    recipe = json.dumps({"steps": list(steps), "seed": seed})
    done = subprocess.run([TOOL, "apply", str(source), str(target), recipe, str(threads)],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    changed = onnx.load(target)
    # Shape inference, which a full check includes, does not see sparse initializers.
    onnx.checker.check_model(changed, full_check="sparse" not in recipe)
    return changed, target, [json.loads(line) for line in done.stdout.splitlines()]


def run(model, feeds, optimize=True):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = str(model) if isinstance(model, os.PathLike) else model.SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, feeds)


def build(nodes, inputs, weights, opset=17, ir=8, functions=(), as_constants=False, legacy_inputs=False):
    """A model; `inputs` name -> array (its feed), `weights` name -> array."""
    infos = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim)
             for name, array in inputs.items()]
    constants, initializers = [], []
    for name, array in weights.items():
        tensor = numpy_helper.from_array(array, name)
        if as_constants:
            constants.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            initializers.append(tensor)
            if legacy_inputs:
                infos.append(helper.make_tensor_value_info(name, tensor.data_type, array.shape))
    outputs = [helper.make_tensor_value_info("y", FLOAT, None)]
    graph = helper.make_graph(constants + nodes, "g", infos, outputs, initializer=initializers)
    imports = [helper.make_opsetid("", opset)] + [helper.make_opsetid("local", 1)] * bool(functions)
    model = helper.make_model(graph, opset_imports=imports, functions=list(functions))
    model.ir_version = ir
    # The checker wants outputs with a rank.
    inferred = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape
    graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, [None] * len(inferred.dim)))
    model.graph.output[0].CopyFrom(graph.output[0])
    return model


def normal(*shape, seed=0, scale=0.1):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def node(op, inputs, outputs=("y",), **attributes):
    return helper.make_node(op, list(inputs), list(outputs), name="layer", **attributes)


# name -> (nodes, feeds, weights): every operator and place that holds weights.
ROLES = {
    "conv1d": ([node("Conv", ["x", "w"], pads=[1, 1])], {"x": normal(2, 6, 9)}, {"w": normal(4, 6, 3)}),
    "conv2d": ([node("Conv", ["x", "w"])], {"x": normal(1, 6, 8, 8)}, {"w": normal(5, 6, 3, 3)}),
    "conv3d": ([node("Conv", ["x", "w"])], {"x": normal(1, 3, 5, 5, 5)}, {"w": normal(4, 3, 2, 2, 2)}),
    "grouped": ([node("Conv", ["x", "w"], group=2)], {"x": normal(1, 6, 8, 8)}, {"w": normal(4, 3, 3, 3)}),
    "depthwise": ([node("Conv", ["x", "w"], group=6)], {"x": normal(1, 6, 8, 8)}, {"w": normal(6, 1, 3, 3)}),
    "transposed_conv": ([node("ConvTranspose", ["x", "w"], strides=[2, 2])], {"x": normal(1, 4, 5, 5)},
                        {"w": normal(4, 3, 2, 2)}),
    "gemm": ([node("Gemm", ["x", "w"], transB=1, alpha=0.5)], {"x": normal(3, 16)}, {"w": normal(9, 16)}),
    "matmul_right": ([node("MatMul", ["x", "w"])], {"x": normal(2, 3, 16)}, {"w": normal(16, 9)}),
    "matmul_left": ([node("MatMul", ["w", "x"])], {"x": normal(16, 3)}, {"w": normal(9, 16)}),
    "matmul_batched": ([node("MatMul", ["x", "w"])], {"x": normal(2, 3, 16)}, {"w": normal(2, 16, 9)}),
    "gather": ([node("Gather", ["w", "ids"])], {"ids": np.array([[3, 0], [7, 7]], np.int64)}, {"w": normal(8, 5)}),
    "lstm": ([node("LSTM", ["x", "w", "r"], ["y", "", ""], hidden_size=4)], {"x": normal(3, 2, 5)},
             {"w": normal(1, 16, 5), "r": normal(1, 16, 4, seed=2)}),
    "gru": ([node("GRU", ["x", "w", "r"], ["y", ""], hidden_size=4)], {"x": normal(3, 2, 5)},
            {"w": normal(1, 12, 5), "r": normal(1, 12, 4, seed=2)}),
    "shared": ([helper.make_node("MatMul", ["x", "w"], ["h"], name="encode"),
                helper.make_node("Transpose", ["w"], ["wt"]),
                helper.make_node("MatMul", ["h", "wt"], ["y"], name="decode")], {"x": normal(3, 16)}, {"w": normal(16, 9)}),
}


def pruned(w, count):
    """The `count` smallest magnitudes zeroed, ties by index."""
    flat = w.flatten()
    flat[np.argsort(np.abs(flat), kind="stable")[:count]] = 0
    return flat.reshape(w.shape)


@pytest.mark.parametrize("as_constants", [False, True])
@pytest.mark.parametrize("role", ROLES)
def test_pruned_model_equals_the_model_with_weights_pruned_in_numpy(role, as_constants, tmp_path):
    nodes, feeds, weights = ROLES[role]
    changed, _, (step,) = apply(build(nodes, feeds, weights, as_constants=as_constants), tmp_path,
                                {"prune_weights": {"sparsity": 0.6}})
    expected = {name: pruned(w, round(0.6 * w.size)) for name, w in weights.items()}
    np.testing.assert_array_equal(run(changed, feeds)[0],
                                  run(build(nodes, feeds, expected, as_constants=as_constants), feeds)[0])
    assert [layer["sparsity"] for layer in step["layers"]] == [np.mean(w == 0) for w in expected.values()]


def test_global_pruning_counts_over_all_layers(tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])]
    weights = {"a": normal(16, 16, scale=0.1), "b": normal(16, 16, seed=1, scale=0.2)}
    feeds = {"x": normal(2, 16)}
    changed, _, _ = apply(build(nodes, feeds, weights), tmp_path,
                          {"prune_weights": {"sparsity": 0.7, "scope": "global"}})
    both = pruned(np.concatenate([weights["a"].ravel(), weights["b"].ravel()]), round(0.7 * 512))
    expected = {"a": both[:256].reshape(16, 16), "b": both[256:].reshape(16, 16)}
    np.testing.assert_array_equal(run(changed, feeds)[0], run(build(nodes, feeds, expected), feeds)[0])


def branches(make):
    """x, condition -> If with `make(side)` -> (nodes, initializers) in each branch -> y."""
    graphs = {}
    for side in ("then_branch", "else_branch"):
        nodes, initializers = make(side)
        graphs[side] = helper.make_graph(nodes, side, [], [helper.make_tensor_value_info("o", FLOAT, [None, None])],
                                         initializer=initializers)
    return helper.make_node("If", ["condition"], ["y"], **graphs)


def branch_model(weights):
    """A MatMul by a weight of its own in each branch, both called `w`."""
    return build([branches(lambda side: ([helper.make_node("MatMul", ["x", "w"], ["o"], name=side)],
                                         [numpy_helper.from_array(weights[side], "w")]))],
                 {"x": normal(2, 16), "condition": np.array(True)}, {})


def test_sparse_initializers_load_in_the_main_graph_and_in_subgraphs(tmp_path):
    weights = {"w": normal(64, 64)}
    feeds = {"x": normal(3, 64)}
    nodes = [node("MatMul", ["x", "w"])]
    changed, path, (step,) = apply(build(nodes, feeds, weights, ir=4, opset=11), tmp_path,
                                   {"prune_weights": {"sparsity": 0.9, "storage": "sparse"}})
    assert [len(changed.graph.initializer), len(changed.graph.sparse_initializer)] == [0, 1]
    assert changed.ir_version == 6
    assert os.path.getsize(path) < 0.31 * weights["w"].nbytes + 300
    expected = pruned(weights["w"], round(0.9 * 4096))
    np.testing.assert_array_equal(run(changed, feeds)[0], run(build(nodes, feeds, {"w": expected}), feeds)[0])
    assert step["layers"][0]["bytes_after"] < 0.31 * step["layers"][0]["bytes_before"]

    both = {"then_branch": normal(16, 16), "else_branch": normal(16, 16, seed=1)}
    changed, _, _ = apply(branch_model(both), tmp_path, {"prune_weights": {"sparsity": 0.9, "storage": "sparse"}})
    expected = branch_model({side: pruned(w, 230) for side, w in both.items()})
    for condition in (True, False):
        feeds = {"x": normal(2, 16), "condition": np.array(condition)}
        np.testing.assert_array_equal(run(changed, feeds)[0], run(expected, feeds)[0])
    for attribute in changed.graph.node[0].attribute:
        assert len(attribute.g.sparse_initializer) == 1


def test_dense_where_sparse_would_be_larger(tmp_path):
    changed, _, _ = apply(build([node("MatMul", ["x", "w"])], {"x": normal(3, 64)}, {"w": normal(64, 64)}), tmp_path,
                          {"prune_weights": {"sparsity": 0.6, "storage": "sparse"}})
    assert [len(changed.graph.initializer), len(changed.graph.sparse_initializer)] == [1, 0]


def halved(w):
    return w.astype(np.float16).astype(np.float32)


@pytest.mark.parametrize("form", ["initializer", "constant", "ir3"])
@pytest.mark.parametrize("role", ROLES)
def test_fp16_model_equals_the_model_with_rounded_weights(role, form, tmp_path):
    nodes, feeds, weights = ROLES[role]
    kind = {"as_constants": form == "constant"}
    if form == "ir3":
        kind = {"ir": 3, "opset": 11, "legacy_inputs": True}
    changed, _, _ = apply(build(nodes, feeds, weights, **kind), tmp_path, {"fp16": {}})
    assert run(changed, feeds)[0].dtype == np.float32
    expected = build(nodes, feeds, {name: halved(w) for name, w in weights.items()}, **kind)
    np.testing.assert_array_equal(run(changed, feeds)[0], run(expected, feeds)[0])
    stored = [t for t in changed.graph.initializer]
    stored += [a.t for n in changed.graph.node if n.op_type == "Constant" for a in n.attribute]
    assert sorted(t.data_type for t in stored) == [TensorProto.FLOAT16] * len(weights)


def test_fp16_in_subgraphs_and_functions(tmp_path):
    both = {"then_branch": normal(16, 16), "else_branch": normal(16, 16, seed=1)}
    changed, _, _ = apply(branch_model(both), tmp_path, {"fp16": {}})
    expected = branch_model({side: halved(w) for side, w in both.items()})
    for condition in (True, False):
        feeds = {"x": normal(2, 16), "condition": np.array(condition)}
        np.testing.assert_array_equal(run(changed, feeds)[0], run(expected, feeds)[0])

    w = normal(16, 8)
    feeds = {"x": normal(2, 16)}
    changed, _, _ = apply(function_model(w), tmp_path, {"fp16": {}})
    np.testing.assert_array_equal(run(changed, feeds)[0], run(function_model(halved(w)), feeds)[0])


def function_model(w):
    """A model-local function that holds its weight as a Constant, called twice."""
    constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(w, "w"))
    body = [constant, helper.make_node("MatMul", ["fx", "w"], ["fy"], name="inner")]
    function = helper.make_function("local", "F", ["fx"], ["fy"], body, [helper.make_opsetid("", 17)])
    nodes = [helper.make_node("F", ["x"], ["a"], domain="local"), helper.make_node("F", ["x"], ["b"], domain="local"),
             helper.make_node("Add", ["a", "b"], ["y"])]
    return build(nodes, {"x": normal(2, 16)}, {}, functions=[function])


def test_fp16_leaves_what_it_would_harm(tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "large"], ["a"], name="large"),
             helper.make_node("MatMul", ["x", "small"], ["b"], name="small"),
             helper.make_node("MatMul", ["x", "good"], ["c"], name="good"),
             helper.make_node("Sum", ["a", "b", "c"], ["y"])]
    weights = {"large": normal(8, 8, scale=1e5), "small": normal(8, 8, scale=1e-8), "good": normal(8, 8)}
    changed, _, (step,) = apply(build(nodes, {"x": normal(2, 8)}, weights), tmp_path, {"fp16": {}})
    types = {t.name: t.data_type for t in changed.graph.initializer}
    assert types["large"] == FLOAT and types["small"] == FLOAT and "good" not in types
    reasons = {layer["name"]: layer["skipped_reason"] for layer in step["layers"]}
    assert "overflow" in reasons["large"] and "too small" in reasons["small"] and reasons["good"] == ""
    assert "1 stay float because values overflow, 1 because small values are lost" in step["notes"][0]


def truncated(matrix, rank):
    u, s, vt = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    return ((u[:, :rank] * s[:rank]) @ vt[:rank]).astype(np.float32)


BIAS = normal(12, seed=3)
# name -> (nodes, feeds, weights, how to truncate `w`): every form that low_rank splits.
SPLITS = {
    "matmul": ([node("MatMul", ["x", "w"])], {"x": normal(2, 3, 20)}, {"w": normal(20, 12)}, truncated),
    "matmul_of_a_vector": ([node("MatMul", ["x", "w"])], {"x": normal(20)}, {"w": normal(20, 12)}, truncated),
    "matmul_left": ([node("MatMul", ["w", "x"])], {"x": normal(2, 12, 3)}, {"w": normal(20, 12)}, truncated),
    "gemm": ([node("Gemm", ["x", "w", "b"], alpha=0.5, beta=2.0)], {"x": normal(3, 20)},
             {"w": normal(20, 12), "b": BIAS}, truncated),
    "gemm_without_bias": ([node("Gemm", ["x", "w"])], {"x": normal(3, 20)}, {"w": normal(20, 12)}, truncated),
    "gemm_transB": ([node("Gemm", ["x", "w", "b"], transB=1)], {"x": normal(3, 20)},
                    {"w": normal(12, 20), "b": BIAS}, truncated),
    "gemm_transA": ([node("Gemm", ["x", "w", "b"], transA=1)], {"x": normal(20, 3)},
                    {"w": normal(20, 12), "b": BIAS}, truncated),
    "behind_transpose": ([helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]), node("MatMul", ["x", "wt"])],
                         {"x": normal(3, 20)}, {"w": normal(12, 20)}, truncated),
    "shared": ([helper.make_node("MatMul", ["x", "w"], ["h"], name="encode"),
                helper.make_node("Transpose", ["w"], ["wt"]),
                helper.make_node("MatMul", ["h", "wt"], ["g"], name="decode"),
                helper.make_node("Gemm", ["g", "wt"], ["y"], name="again", transB=1)],
               {"x": normal(3, 20)}, {"w": normal(20, 12)}, truncated),
    "conv1d": ([node("Conv", ["x", "w", "b"], strides=[2])], {"x": normal(2, 20, 7)},
               {"w": normal(12, 20, 1), "b": BIAS}, lambda w, r: truncated(w[:, :, 0], r)[:, :, None]),
    "conv2d": ([node("Conv", ["x", "w", "b"], strides=[2, 1], pads=[1, 0, 2, 1], kernel_shape=[1, 1])],
               {"x": normal(2, 20, 7, 5)}, {"w": normal(12, 20, 1, 1), "b": BIAS},
               lambda w, r: truncated(w[:, :, 0, 0], r)[:, :, None, None]),
    "conv2d_auto_pad": ([node("Conv", ["x", "w"], strides=[2, 2], auto_pad="SAME_UPPER")],
                        {"x": normal(2, 20, 7, 5)}, {"w": normal(12, 20, 1, 1)},
                        lambda w, r: truncated(w[:, :, 0, 0], r)[:, :, None, None]),
    "conv3d": ([node("Conv", ["x", "w"])], {"x": normal(1, 20, 3, 3, 3)}, {"w": normal(12, 20, 1, 1, 1)},
               lambda w, r: truncated(w[:, :, 0, 0, 0], r)[:, :, None, None, None]),
    "conv_of_another_layout": ([helper.make_node("Transpose", ["w"], ["wt"], perm=[3, 2, 0, 1]),
                                node("Conv", ["x", "wt"])], {"x": normal(1, 20, 4, 4)}, {"w": normal(1, 1, 20, 12)},
                               lambda w, r: truncated(w[0, 0], r)[None, None]),
}


@pytest.mark.parametrize("algorithm", ["exact", "randomized"])
@pytest.mark.parametrize("form", ["initializer", "constant"])
@pytest.mark.parametrize("name", SPLITS)
def test_low_rank_model_equals_the_model_with_truncated_weights(name, form, algorithm, tmp_path):
    nodes, feeds, weights, truncate = SPLITS[name]
    rank = 4
    changed, _, (step,) = apply(build(nodes, feeds, weights, as_constants=form == "constant"), tmp_path,
                                {"low_rank": {"rank": rank, "algorithm": algorithm}}, seed=7)
    layer = step["layers"][0]
    assert layer["rank"] == rank and layer["bytes_after"] == rank * 32 * 4
    # Before and after have the same outputs, as names, shapes and order.
    assert [o.name for o in changed.graph.output] == ["y"]
    best = truncate(weights["w"], rank)
    actual = run(changed, feeds)[0]
    if algorithm == "exact":
        expected = run(build(nodes, feeds, {**weights, "w": best}), feeds)[0]
        np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * max(1, np.abs(expected).max()))
    error = np.linalg.norm(best - weights["w"]) / np.linalg.norm(weights["w"])
    assert layer["relative_error"] == pytest.approx(error, rel=1e-4 if algorithm == "exact" else 0.01)
    assert actual.shape == run(build(nodes, feeds, weights), feeds)[0].shape


def test_low_rank_behind_a_cast_in_subgraphs_and_in_functions(tmp_path):
    w = normal(20, 12)
    feeds = {"x": normal(3, 20)}
    nodes = [helper.make_node("Cast", ["w"], ["wf"], to=FLOAT), node("MatMul", ["x", "wf"])]
    changed, _, _ = apply(build(nodes, feeds, {"w": w.astype(np.float16)}), tmp_path, {"low_rank": {"rank": 4}})
    assert {t.data_type for t in changed.graph.initializer} == {TensorProto.FLOAT16}
    expected = feeds["x"] @ truncated(halved(w), 4)
    np.testing.assert_allclose(run(changed, feeds)[0], expected, atol=1e-3)

    both = {"then_branch": normal(16, 16), "else_branch": normal(16, 16, seed=1)}
    changed, _, _ = apply(branch_model(both), tmp_path, {"low_rank": {"rank": 4}})
    for condition, side in ((True, "then_branch"), (False, "else_branch")):
        feeds = {"x": normal(2, 16), "condition": np.array(condition)}
        np.testing.assert_allclose(run(changed, feeds)[0], feeds["x"] @ truncated(both[side], 4), atol=1e-5)

    w = normal(16, 8)
    feeds = {"x": normal(2, 16)}
    changed, _, _ = apply(function_model(w), tmp_path, {"low_rank": {"rank": 2}})
    np.testing.assert_allclose(run(changed, feeds)[0], 2 * feeds["x"] @ truncated(w, 2), atol=1e-5)


def test_steps_build_on_each_other_and_bytes_do_not_depend_on_threads(tmp_path):
    nodes = [node("Gemm", ["x", "w", "b"])]
    weights = {"w": normal(200, 120), "b": normal(120)}
    feeds = {"x": normal(2, 200)}
    steps = [{"prune_weights": {"sparsity": 0.3}}, {"low_rank": {"parameter_ratio": 0.5}}, {"fp16": {}}]
    files = []
    for threads in (1, 2, 5):
        changed, path, reports = apply(build(nodes, feeds, weights), tmp_path, *steps, seed=3, threads=threads)
        files.append(path.read_bytes())
    assert files[0] == files[1] == files[2]
    assert [layer["name"] for layer in reports[2]["layers"]] == ["layer/low_rank_a", "layer/low_rank_b"]
    rank = int(0.5 * 200 * 120 / 320)
    expected = feeds["x"] @ truncated(pruned(weights["w"], 7200), rank) + weights["b"]
    np.testing.assert_allclose(run(changed, feeds)[0], expected, atol=5e-3)
    assert len(files[0]) < 0.27 * weights["w"].nbytes + 2000


def test_a_nan_is_refused_with_the_name_of_its_layer(tmp_path):
    w = normal(16, 16)
    w[3, 4] = np.nan
    model = build([node("MatMul", ["x", "w"])], {"x": normal(2, 16)}, {"w": w})
    onnx.save(model, tmp_path / "in.onnx")
    for step in ({"prune_weights": {"sparsity": 0.5}}, {"fp16": {}}, {"low_rank": {"rank": 2}}):
        done = subprocess.run([TOOL, "apply", str(tmp_path / "in.onnx"), str(tmp_path / "out.onnx"),
                               json.dumps({"steps": [step]})], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "'layer'" in done.stderr and "NaN" in done.stderr
        assert not (tmp_path / "out.onnx").exists()
