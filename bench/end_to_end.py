#!/usr/bin/env python3
"""A 100 MB model end to end (upload, 8-bit job, download) against copying it through the engine alone.

    bench/end_to_end.py [--megabytes N] [--rounds N]

Copying: a job process whose recipe touches no layer reads, measures and writes the model. Both in turn; medians.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import memory

STEP = "quantize_weights:bits=8,granularity=channel"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bin", type=pathlib.Path, default=memory.ROOT / "build/release/bin")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model = folder / "in" / "model.onnx"
        model.parent.mkdir()
        memory.transformer(model, args.megabytes)
        ports = folder / "ports.json"
        server = subprocess.Popen([args.bin / "lathed", "--data-dir", folder / "data", "--listen", "127.0.0.1:0",
                                   "--metrics-listen", "127.0.0.1:0", "--port-file", ports, "--local-workers", "1"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not (ports.exists() and ports.stat().st_size):
                time.sleep(0.02)
            address = json.loads(ports.read_text())["listen"]
            whole, copies = [], []
            for i in range(args.rounds + 1):
                # Other bytes each time: the server knows models and results that it has seen.
                with open(model, "r+b") as f:
                    f.seek(model.stat().st_size // 2 // 4 * 4)
                    f.write(bytes([i]))
                start = time.monotonic()
                subprocess.run([args.bin / "lathe", "compress", model, "-o", folder / "out.onnx", "--step", STEP,
                                "--server", address], check=True, capture_output=True)
                whole.append(time.monotonic() - start)
                nothing = [{"quantize_weights": {"targets": ["no such layer"]}}]
                copies.append(memory.run(args.bin / "lathe-job", model, nothing, 2, False)[1])
        finally:
            server.terminate()
            server.wait()
        a, b = statistics.median(whole[1:]), statistics.median(copies[1:])
        print(f"end to end {a:.2f} s, copy {b:.2f} s, ratio {a / b:.1f}")


if __name__ == "__main__":
    main()
