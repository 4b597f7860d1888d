"""Writes the list of operators in docs/training.md from the tables of worker/engine/ops/backward.

    LATHE_TEST_TOOL=... .venv/bin/python tests/conformance/gradients_table.py
"""

import json
import pathlib
import subprocess
import textwrap

from onnx_cases import TOOL

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "training.md"
HEADING = "## Operators that gradients pass through\n"


def backwards():
    done = subprocess.run([TOOL, "backwards"], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def name(row):
    return f"`{row['domain'] + '.' if row['domain'] else ''}{row['op']}`"


def section(rows):
    def listed(gradient):
        return textwrap.fill(", ".join(name(r) for r in rows if r["gradient"] == gradient), 140, break_on_hyphens=False) + "\n"

    return f"""{HEADING}
Written by `tests/conformance/gradients_table.py` from the engine's tables, held by a test. Each rule is compared with central
differences in float64 (`tests/conformance/test_gradients.py`). A form of an operator that its rule does not cover is named with
its node when it is met, as an operator without a rule is; what lies behind another path is trained all the same.

A gradient passes through:

{listed("passes")}
No gradient passes, since the result is made of integers or truth values, moves in steps, or does not depend on the elements of
the input (the gradient is zero, and nothing is reported):

{listed("zero")}
The engine runs these, but has no rule for them: a gradient ends there, and the node is named:

{listed("blocked")}"""


def replaced(text, rows):
    """The document with its section as the tables have it; whatever follows the section stays."""
    begin = text.index(HEADING)
    end = text.find("\n## ", begin + 1)
    return text[:begin] + section(rows) + ("" if end < 0 else text[end:])


def main():
    DOCUMENT.write_text(replaced(DOCUMENT.read_text(encoding="utf-8"), backwards()), encoding="utf-8")


if __name__ == "__main__":
    main()
