#!/usr/bin/env python3
"""Checks names: of files, of tests, of metrics, and that lists which must agree do.

- Sources are snake_case; a header's include guard is its path.
- Every unit test lies where its room does: tests/unit/<path>/<stem>_test.cc.
- No source passes 600 lines, no test 800.
- The repo speaks of the product alone: no absolute paths of somebody's machine.
- Every method of the catalogue stands in the engine's table, in recipe.proto, and in docs/recipes.md and docs/status.md.
- Every rule of the linter stands in docs/lint.md with its severity, in the table's order.
- Every subcommand of `lathe` stands in docs/cli.md; every metric of server/telemetry in docs/operations.md.
"""

import os
import re
import subprocess
import sys


def git_files(*patterns):
    out = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
                         capture_output=True, text=True, check=True).stdout.split("\n")
    return [f for f in out if f and os.path.exists(f)]


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def main():
    problems = []
    sources = git_files("*.cc", "*.h")
    for path in sources:
        stem, ending = os.path.splitext(os.path.basename(path))
        if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*(-inl)?", stem):
            problems.append(f"{path}: file names are snake_case")
        text = read(path)
        lines = text.count("\n")
        if lines > (800 if path.startswith("tests/") else 600):
            problems.append(f"{path}: {lines} lines; ask which two things the file is")
        if ending == ".h" and "HWY_TARGET_TOGGLE" not in text:
            guard = re.sub(r"[^A-Z0-9]", "_", path.upper()) + "_"
            guard = guard if guard.startswith("LATHE_") else "LATHE_" + guard
            if f"#define {guard}" not in text:
                problems.append(f"{path}: the include guard must be {guard}")
        if path.startswith("tests/unit/") and ending == ".cc" and not stem.endswith("_test") \
                and not stem.startswith("fake_"):
            problems.append(f"{path}: unit tests end in _test.cc")
        if path.startswith("tests/unit/"):
            room = os.path.dirname(path)[len("tests/unit/"):]
            if not os.path.isdir(room):
                problems.append(f"{path}: tests/unit mirrors the tree, but there is no {room}/")

    for path in git_files():
        if path.endswith((".png", ".bin", ".onnx")) or "/corpus/" in path:
            continue
        try:
            text = read(path)
        except UnicodeDecodeError:
            problems.append(f"{path}: not text")
            continue
        for number, line in enumerate(text.split("\n"), 1):
            if re.search(r"(?<![\w.])/(home|root|work|farm)/\w", line):
                problems.append(f"{path}:{number}: names a path of somebody's machine")

    spec = r'^MethodSpec \w+\(\) \{\s*(?:return|MethodSpec \w+ =) \{\s*\.name = "(\w+)"'
    catalogue = [name for path in ("common/recipe/catalogue.cc", "common/recipe/quantize_specs.cc")
                 for name in re.findall(spec, read(path), re.M)]
    catalogue += re.findall(r'^  spec\.name = "(\w+)";', read("common/recipe/training_specs.cc"), re.M)
    table = re.findall(r'\{"(\w+)", Apply', read("worker/engine/methods/table.cc"))
    if sorted(catalogue) != sorted(table):
        problems.append(f"catalogue {catalogue} and engine table {table} disagree")
    proto = re.findall(r"^    \w+ (\w+) = \d+;", read("proto/lathe/v1/recipe.proto"), re.M)
    if sorted(catalogue) != sorted(proto):
        problems.append(f"catalogue {catalogue} and recipe.proto {proto} disagree")

    # Sections stand beside the steps: a field of Recipe whose type has the section's name.
    sections = re.findall(spec, read("common/recipe/sections.cc"), re.M)
    fields = re.findall(r"^  optional (\w+) (\w+) = \d+;", read("proto/lathe/v1/recipe.proto"), re.M)
    fields = [name for kind, name in fields if kind.lower() == name]
    if not sections or sorted(sections) != sorted(fields):
        problems.append(f"sections {sections} and recipe.proto {fields} disagree")

    def documented(names, doc, what):
        text = read(doc) if os.path.exists(doc) else ""
        for name in names:
            if not re.search(rf"`[^`\n]*\b{re.escape(name)}\b[^`\n]*`", text):
                problems.append(f"{doc}: says nothing of the {what} `{name}`")

    documented(catalogue, "docs/recipes.md", "method")
    documented(sections, "docs/recipes.md", "section")
    documented(catalogue, "docs/status.md", "method")
    commands = re.findall(r'\{"(\w+)", Add', read("client/cli/commands/table.cc"))
    documented(commands, "docs/cli.md", "command")
    rules = re.findall(r'^\s+\{"(\w+)", k(Error|Slow|Note),', read("worker/engine/lint/rules.cc"), re.M)
    rows = re.findall(r"^\| `(\w+)` \| (error|slow|note) \|", read("docs/lint.md"), re.M)
    if not rules or [(name, severity.lower()) for name, severity in rules] != rows:
        problems.append(f"worker/engine/lint/rules.cc {rules} and docs/lint.md {rows} disagree")
    metrics = set()
    for path in git_files("server/telemetry/*", "worker/agent/*"):
        metrics.update(re.findall(r'"(lathe_\w+)"', read(path)))
    documented(sorted(metrics), "docs/operations.md", "metric")

    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"names: {len(sources)} sources, {len(catalogue)} methods, {len(commands)} commands, "
          f"{len(metrics)} metrics, {len(problems)} problems")
    return 1 if problems or not sources or not catalogue or not commands or not metrics else 0


if __name__ == "__main__":
    sys.exit(main())
