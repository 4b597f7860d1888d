#!/usr/bin/env python3
"""Trains a digits classifier and writes it as ONNX.

scikit-learn's bundled 8x8 digits, pixels scaled to [0, 1]; a multilayer perceptron 64-256-256-10 with ReLU. The split into 1,437
training and 360 test digits is fixed (digits_split), so that compare_accuracy.py measures on what training never saw.
"""

import argparse

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier


def digits_split():
    """(x_train, x_test, y_train, y_test): x float32 [n, 64] in [0, 1], y int64 [n]."""
    digits = load_digits()
    x = (digits.data / 16.0).astype(np.float32)
    return train_test_split(x, digits.target, test_size=0.2, random_state=0, stratify=digits.target)


def to_onnx(coefs, intercepts):
    """Gemm-Relu-Gemm-Relu-Gemm; input `pixels` [batch, 64], output `logits` [batch, 10]."""
    nodes, weights, value = [], [], "pixels"
    last = len(coefs) - 1
    for i, (coef, intercept) in enumerate(zip(coefs, intercepts)):
        weights.append(numpy_helper.from_array(coef.astype(np.float32), f"fc{i + 1}.weight"))
        weights.append(numpy_helper.from_array(intercept.astype(np.float32), f"fc{i + 1}.bias"))
        output = "logits" if i == last else f"fc{i + 1}.out"
        nodes.append(helper.make_node("Gemm", [value, f"fc{i + 1}.weight", f"fc{i + 1}.bias"], [output],
                                      name=f"fc{i + 1}"))
        value = output
        if i != last:
            nodes.append(helper.make_node("Relu", [value], [f"relu{i + 1}.out"], name=f"relu{i + 1}"))
            value = f"relu{i + 1}.out"
    graph = helper.make_graph(
        nodes, "digits",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        initializer=weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="lathe-examples")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", default="digits.onnx", help="ONNX file to write (default: %(default)s)")
    parser.add_argument("--data", help="also write the test split there, as .npz for `lathe --data`")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training (default: %(default)s)")
    args = parser.parse_args()
    x_train, x_test, y_train, y_test = digits_split()
    mlp = MLPClassifier((256, 256), alpha=1e-4, learning_rate_init=1e-3, max_iter=60, n_iter_no_change=60,
                        random_state=args.seed)
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it stops after 60 epochs on purpose
        mlp.fit(x_train, y_train)
    onnx.save(to_onnx(mlp.coefs_, mlp.intercepts_), args.output)
    if args.data:
        np.savez_compressed(args.data, pixels=x_test, labels=y_test.astype(np.int64))
    print(f"{args.output}: accuracy {mlp.score(x_test, y_test):.4f} on {len(y_test)} test digits")


if __name__ == "__main__":
    main()
