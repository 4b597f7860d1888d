#!/usr/bin/env python3
"""Accuracy of two digits classifiers in ONNX Runtime, on the test split that training never saw."""

import argparse
import json
import os
import sys

import numpy as np
import onnxruntime as ort

from train_digits import digits_split


def predictions(path, x):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: x})
    return logits.argmax(axis=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", help="original ONNX file")
    parser.add_argument("after", help="compressed ONNX file")
    parser.add_argument("--report", help="report.json of the job: its accuracies must be the same, to the last digit")
    args = parser.parse_args()
    _, x, _, y = digits_split()
    before, after = predictions(args.before, x), predictions(args.after, x)
    rows = [("", "before", "after", "change")]
    sizes = os.path.getsize(args.before), os.path.getsize(args.after)
    rows.append(("file bytes", f"{sizes[0]:,}", f"{sizes[1]:,}", f"x {sizes[1] / sizes[0]:.3f}"))
    right = (before == y).sum(), (after == y).sum()
    rows.append(("accuracy", f"{right[0] / len(y):.4f}", f"{right[1] / len(y):.4f}",
                 f"{(right[1] - right[0]) / len(y) * 100:+.2f} points"))
    rows.append(("test digits right", f"{right[0]} of {len(y)}", f"{right[1]} of {len(y)}",
                 f"{right[1] - right[0]:+d}"))
    rows.append(("same prediction", "", f"{np.mean(before == after):.4f}", ""))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        print("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(row, widths))))
    if args.report:
        with open(args.report, encoding="utf-8") as report:
            evaluation = json.load(report)["evaluation"]
        told = tuple(round(evaluation[side]["accuracy"] * len(y)) for side in ("before", "after"))
        if told != tuple(right):
            sys.exit(f"the report says {told[0]} and {told[1]} test digits right; ONNX Runtime says {right[0]} and {right[1]}")
        print("the report says the same")


if __name__ == "__main__":
    main()
