"""What the documentation says to type works: its commands run, its recipes validate, its flags exist.

The commands of a file run in one shell, top to bottom, in a folder that looks like the checkout with a `model.onnx` in it, against
the built binaries. `lathed` gets a free port instead of its default one.
"""

import os
import re
import shutil
import socket
import subprocess

import pytest
from conftest import BIN, GRPCURL, ROOT, lathe
from doc_blocks import SHELL, blocks_of, script_of

DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [block for path in DOCS for block in blocks_of(path)]
DEFAULT_ADDRESS = "127.0.0.1:50051"


def shell_blocks(path):
    return [b for b in BLOCKS if b.path == path and b.language in SHELL]


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def checkout_like(folder, model, address):
    """A folder in which the commands of the documentation find what they name."""
    bin_folder = folder / "build" / "release" / "bin"
    bin_folder.mkdir(parents=True)
    for binary in BIN.iterdir():
        if binary.name.startswith("lathe") and binary.name != "lathed":
            (bin_folder / binary.name).symlink_to(binary)
    lathed = bin_folder / "lathed"
    lathed.write_text(f'#!/bin/sh\nexec {BIN}/lathed "$@" --listen {address} --metrics-listen 127.0.0.1:0\n')
    lathed.chmod(0o755)
    (folder / "examples").symlink_to(ROOT / "examples")
    shutil.copy(model, folder / "model.onnx")
    return bin_folder


def run_commands(path, blocks, folder, model):
    """Runs a file's blocks; returns (exit code, everything printed)."""
    address = free_address()
    bin_folder = checkout_like(folder, model, address)
    prologue = (f"set -eEuo pipefail; trap 'echo \"{path.name}:$LINENO: failed: $BASH_COMMAND\"' ERR; "
                "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT")
    script = folder / "commands.sh"
    script.write_text(script_of(blocks, prologue).replace(DEFAULT_ADDRESS, address))
    environment = {**os.environ, "PATH": f"{bin_folder}:{GRPCURL.parent}:{os.environ['PATH']}", "LATHE_SERVER": ""}
    run = subprocess.run(["bash", script], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    return run.returncode, run.stdout


@pytest.mark.parametrize("path", [p for p in DOCS if any(not b.excuse for b in shell_blocks(p))],
                         ids=lambda p: p.name)
def test_commands_run(path, digits_model, tmp_path):
    code, printed = run_commands(path, [b for b in shell_blocks(path) if not b.excuse], tmp_path, digits_model)
    assert code == 0, printed


def test_a_command_that_fails_is_named_by_file_and_line(digits_model, tmp_path):
    path = tmp_path / "broken.md"
    path.write_text("# Title\n\n```sh\ntrue\nlathe nonsense\n```\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    code, printed = run_commands(path, blocks_of(path), folder, digits_model)
    assert code == 2 and "broken.md:5: failed: lathe nonsense" in printed


def test_commands_are_documented_at_all():
    run = [b for b in BLOCKS if b.language in SHELL and not b.excuse]
    assert len(run) >= 3, [str(b) for b in run]
    for block in BLOCKS:
        assert block.language, f"{block}: a block without a language is neither run nor excused"


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in ("yaml", "yml") and not b.excuse], ids=str)
def test_recipes_validate(block, server, digits_model, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(block.text)
    run = server.lathe("submit", digits_model, "--recipe", recipe, "--validate-only", check=False)
    assert run.returncode == 0, f"{block}: {run.stderr}"


def flags_of(*command):
    """The long flags that a program's --help lists."""
    text = subprocess.run([BIN / command[0], *command[1:], "--help"], capture_output=True, text=True, check=True).stdout
    listed = re.findall(r"^ +(?:-\w,)?(--[a-z][a-z-]*)(?:,(!?--[a-z-]+))?", text, re.MULTILINE)
    return {flag.lstrip("!") for pair in listed for flag in pair if flag} - {"--help", "--version"}


def commands():
    text = lathe("--help").stdout
    return re.findall(r"^ {2}([a-z]+) {2,}\S", text[text.index("Subcommands:"):], re.MULTILINE)


def cli_rows():
    """docs/cli.md, "Options": command -> flags its row names."""
    text = (ROOT / "docs" / "cli.md").read_text()
    section = text[text.index("\n## Options"):]
    rows = re.findall(r"^\| `lathe(?: ([a-z]+))?` \| (.*) \|$", section, re.MULTILINE)
    return {command: set(re.findall(r"--[a-z][a-z-]*", options)) for command, options in rows}


def test_every_option_of_the_command_is_documented_and_every_documented_one_exists():
    documented = cli_rows()
    actual = {"": flags_of("lathe"), **{c: flags_of("lathe", c) for c in commands()}}
    assert len(actual) > 15
    assert documented == {command: flags for command, flags in actual.items() if flags or command in documented}


def test_every_flag_that_the_documentation_names_exists():
    known = flags_of("lathe") | flags_of("lathed") | flags_of("lathe-worker")
    for command in commands():
        known |= flags_of("lathe", command)
    known |= {"--help", "--version"}
    for path in DOCS:
        for number, line in enumerate(path.read_text().split("\n"), 1):
            if re.search(r"scripts/|docker|cmake", line):  # flags of others
                continue
            for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", line):
                assert flag in known, f"{path.name}:{number}: there is no flag {flag}"
