#!/usr/bin/env python3
"""Checks which way the rooms of the house depend on each other, from their #include lines.

A file belongs to the room with the longest matching path. It may include its own room and the rooms listed for it; standard and
third-party headers are judged by FORBIDDEN alone.
"""

import os
import re
import subprocess
import sys

# room: rooms it may include besides itself.
ENGINE = "worker/engine/"
ALLOWED = {
    "common/": [],
    "common/recipe/": ["common/"],
    "common/report/": ["common/"],
    "common/formats/": ["common/"],
    "common/data/": ["common/", "common/recipe/", "common/formats/"],
    "proto/": ["common/", "common/recipe/"],
    "worker/engine/tensor/": ["common/"],
    "worker/engine/kernels/": ["common/", "worker/engine/tensor/"],
    "worker/engine/linalg/": ["common/", "worker/engine/tensor/", "worker/engine/kernels/"],
    "worker/engine/graph/": ["common/", "worker/engine/tensor/"],
    "worker/engine/ops/": ["common/", "worker/engine/tensor/", "worker/engine/kernels/", "worker/engine/linalg/",
                           "worker/engine/graph/"],
    "worker/engine/data/": ["common/", "common/recipe/", "common/formats/", "common/data/", "worker/engine/tensor/",
                            "worker/engine/graph/"],
    "worker/engine/passes/": ["common/", "worker/engine/tensor/", "worker/engine/kernels/", "worker/engine/graph/",
                              "worker/engine/ops/"],
    "worker/engine/lint/": ["common/", "worker/engine/tensor/", "worker/engine/graph/", "worker/engine/ops/"],
    "worker/engine/run/": ["common/", "worker/engine/tensor/", "worker/engine/kernels/", "worker/engine/linalg/",
                           "worker/engine/graph/", "worker/engine/ops/", "worker/engine/passes/"],
    "worker/engine/train/": ["common/", "common/recipe/", "worker/engine/tensor/", "worker/engine/kernels/",
                             "worker/engine/graph/", "worker/engine/data/", "worker/engine/ops/",
                             "worker/engine/passes/", "worker/engine/run/"],
    "worker/engine/calibrate/": ["common/", "worker/engine/tensor/", "worker/engine/kernels/", "worker/engine/graph/",
                                 "worker/engine/data/", "worker/engine/ops/", "worker/engine/run/"],
    "worker/engine/methods/": ["common/", "common/recipe/", "worker/engine/tensor/", "worker/engine/kernels/",
                               "worker/engine/linalg/", "worker/engine/graph/", "worker/engine/ops/",
                               "worker/engine/passes/", "worker/engine/data/", "worker/engine/run/",
                               "worker/engine/train/", "worker/engine/calibrate/"],
    "worker/engine/evaluate/metrics/": ["common/", "worker/engine/tensor/"],
    "worker/engine/evaluate/": ["common/", "common/recipe/", "common/report/", "worker/engine/tensor/",
                                "worker/engine/kernels/", "worker/engine/linalg/", "worker/engine/graph/",
                                "worker/engine/ops/", "worker/engine/run/", "worker/engine/train/",
                                "worker/engine/methods/", "worker/engine/evaluate/metrics/"],
    "worker/engine/": ["common/", "common/recipe/", "common/data/"] + [ENGINE + r + "/" for r in (
        "tensor", "kernels", "linalg", "graph", "data", "ops", "lint", "passes", "run", "train", "calibrate", "methods", "evaluate",
        "evaluate/metrics")],
    "worker/ort/": ["common/", "worker/engine/tensor/", "worker/engine/evaluate/"],
    "worker/job/": ["common/", "worker/engine/", "worker/ort/"],
    "worker/agent/": ["common/", "common/recipe/", "proto/", "worker/job/"],
    "worker/": ["common/", "worker/agent/", "worker/job/"],
    "server/jobs/": ["common/", "common/recipe/", "proto/", "server/store/"],
    "server/store/": ["common/", "proto/"],
    "server/blobs/": ["common/", "proto/", "server/store/", "server/jobs/"],
    "server/http/": ["common/", "server/telemetry/", "server/"],
    "server/telemetry/": ["common/", "server/jobs/", "server/store/", "server/blobs/"],
    "server/rpc/": ["common/", "common/recipe/", "proto/", "server/jobs/", "server/store/", "server/blobs/",
                    "server/telemetry/", "server/"],
    "server/": ["common/", "common/recipe/", "proto/", "server/jobs/", "server/store/", "server/blobs/", "server/http/",
                "server/telemetry/", "server/rpc/"],
    "client/cpp/": ["common/", "proto/"],
    "client/cli/": ["common/", "common/recipe/", "common/report/", "common/formats/", "common/data/", "proto/",
                    "client/cpp/"],
}
# Headers that a room must never see.
FORBIDDEN = {
    "common/": r"^(grpc|google/protobuf|SQLiteCpp|prometheus|lathe/v1)",
    "worker/engine/": r"^(grpc|SQLiteCpp|sqlite3|prometheus|lathe/v1|sys/socket|netinet|absl/time/clock)",
    "server/": r"^(onnx|Eigen|cblas|lapack|hwy)",
    "server/store/": r"^grpc",
    "worker/job/": r"^(grpc|google/protobuf|SQLiteCpp|lathe/v1)",
    "client/": r"^(onnx|Eigen|SQLiteCpp|prometheus)",
}
# The engine's public header holds plain structs that its own rooms may use.
SHARED = {"worker/engine/engine.h"}
# Public headers of a room that are included without its path.
PUBLIC = {"lathe/client.h": "client/cpp/"}


def room_of(path, rooms):
    matches = [r for r in rooms if path.startswith(r)]
    return max(matches, key=len) if matches else None


def main():
    files = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.cc", "*.h"],
                           capture_output=True, text=True, check=True).stdout.split()
    problems, seen = [], 0
    for path in files:
        room = room_of(path, ALLOWED)
        if room is None or not os.path.exists(path):
            continue
        seen += 1
        with open(path, encoding="utf-8") as source:
            for number, line in enumerate(source, 1):
                match = re.match(r'\s*#\s*include\s+["<]([^">]+)[">]', line)
                if not match:
                    continue
                header = match.group(1)
                for prefix, pattern in FORBIDDEN.items():
                    if path.startswith(prefix) and re.match(pattern, header):
                        problems.append(f"{path}:{number}: {prefix} must not include {header}")
                target = PUBLIC.get(header) or room_of(header, ALLOWED)
                if header not in SHARED and target and target != room and target not in ALLOWED[room]:
                    problems.append(f"{path}:{number}: {room} must not depend on {target} ({header})")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"include directions: {seen} files, {len(problems)} problems")
    return 1 if problems or seen == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
