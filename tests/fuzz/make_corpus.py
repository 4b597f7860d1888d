#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/corpus: small models (model_reader) and arrays (array_file) that use every corner of their
formats."""

import io
import json
import pathlib
import struct
import zipfile

import numpy as np
from onnx import TensorProto, helper, numpy_helper

CORPUS = pathlib.Path(__file__).parent / "corpus"
OUT = CORPUS / "model_reader"
ARRAYS = CORPUS / "array_file"


def value(name, dims, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, dims)


def save(name, nodes, inputs, outputs, weights=(), functions=(), opset=17, ir=8):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    imports = [helper.make_opsetid("", opset)] + ([helper.make_opsetid("f", 1)] if functions else [])
    model = helper.make_model(graph, opset_imports=imports, functions=list(functions))
    model.ir_version = ir
    (OUT / f"{name}.onnx").write_bytes(model.SerializeToString())


def npz(write, compression):
    """A .npz whose members have a fixed date, so that the same script gives the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, array in write.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=True)
            archive.writestr(zipfile.ZipInfo(name + ".npy", (1980, 1, 1, 0, 0, 0)), member.getvalue(), compression)
    return out.getvalue()


def safetensors(arrays):
    header, data = {"__metadata__": {"made": "by hand"}}, b""
    for name, (kind, array) in arrays.items():
        raw = array.tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def arrays():
    ARRAYS.mkdir(parents=True, exist_ok=True)
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    some = {"x": x, "labels": np.array([0, 1, 2]), "weights": np.ones(3, ">f8")}
    seeds = {"stored": npz(some, zipfile.ZIP_STORED), "deflated": npz(some, zipfile.ZIP_DEFLATED),
             "fortran": npz({"x": np.asfortranarray(x)}, zipfile.ZIP_DEFLATED),
             "object": npz({"x": np.array([{}], object)}, zipfile.ZIP_STORED),
             "scalar": npz({"x": np.array(True), "e": np.zeros((0, 3), np.uint8)}, zipfile.ZIP_STORED),
             "zeros": npz({"x": np.zeros(5000, np.int16)}, zipfile.ZIP_DEFLATED)}
    out = io.BytesIO()
    np.savez(out, x=x)  # its local headers are zip64
    seeds["numpy"] = out.getvalue()
    for name, content in seeds.items():
        (ARRAYS / f"{name}.npz").write_bytes(content)
    (ARRAYS / "plain.safetensors").write_bytes(safetensors({"x": ("F32", x), "labels": ("I64", np.array([0, 1, 2]))}))
    (ARRAYS / "empty.safetensors").write_bytes(safetensors({"e": ("BOOL", np.zeros((0, 2), bool))}))


def main():
    arrays()
    OUT.mkdir(parents=True, exist_ok=True)
    w = np.arange(6, dtype=np.float32).reshape(2, 3)
    x, y = value("x", ["n", 2]), value("y", ["n", 3])
    save("matmul", [helper.make_node("MatMul", ["x", "w"], ["y"])], [x], [y], [numpy_helper.from_array(w, "w")])
    save("constant", [helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(w)),
                      helper.make_node("MatMul", ["x", "w"], ["y"])], [x], [y])
    save("typed", [helper.make_node("MatMul", ["x", "w"], ["y"])], [x, value("w", [2, 3])], [y],
         [helper.make_tensor("w", TensorProto.FLOAT, [2, 3], w.ravel().tolist())], ir=3)
    save("half", [helper.make_node("Cast", ["h"], ["w"], to=1), helper.make_node("MatMul", ["x", "w"], ["y"])], [x], [y],
         [numpy_helper.from_array(w.astype(np.float16), "h")])
    then = helper.make_graph([helper.make_node("Identity", ["x"], ["t"])], "then", [], [value("t", None)])
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["t"])], "else", [], [value("t", None)])
    save("if", [helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)],
         [x, value("c", [], TensorProto.BOOL)], [y])
    body = helper.make_function("f", "twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])],
                                [helper.make_opsetid("", 17)])
    save("function", [helper.make_node("twice", ["x"], ["y"], domain="f")], [x], [y], functions=[body])
    big = numpy_helper.from_array(np.zeros((40, 40), np.float32), "w")
    save("large", [helper.make_node("MatMul", ["x", "w"], ["y"])], [value("x", [1, 40])], [value("y", [1, 40])], [big])


if __name__ == "__main__":
    main()
