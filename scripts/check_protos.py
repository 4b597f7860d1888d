#!/usr/bin/env python3
"""Checks that the interface explains itself: proto/lathe/v1 is all the documentation a client's author has.

- Every service, message, field, enum value and rpc has a comment. (Exempt: a zero enum value, an rpc's empty request or response.)
- A number or a duration says its unit or its range.
- A field that a caller sets (of a ...Request or a recipe's message) says its default, or that it is required.
"""

import re
import subprocess
import sys

NUMBERS = {"int32", "int64", "uint32", "uint64", "sint32", "sint64", "float", "double", "google.protobuf.Duration"}
# Messages besides ...Request whose fields a caller sets.
SET_BY_CALLERS = {"Recipe", "PruneWeights", "LowRank", "QuantizeWeights", "Fp16", "Preprocess", "Split", "Evaluate", "Constraints",
                  "UploadHeader", "JobDataset"}

FIELD = re.compile(r"(repeated |optional )?([\w.]+|map<.*>) (\w+) = \d+;")
BLOCK = re.compile(r"(message|enum|service|oneof) (\w+) \{(\})?")
RPC = re.compile(r"rpc (\w+)\(")
VALUE = re.compile(r"(\w+) = (\d+);")


def problems_of(path, text):
    """Yields "path:line: what" for one file."""
    blocks = []  # (kind, name) of what is open
    comment = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if line.startswith("//"):
            comment.append(line[2:].strip())
            continue
        said = " ".join(comment)
        comment = []
        where = f"{path}:{number}"
        if match := BLOCK.match(line):
            kind, name, empty = match.groups()
            if not said and kind != "oneof" and not empty and not (kind == "message" and name.endswith(("Request", "Response"))):
                yield f"{where}: {kind} {name} has no comment"
            if not empty:
                blocks.append((kind, name))
        elif line == "}":
            blocks.pop()
        elif match := RPC.match(line):
            if not said:
                yield f"{where}: rpc {match[1]} has no comment"
        elif blocks and blocks[-1][0] == "enum" and (match := VALUE.match(line)):
            if not said and match[2] != "0":
                yield f"{where}: value {match[1]} has no comment"
        elif match := FIELD.match(line):
            message = [name for kind, name in blocks if kind == "message"][-1]
            yield from field_problems(where, message, match[2], match[3], said)


def field_problems(where, message, kind, name, said):
    field = f"field {message}.{name}"
    if not said:
        yield f"{where}: {field} has no comment"
        return
    if said.startswith("As in "):  # of a field that says it all
        return
    if kind in NUMBERS and not re.search(r"\b(Unit|Range):", said):
        yield f"{where}: {field} is a number: say its unit (\"Unit: bytes.\") or its range (\"Range: [1, 8].\")"
    if (message.endswith("Request") or message in SET_BY_CALLERS) and \
            not re.search(r"\bDefault:|\bRequired\b|\bExactly one\b|\bAt most one\b", said):
        yield f"{where}: {field} is set by callers: say its default (\"Default: 8.\") or that it is required (\"Required.\")"


def main():
    paths = subprocess.run(["git", "ls-files", "proto/lathe"], capture_output=True, text=True, check=True).stdout.split()
    paths = [path for path in paths if path.endswith(".proto")]
    problems = []
    for path in paths:
        with open(path, encoding="utf-8") as f:
            problems.extend(problems_of(path, f.read()))
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"protos: {len(paths)} files, {len(problems)} problems")
    return 1 if problems or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
