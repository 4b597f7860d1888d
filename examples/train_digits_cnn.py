#!/usr/bin/env python3
"""Trains a convolutional digits classifier and writes it as ONNX, with its data for `lathe --data`.

scikit-learn's bundled digits, enlarged to 32x32. Two convolutions keep the random filters that they begin with; what they make of
the training digits trains a linear classifier. That is no way to the best accuracy (it gets about 97 %), but a real convolutional
net with real labels, made in seconds.
"""

import argparse
import pathlib

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

from train_digits import digits_split


def images(x):
    """[n, 64] -> [n, 1, 32, 32]"""
    return np.repeat(np.repeat(x.reshape(-1, 1, 8, 8), 4, axis=2), 4, axis=3).astype(np.float32)


def build(head=None, seed=0):
    """Input `image` [batch, 1, 32, 32]; output `features` [batch, 1024], or with a head (weights, bias) `logits` [batch, 10]."""
    rng = np.random.default_rng(seed)

    def constant(name, array):
        return numpy_helper.from_array(np.asarray(array, np.float32), name)

    weights = [constant("conv1.weight", rng.standard_normal((32, 1, 5, 5)) * 0.28), constant("conv1.bias", rng.normal(0, 0.1, 32)),
               constant("conv2.weight", rng.standard_normal((64, 32, 3, 3)) * 0.083), constant("conv2.bias", rng.normal(0, 0.1, 64))]
    nodes = [helper.make_node("Conv", ["image", "conv1.weight", "conv1.bias"], ["c1"], name="conv1", pads=[2, 2, 2, 2]),
             helper.make_node("Relu", ["c1"], ["r1"]),
             helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
             helper.make_node("Conv", ["p1", "conv2.weight", "conv2.bias"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
             helper.make_node("Relu", ["c2"], ["r2"]),
             helper.make_node("MaxPool", ["r2"], ["p2"], kernel_shape=[4, 4], strides=[4, 4]),
             helper.make_node("Flatten", ["p2"], ["features"])]
    output = ("features", 1024)
    if head is not None:
        weights += [constant("fc.weight", head[0]), constant("fc.bias", head[1])]
        nodes.append(helper.make_node("Gemm", ["features", "fc.weight", "fc.bias"], ["logits"], name="fc", transB=1))
        output = ("logits", 10)
    graph = helper.make_graph(nodes, "digits_cnn", [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 32, 32])],
                              [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, ["batch", output[1]])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="lathe-examples")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model, x):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": x})[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", default="digits_cnn.onnx", help="ONNX file to write (default: %(default)s)")
    parser.add_argument("--data", default="digits_cnn", help="folder for train.npz and test.npz (default: %(default)s)")
    args = parser.parse_args()
    x_train, x_test, y_train, y_test = digits_split()
    x_train, x_test = images(x_train), images(x_test)
    classifier = LogisticRegression(C=0.1, max_iter=2000).fit(run(build(), x_train), y_train)
    model = build((classifier.coef_, classifier.intercept_))
    onnx.save(model, args.output)
    folder = pathlib.Path(args.data)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "train.npz", image=x_train, labels=y_train.astype(np.int64))
    np.savez(folder / "test.npz", image=x_test, labels=y_test.astype(np.int64))
    accuracy = (run(model, x_test).argmax(axis=1) == y_test).mean()
    print(f"wrote {args.output}: accuracy {accuracy:.4f} on the {len(y_test)} test digits in {folder / 'test.npz'}")


if __name__ == "__main__":
    main()
