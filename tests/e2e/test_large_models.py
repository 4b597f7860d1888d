"""Models of more than 2 GB, past what one protobuf holds. They move tens of gigabytes: LATHE_LARGE_TESTS=1 runs them."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from conftest import sqnr_db

pytestmark = pytest.mark.skipif(os.environ.get("LATHE_LARGE_TESTS") != "1", reason="set LATHE_LARGE_TESTS=1")
WIDTH, LAYERS = 5888, 16  # 139 MB a matrix, 2.22 GB in all
TWO_GIB = 1 << 31


def chain(folder, layers, external):
    """A chain of products; its weights in a file of external data, or in the model's own."""
    block = np.random.default_rng(3).standard_normal((WIDTH, WIDTH), dtype=np.float32)
    block *= np.float32(WIDTH ** -0.5)
    initializers, nodes, at = [], [], "x"
    for i in range(layers):
        weight = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[WIDTH, WIDTH])
        values = np.roll(block, 7 * i).tobytes()
        if external:
            weight.data_location = TensorProto.EXTERNAL
            for key, value in (("location", "weights.bin"), ("offset", i * len(values)), ("length", len(values))):
                weight.external_data.add(key=key, value=str(value))
            with open(folder / "weights.bin", "ab") as data:
                data.write(values)
        else:
            weight.raw_data = values
        initializers.append(weight)
        nodes.append(helper.make_node("MatMul", [at, f"w{i}"], [f"h{i}"], name=f"fc{i}"))
        at = f"h{i}"
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH])],
                              [helper.make_tensor_value_info(at, TensorProto.FLOAT, ["n", WIDTH])], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")
    return folder / "m.onnx"


@pytest.fixture(scope="module")
def large_model(tmp_path_factory):
    return chain(tmp_path_factory.mktemp("large"), LAYERS, external=True)


def output(path):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_prepacking", "1")  # a second copy of all weights
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).standard_normal((2, WIDTH)).astype(np.float32)
    return session.run(None, {"x": x})[0]


# Sixteen layers one after the other: each adds its noise, 12 dB in all over that of one (10 log10 16).
@pytest.mark.parametrize("step, share, least_db, external", [
    ("prune_weights:sparsity=0.1", 1.001, 5, True),
    ("quantize_weights:bits=8,keep_small=0", 0.27, 35 - 12, False),
    ("fp16", 0.501, 60 - 12, False),
])
def test_more_than_two_gigabytes(server, large_model, tmp_path, step, share, least_db, external):
    server.lathe("compress", large_model, "-o", tmp_path / "small.onnx", "--step", step, timeout=1800)
    sizes = {p.name: p.stat().st_size for p in tmp_path.iterdir()}
    before = sum(p.stat().st_size for p in large_model.parent.iterdir())
    assert before > TWO_GIB
    assert sum(sizes.values()) < share * before
    assert (len(sizes) > 1) == external
    assert sizes["small.onnx"] < TWO_GIB
    assert sqnr_db(output(large_model), output(tmp_path / "small.onnx")) > least_db


def test_one_file_just_below_what_a_protobuf_holds(server, tmp_path):
    """What is read from one file is written with external data when it might not fit again."""
    (tmp_path / "in").mkdir()
    model = chain(tmp_path / "in", LAYERS - 1, external=False)
    assert 1900 << 20 < model.stat().st_size < TWO_GIB
    (tmp_path / "out").mkdir()
    small = tmp_path / "out" / "small.onnx"
    server.lathe("compress", model, "-o", small, "--step", "prune_weights:sparsity=0.1", timeout=1800)
    assert len(list(small.parent.iterdir())) == 2
    assert sqnr_db(output(model), output(small)) > 5
