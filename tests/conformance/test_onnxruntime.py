"""ONNX Runtime's library as worker/ort/ uses it, against the same library used by its Python package: the positions in its
table of functions are right when every answer is the same."""

import json
import pathlib
import subprocess
import sys

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from onnx_cases import TOOL, difference, read_outputs, write_inputs  # noqa: E402
from onnxruntime_library import library  # noqa: E402

# What ONNX Runtime's Identity takes and its Python package gives back as an array.
DTYPES = ["float32", "float64", "float16", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "bool"]


def save(path, nodes, inputs, outputs, weights=(), opset=17):
    def info(name, dtype, shape):
        return helper.make_tensor_value_info(name, dtype, shape)

    graph = helper.make_graph(nodes, "g", [info(*i) for i in inputs], [info(*o) for o in outputs], list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    path.mkdir(exist_ok=True)
    onnx.save(model, path / "model.onnx")
    return path


def identity(path, dtype, shape):
    return save(path, [helper.make_node("Identity", ["x"], ["y"])], [("x", dtype, shape)], [("y", dtype, shape)])


def run(folder, *flags, lib=None):
    done = subprocess.run([TOOL, "ort", lib or library(), *flags, folder], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def outputs_of(folder, inputs, *flags):
    write_inputs(folder / "inputs.onnx", {name: (value, None) for name, value in inputs.items()})
    answer = run(folder, *flags)
    assert answer["ok"], answer
    return read_outputs(folder / "outputs.onnx")


def values(dtype, shape, seed=5):
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.startswith("float"):
        return rng.standard_normal(shape).astype(dtype)
    bounds = np.iinfo(dtype)
    return rng.integers(bounds.min, bounds.max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_element_type_goes_in_and_comes_out(tmp_path, dtype):
    x = values(dtype, (3, 5))
    folder = identity(tmp_path / "m", helper.np_dtype_to_tensor_dtype(x.dtype), [3, 5])
    np.testing.assert_array_equal(outputs_of(folder, {"x": x})["y"], x, strict=True)


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_small_floats_are_cast_as_numbers_of_that_type(tmp_path, dtype):
    """The bytes mean the same on both sides: cast to float32 inside ONNX Runtime, as against ml_dtypes outside."""
    x = np.array([[0.5, -1.75], [2.0, 0.125]], np.float32).astype(getattr(ml_dtypes, dtype))
    number = {"bfloat16": TensorProto.BFLOAT16, "float8_e4m3fn": TensorProto.FLOAT8E4M3FN, "float8_e5m2": TensorProto.FLOAT8E5M2}[dtype]
    folder = save(tmp_path / "m", [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)], [("x", number, [2, 2])],
                  [("y", TensorProto.FLOAT, [2, 2])], opset=19)
    given = onnx.TensorProto(data_type=number, dims=[2, 2], raw_data=x.tobytes())
    np.testing.assert_array_equal(outputs_of(folder, {"x": given})["y"], x.astype(np.float32))


def test_strings_go_in_and_come_out(tmp_path):
    x = np.array([["", "a"], ["räksmörgås", "x" * 5000]], dtype=object)
    folder = identity(tmp_path / "m", TensorProto.STRING, [2, 2])
    got = outputs_of(folder, {"x": x})["y"]
    assert [g.decode() if isinstance(g, bytes) else g for g in got.ravel()] == list(x.ravel())


@pytest.mark.parametrize("shape", [(), (0, 4), (1,), (2, 3, 4, 5, 6)])
def test_every_rank_and_no_elements_at_all(tmp_path, shape):
    x = values("float32", shape)
    folder = identity(tmp_path / "m", TensorProto.FLOAT, list(shape))
    np.testing.assert_array_equal(outputs_of(folder, {"x": x})["y"], x, strict=True)


def network(path, external=False):
    """Two inputs, two outputs, a fusion to be made (MatMul + Add), and an input with a default."""
    weight = numpy_helper.from_array(values("float32", (64, 32)), "w")
    bias = numpy_helper.from_array(values("float32", (32,), 6), "b")
    nodes = [helper.make_node("Add", ["x", "z"], ["s"]), helper.make_node("MatMul", ["s", "w"], ["m"]),
             helper.make_node("Add", ["m", "b"], ["a"]), helper.make_node("Relu", ["a"], ["y"]),
             helper.make_node("ReduceSum", ["y"], ["total"], keepdims=0)]
    save(path, nodes, [("x", TensorProto.FLOAT, ["n", 64]), ("z", TensorProto.FLOAT, ["n", 64])],
         [("y", TensorProto.FLOAT, ["n", 32]), ("total", TensorProto.FLOAT, [])], [weight, bias])
    if external:
        onnx.save(onnx.load(path / "model.onnx"), path / "model.onnx", save_as_external_data=True, location="weights.bin",
                  size_threshold=0)
        assert (path / "weights.bin").stat().st_size > 8000
    return path


LEVELS = {"none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL, "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
          "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("external", [False, True])
def test_outputs_are_those_of_the_python_package_bit_for_bit(tmp_path, external, level, threads):
    folder = network(tmp_path / "m", external)
    inputs = {"x": values("float32", (7, 64), 1), "z": values("float32", (7, 64), 2), "not asked for": values("int8", (3,))}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    wanted = dict(zip(["y", "total"], session.run(None, {n: inputs[n] for n in ("x", "z")})))
    flags = [] if level == "all" else [f"--{level}"]
    got = outputs_of(folder, inputs, "--threads", str(threads), *flags)
    for name, value in wanted.items():
        np.testing.assert_array_equal(got[name], value, strict=True)


@pytest.mark.parametrize("level, op", [("none", "MatMul"), ("basic", "Gemm"), ("all", "FusedGemm")])
def test_the_optimized_graph_is_saved_as_it_is_run(tmp_path, level, op):
    folder = network(tmp_path / "m")
    model = onnx.load(folder / "model.onnx")
    for info in [*model.graph.input, *model.graph.output[:1]]:
        info.type.tensor_type.shape.dim[0].dim_value = 7
    onnx.save(model, folder / "model.onnx")
    inputs = {"x": values("float32", (7, 64), 1), "z": values("float32", (7, 64), 2)}
    outputs_of(folder, inputs, "--optimized", "seen.onnx", *([] if level == "all" else [f"--{level}"]))
    assert op in [node.op_type for node in onnx.load(folder / "seen.onnx").graph.node]


def test_version_and_output_names_are_told(tmp_path):
    folder = network(tmp_path / "m")
    write_inputs(folder / "inputs.onnx", {n: (values("float32", (1, 64)), None) for n in ("x", "z")})
    answer = run(folder)
    assert answer["version"] == onnxruntime.__version__
    assert answer["outputs"] == ["y", "total"]


def test_a_missing_input_is_named(tmp_path):
    folder = network(tmp_path / "m")
    write_inputs(folder / "inputs.onnx", {"x": (values("float32", (1, 64)), None)})
    answer = run(folder)
    assert not answer["ok"] and answer["code"] == "INVALID_ARGUMENT" and "'z' is missing" in answer["error"]


def test_inputs_that_do_not_fit_are_refused_in_onnx_runtimes_words(tmp_path):
    folder = network(tmp_path / "m")
    write_inputs(folder / "inputs.onnx", {n: (values("float32", (1, 63)), None) for n in ("x", "z")})
    answer = run(folder)
    assert not answer["ok"] and "Expected: 64" in answer["error"]


def test_a_type_that_onnx_runtime_has_no_number_for_is_refused(tmp_path):
    folder = identity(tmp_path / "m", TensorProto.FLOAT, [2])
    given = onnx.TensorProto(data_type=24, dims=[2], raw_data=b"\0\0")  # float8e8m0
    write_inputs(folder / "inputs.onnx", {"x": (given, None)})
    answer = run(folder)
    assert not answer["ok"] and answer["code"] == "INVALID_ARGUMENT" and "'x'" in answer["error"]


def test_a_string_with_a_nul_is_refused_and_not_cut(tmp_path):
    folder = identity(tmp_path / "m", TensorProto.STRING, [1])
    write_inputs(folder / "inputs.onnx", {"x": (onnx.TensorProto(data_type=8, dims=[1], string_data=[b"a\0b"]), None)})
    answer = run(folder)
    assert not answer["ok"] and answer["code"] == "INVALID_ARGUMENT" and "NUL" in answer["error"]


def test_a_model_it_cannot_load_gives_its_message_without_the_folder(tmp_path):
    folder = save(tmp_path / "m", [helper.make_node("NoSuchOp", ["x"], ["y"], name="odd")], [("x", TensorProto.FLOAT, [2])],
                  [("y", TensorProto.FLOAT, [2])])
    write_inputs(folder / "inputs.onnx", {"x": (values("float32", (2,)), None)})
    answer = run(folder)
    assert not answer["ok"] and "NoSuchOp" in answer["error"]
    assert str(folder) not in answer["error"]


def test_a_model_that_would_not_fit_into_memory_is_not_loaded(tmp_path):
    folder = network(tmp_path / "m")
    inputs = {n: values("float32", (1, 64)) for n in ("x", "z")}
    outputs_of(folder, inputs, "--spare", str(80 << 20))
    (folder / "outputs.onnx").unlink()
    answer = run(folder, "--spare", str(64 << 20))
    assert not answer["ok"] and answer["code"] == "RESOURCE_EXHAUSTED" and "--memory-limit-mb" in answer["error"]
    assert not (folder / "outputs.onnx").exists()


def test_sequences_are_left_out_of_the_outputs(tmp_path):
    sequence = helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("SequenceConstruct", ["x"], ["parts"]), helper.make_node("Relu", ["x"], ["y"])], "g",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
                              [sequence, helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    folder = tmp_path / "m"
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    got = outputs_of(folder, {"x": np.array([-1, 2], np.float32)})
    assert difference(np.array([0, 2], np.float32), got["y"], 0, 0) is None and "parts" not in got


def test_nothing_is_told_to_microsoft(tmp_path):
    """Since 1.29 the official library sends news of each model it loads, and keeps it in the home folder meanwhile."""
    folder = network(tmp_path / "m")
    home = tmp_path / "home"
    home.mkdir()
    write_inputs(folder / "inputs.onnx", {n: (values("float32", (1, 64)), None) for n in ("x", "z")})
    done = subprocess.run([TOOL, "ort", library(), folder], capture_output=True, text=True, check=True, timeout=120,
                          env={"HOME": str(home), "PATH": "/usr/bin:/bin"})
    assert json.loads(done.stdout)["ok"]
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("path, said", [("/nonexistent/libonnxruntime.so", "there is no file"), (__file__, "cannot be loaded"),
                                        ("libm.so.6", "no OrtGetApiBase")])
def test_what_is_no_library_of_onnx_runtime_is_refused(tmp_path, path, said):
    if path == "libm.so.6":
        linked = subprocess.run(["ldd", TOOL], capture_output=True, text=True, check=True).stdout
        path = next(line.split()[2] for line in linked.splitlines() if "libm.so.6" in line)
    done = subprocess.run([TOOL, "ort", path, tmp_path], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0 and said in done.stderr and "--ort-library" in done.stderr
