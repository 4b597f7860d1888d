"""Where ONNX Runtime's shared library is: of the Python package, which is the referee."""

import pathlib

import onnxruntime


def library():
    found = sorted((pathlib.Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    assert len(found) == 1, f"expected one libonnxruntime.so.VERSION in the onnxruntime package, found {found}"
    return found[0]
