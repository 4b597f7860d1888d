"""ONNX's own node tests, run by the engine's executor.

As a program it prints one line for each operator and the cases that fail:
  python tests/conformance/onnx_cases.py [--ops Add,Conv] [--reference] [--plain] [--verbose]
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

# What ONNX Runtime says of a type or a form that it does not take: there is nothing to compare with then.
REFUSALS = (ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.InvalidGraph, ort_errors.NotImplemented,
            ort_errors.RuntimeException)
TOOL = os.environ.get("LATHE_TEST_TOOL", "build/release/bin/lathe_test_tool")
BATCH = 100

Outcome = collections.namedtuple("Outcome", "name op status detail")  # status: pass, fail, unsupported


def to_tensor(value, name):
    if isinstance(value, onnx.TensorProto):
        tensor = onnx.TensorProto()
        tensor.CopyFrom(value)
        tensor.name = name
        return tensor
    return numpy_helper.from_array(np.asarray(value), name)


def write_inputs(path, named):
    """Inputs as the initializers of a model (tests/support/run_tool.h)."""
    tensors, compound = [], {}
    for name, (value, declared) in named.items():
        optional = declared is not None and declared.WhichOneof("value") == "optional_type"
        items = value if isinstance(value, list) else None
        if items is not None:
            compound[name] = {"sequence": len(items)}
        if optional:
            compound[name] = {"optional": 0 if value is None else len(items) if items is not None else 1}
            if items is not None:
                compound[name]["sequence"] = len(items)
            items = items if items is not None else [] if value is None else [value]
        if items is None:
            tensors.append(to_tensor(value, name))
        else:
            tensors.extend(to_tensor(item, f"{name}[{i}]") for i, item in enumerate(items))
    graph = helper.make_graph([], "inputs", [], [], tensors, doc_string=json.dumps(compound))
    path.write_bytes(helper.make_model(graph).SerializeToString())


def read_outputs(path):
    graph = onnx.load(str(path)).graph
    compound = json.loads(graph.doc_string or "{}")
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for name in sorted(compound, key=len, reverse=True):
        form = compound[name]
        count = form.get("sequence", form.get("optional"))
        items = [arrays.pop(f"{name}[{i}]") for i in range(count)]
        if "sequence" in form:
            arrays[name] = items
        else:
            arrays[name] = items[0] if items else None
    return arrays


def run_folders(folders, flags=()):
    """One answer a folder; a crash is an answer too."""
    answers = []
    for start in range(0, len(folders), BATCH):
        part = folders[start:start + BATCH]
        while part:
            done = subprocess.run([TOOL, "run", *flags, *map(str, part)], capture_output=True, text=True, check=False,
                                  timeout=600)
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            answers.extend(lines)
            part = part[len(lines):]
            if part and done.returncode != 0:
                answers.append({"ok": False, "code": "CRASH", "error": f"exit {done.returncode}: {done.stderr[-300:]}"})
                part = part[1:]
    return answers


def difference(wanted, got, rtol, atol):
    """What is wrong, or None."""
    if isinstance(wanted, list):
        if not isinstance(got, list) or len(got) != len(wanted):
            return f"wanted {len(wanted)} elements, got {got if not isinstance(got, list) else len(got)}"
        return next((d for w, g in zip(wanted, got) if (d := difference(w, g, rtol, atol))), None)
    if wanted is None:
        return None if got is None else "wanted nothing"
    wanted = numpy_helper.to_array(wanted) if isinstance(wanted, onnx.TensorProto) else np.asarray(wanted)
    if got is None:
        return "no such output"
    if isinstance(got, list):
        return "wanted a tensor, got a sequence"
    if wanted.shape != got.shape:
        return f"wanted shape {wanted.shape}, got {got.shape}"
    if wanted.dtype.kind in "OUS":
        same = [str(w) for w in wanted.ravel()] == [g.decode() if isinstance(g, bytes) else str(g) for g in got.ravel()]
        return None if same else f"wanted {wanted.ravel()[:5]}, got {got.ravel()[:5]}"
    if wanted.dtype != got.dtype:
        return f"wanted {wanted.dtype}, got {got.dtype}"
    # The expected values of half types were computed step by step in that type; the engine computes in float32 and rounds
    # once. Each step of theirs is off by at most half a unit in the last place (2^-9 for bfloat16, 2^-12 for float16): eight
    # steps, and one for the comparison.
    if wanted.dtype.name in ("bfloat16", "float16"):
        rtol = max(rtol, 9 * 2.0 ** (-9 if wanted.dtype.name == "bfloat16" else -12))
    if wanted.dtype.kind not in "fciub" or wanted.dtype.name in ("bfloat16",):
        wanted, got = wanted.astype(np.float32), got.astype(np.float32)
    try:
        np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol)
    except AssertionError as error:
        return " ".join(str(error).split())[:300]
    return None


def op_of(case):
    """The operator a case is about: of an expanded function, the function."""
    nodes = case.model.graph.node
    if len(nodes) == 1:
        domain = nodes[0].domain
        return nodes[0].op_type if domain in ("", "ai.onnx") else f"{domain}.{nodes[0].op_type}"
    if "_expanded" in case.name:
        return "expanded functions"
    return nodes[-1].op_type if len({n.op_type for n in nodes}) == 1 else "graphs of several operators"


def cases():
    from onnx.backend.test.case.node import collect_testcases
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [case for case in collect_testcases(None) if case.model is not None and case.data_sets]


def run_cases(chosen, folder, flags=()):
    """An Outcome for each case."""
    folders = []
    for number, case in enumerate(chosen):
        inputs, _ = case.data_sets[0]
        at = folder / str(number)
        at.mkdir()
        (at / "model.onnx").write_bytes(case.model.SerializeToString())
        given = list(case.model.graph.input)
        write_inputs(at / "inputs.onnx", {info.name: (value, info.type) for info, value in zip(given, inputs)})
        folders.append(at)
    outcomes = []
    for case, at, answer in zip(chosen, folders, run_folders(folders, flags)):
        op = op_of(case)
        if not answer["ok"]:
            unsupported = answer["code"] == "UNIMPLEMENTED"
            outcomes.append(Outcome(case.name, op, "unsupported" if unsupported else "fail", answer["error"]))
            continue
        got = read_outputs(at / "outputs.onnx")
        names = [info.name for info in case.model.graph.output]
        wrong = next((f"{name}: {d}" for name, wanted in zip(names, case.data_sets[0][1])
                      if (d := difference(wanted, got.get(name), case.rtol, case.atol))), None)
        outcomes.append(Outcome(case.name, op, "fail" if wrong else "pass", wrong or ""))
    return outcomes


def by_op(outcomes):
    table = collections.defaultdict(collections.Counter)
    for outcome in outcomes:
        table[outcome.op][outcome.status] += 1
    return dict(sorted(table.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", default="", help="only these operators, separated by commas")
    parser.add_argument("--names", default="", help="only cases whose name contains this")
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="also list what is not supported")
    arguments = parser.parse_args()
    wanted = set(filter(None, arguments.ops.split(",")))
    chosen = [case for case in cases() if (not wanted or op_of(case) in wanted) and arguments.names in case.name]
    flags = [flag for flag in ("--reference", "--plain") if getattr(arguments, flag[2:])]
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run_cases(chosen, pathlib.Path(folder), flags)
    for op, counts in by_op(outcomes).items():
        print(f"{op:32} {counts['pass']:4} pass {counts['fail']:4} fail {counts['unsupported']:4} not supported")
    for outcome in outcomes:
        if outcome.status == "fail" or (arguments.verbose and outcome.status == "unsupported"):
            print(f"{outcome.status}: {outcome.name}: {outcome.detail}")
    total = collections.Counter(outcome.status for outcome in outcomes)
    print(dict(total))
    return 1 if total["fail"] else 0


if __name__ == "__main__":
    sys.exit(main())
