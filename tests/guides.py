# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a document tells its reader to type, and what the reader is to see then: the fenced blocks of docs/*.md.

    ```console                     # COMMAND, and below it what it prints; these are run by tests/vm/test_guide.py
    ```yaml FILE                   the content of a file, to be written; without FILE, an example of a policy
    ```sh, ```                     anything else: commands for another machine, output of another machine

In what a command prints, "…" stands for anything in its line, and alone in a line for any number of lines.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
FENCE = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
ANYTHING = "…"
# What differs from run to run, and the word that it is compared as. The order counts: a time has numbers in it.
VARYING = (
    (r"20\d\d-\d\d-\d\dT\d\d[:-]\d\d([:-]\d\d)?Z(-\d+)?", "TIME"),
    (r"\b[A-Z][a-z]{2} +\d+ \d\d:\d\d(:\d\d)?", "TIME"),
    (r"\b\d+\.\d+\.\d+-\d+(-cloud)?-amd64\b", "RELEASE"),
    (r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b", "ID"),
    (r"\b\d+(\.\d+)?[KMGT]\b", "SIZE"),
    (r"\b\d+(\.\d+)? s\b", "SECONDS"),
    (r"\b(PID|CPU) \d+", r"\1 NUMBER"),
    (r"\[ *\d+\.\d{6}\]", "[TIME]"),
)


@dataclass(frozen=True)
class Command:
    """What is typed, and what is to be seen."""

    typed: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class NewFile:
    """A file that the reader writes."""

    path: str
    content: str


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """The word behind each fence, and what is in it."""
    yield from ((found["kind"].strip(), found["text"]) for found in FENCE.finditer(text))


def story(text: str) -> Iterator[Command | NewFile]:
    """What the reader does, in its order."""
    for kind, block in blocks(text):
        if kind == "console":
            yield from commands(block)
        elif kind.startswith("yaml /"):
            yield NewFile(kind.removeprefix("yaml "), block)


def commands(block: str) -> Iterator[Command]:
    """
    Raises:
        ValueError: the block does not begin with a command.
    """
    before, *parts = re.split(r"^# ", block, flags=re.MULTILINE)
    if before or not parts:
        raise ValueError(f"a console block begins with a command, not with {block.partition(chr(10))[0]!r}")
    for part in parts:
        typed, *shown = part.rstrip("\n").split("\n")
        yield Command(typed, tuple(shown))


def is_shown(shown: tuple[str, ...], printed: str) -> bool:
    """Whether a command printed what its document shows, but for what differs from run to run."""
    pattern = "".join(r"(.*\n)*?" if line == ANYTHING else _pattern(line) + r"\n" for line in shown)
    lines = [comparable(line) for line in printed.splitlines()]
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def _pattern(line: str) -> str:
    return ".*".join(re.escape(part) for part in comparable(line).split(ANYTHING))


def comparable(line: str) -> str:
    """A line without what differs from run to run, and without the width of columns."""
    for pattern, word in VARYING:
        line = re.sub(pattern, word, line)
    return re.sub(r"  +", "  ", line.rstrip())
