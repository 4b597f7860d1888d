"""The fenced blocks of Markdown files, and which of them a reader may run.

A block of commands or a recipe is run as it stands, unless the line before it is `<!-- not run: REASON -->`.
"""

import dataclasses
import pathlib
import re

SHELL = {"sh", "bash", "shell", "console", "zsh"}
EXCUSE = re.compile(r"<!-- not run: (.*\S) -->")


@dataclasses.dataclass
class Block:
    path: pathlib.Path
    line: int  # of its first line, from 1
    language: str
    lines: list
    excuse: str  # why it is not run; "" when it is

    def __str__(self):
        return f"{self.path.name}:{self.line}"

    @property
    def text(self):
        return "\n".join(self.lines) + "\n"


def blocks_of(path):
    """Every fenced block of a file, in order."""
    blocks, fence, before = [], None, ""
    for number, line in enumerate(path.read_text().split("\n"), 1):
        match = re.match(r"\s*(```+|~~~+)\s*(\w*)", line)
        if fence is None and match:
            excuse = EXCUSE.fullmatch(before.strip())
            blocks.append(Block(path, number + 1, match[2], [], excuse[1] if excuse else ""))
            fence = match[1]
        elif fence is not None and line.strip() == fence:
            fence = None
        elif fence is not None:
            blocks[-1].lines.append(line)
        if line.strip():
            before = line
    assert fence is None, f"{path}: a block is never closed"
    return blocks


def script_of(blocks, prologue):
    """One bash script of a file's runnable commands, each on the line it has in the file, so that $LINENO is the reader's.

    The prologue is line 1, where no block can be.
    """
    lines = {1: prologue}
    for block in blocks:
        for offset, line in enumerate(block.lines):
            lines[block.line + offset] = line
    return "\n".join(lines.get(number, "") for number in range(1, max(lines) + 1)) + "\n"
