"""Arrays that NumPy wrote, read by the engine: names, types, shapes and every byte agree."""

import hashlib
import json
import os
import struct
import subprocess

import numpy as np
import pytest

TOOL = os.environ.get("LATHE_TEST_TOOL", "build/dev/bin/lathe_test_tool")
TYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"]


def read(path, rows=7):
    done = subprocess.run([TOOL, "arrays", path, str(rows)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {a["name"]: a for a in map(json.loads, done.stdout.splitlines())}


def expect(path, arrays, rows=7):
    found = read(path, rows)
    assert sorted(found) == sorted(arrays)
    for name, array in arrays.items():
        plain = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<")))
        assert found[name]["dtype"] == array.dtype.name
        assert found[name]["shape"] == list(array.shape)
        assert found[name]["sha256"] == hashlib.sha256(plain.tobytes()).hexdigest(), name


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_numpy_files_of_every_type_order_and_byte_order(tmp_path, save):
    rng = np.random.default_rng(5)
    arrays = {}
    for kind in TYPES:
        for order in "<>":
            dtype = np.dtype(kind).newbyteorder(order)
            values = rng.integers(0, 2 if kind == "bool" else 100, (23, 3, 5)).astype(dtype)
            arrays[f"{kind}{order}"] = values
            arrays[f"{kind}{order}fortran"] = np.asfortranarray(values)
    arrays["one"] = np.arange(30.0)
    arrays["none"] = np.zeros((0, 4), np.float32)
    arrays["name with spaces \u00e9"] = np.ones((2, 2))
    path = tmp_path / "d.npz"
    save(path, **arrays)
    expect(path, arrays)


def test_safetensors(tmp_path):
    kinds = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
             "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL"}
    arrays = {kind: np.arange(40).reshape(10, 4).astype(kind) for kind in kinds}
    header, data = {}, b""
    for kind, array in arrays.items():
        header[kind] = {"dtype": kinds[kind], "shape": list(array.shape), "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path = tmp_path / "d.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    expect(path, arrays)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_memory_stays_flat(tmp_path, save):
    """240 MB of rows in less than 150 MB resident, of which most is what Python held before it became the tool."""
    path = tmp_path / "large.npz"
    save(path, x=np.zeros((60_000, 1_000), np.float32))
    process = subprocess.Popen([TOOL, "arrays", path, "100"], stdout=subprocess.PIPE, text=True)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert json.loads(out)["shape"] == [60_000, 1_000]
    assert usage.ru_maxrss < 150_000  # KiB
