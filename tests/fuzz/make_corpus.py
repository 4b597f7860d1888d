#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/corpus/model_reader: small models that use every corner of the format."""

import pathlib

import numpy as np
from onnx import TensorProto, helper, numpy_helper

OUT = pathlib.Path(__file__).parent / "corpus" / "model_reader"


def value(name, dims, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, dims)


def save(name, nodes, inputs, outputs, weights=(), functions=(), opset=17, ir=8):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    imports = [helper.make_opsetid("", opset)] + ([helper.make_opsetid("f", 1)] if functions else [])
    model = helper.make_model(graph, opset_imports=imports, functions=list(functions))
    model.ir_version = ir
    (OUT / f"{name}.onnx").write_bytes(model.SerializeToString())


def main():
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
