# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads a log, and keeps of it what the verdict needs."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from kdumpd.crashes.text.block import Block, process_line
from kdumpd.crashes.text.boot import Boot
from kdumpd.crashes.text.grammar import Header, Role, parse_header, parse_lost
from kdumpd.crashes.text.lines import Line, find_lines
from kdumpd.crashes.text.model import CrashText
from kdumpd.crashes.text.verdict import choose_boot, decide

PIECE = 256 << 10
# The message of a warning, and what list_debug.c says, stand between "cut here" and the header.
AFTER_CUT = 3
# So many lines may come between "Dumping ftrace buffer:" and its first row of dashes.
BEFORE_FTRACE = 50
IN_FTRACE = -1
# The lines of an oops's beginning come at once, so not more of another's than this can stand between them: bytes.
BETWEEN = 8 << 10
# With the names of callers a fault goes on when its own speaks again. No more of them are waited for, and none for longer.
MAX_OPEN = 64
MAX_SILENCE = 256 << 10
_BANNER = re.compile(r"Linux version (?P<release>\d\S*)")
# What no event begins with: the end of the dump was lost.
_AFTER_FTRACE = re.compile(r"Linux version \d|Kernel panic - not syncing|---\[ end |CPU: \d+ (?:UID: \d+ )?PID: ")
_NOTED: tuple[tuple[re.Pattern[str], Callable[[Boot, str], None]], ...] = (
    (re.compile(r".*\[Hardware Error\]|EDAC .*(?:\b[CU]E\b|[Ee]rror)|.*\bAER: "), Boot.note_hardware_error),
    (re.compile(r"(?:Memory cgroup o|O)ut of memory: |.*: Out of memory: Kill"), Boot.note_oom_kill),
    (re.compile(r"(?:Kernel c|C)ommand line: .*\belfcorehdr="), Boot.note_dump_kernel),
    (re.compile(r"DMI: .*"), Boot.note_hardware),
    # What the kernel was told just before `kdumpd test` crashed it; capture/console.py says who speaks.
    (re.compile(r"kdumpd: test [0-9a-f]+: "), Boot.note_test),
)


class Reader:
    """Takes lines; knows the faults of each boot in the log."""

    def __init__(self) -> None:
        self.boots: deque[Boot] = deque([Boot()])
        self._open: dict[str | None, Block] = {}
        self._ftrace: dict[str | None, int] = {}
        self._after_cut = 0
        self._message: str | None = None

    def attentive(self) -> bool:
        """Whether it needs every line now."""
        return bool(self._open or self._ftrace or self._after_cut)

    def take(self, line: Line) -> None:
        """The next line that matters."""
        if not line.text:
            return
        if self._ftrace and self._in_ftrace(line):
            return
        if banner := _BANNER.match(line.text):
            self._begin_boot(banner["release"])
        elif header := parse_header(line.text):
            self._begin(header, line)
        else:
            self._other(line)

    def verdict(self) -> CrashText | None:
        """What happened; None when the log tells of no end of a kernel."""
        return decide(choose_boot(self.boots))

    @property
    def boot(self) -> Boot:
        return self.boots[-1]

    def _begin_boot(self, release: str) -> None:
        self._open.clear()
        self._ftrace.clear()
        self.boots.append(Boot(release=release))
        # Only the last end of a kernel counts, so of a long log with many boots two are enough.
        while len(self.boots) > 2:  # noqa: PLR2004
            kept = choose_boot(list(self.boots)[:-1])
            self.boots = deque([kept, self.boots[-1]])

    def _begin(self, header: Header, line: Line) -> None:
        current = self._open.get(line.caller)
        begun = current if current and _goes_on(current, header) else self._interrupted(header, line)
        if begun:
            begun.merge(header)
            self._open[line.caller] = begun
            return
        if current and current.role is Role.LOST and header.role is Role.OOPS and current.release is None and not current.trace:
            current.begin_again(header, line)
            return
        block = Block(header, line, self._message)
        self._message, self._after_cut = None, 0
        self.boot.add(block)
        self._follow(block, line)

    def _interrupted(self, header: Header, line: Line) -> Block | None:
        """The oops whose beginning goes on with this line, after another CPU's fault came between the two."""
        if header.get("number") is None:
            return None
        for block in reversed(self.boot.blocks):
            if line.offset - block.last_offset > BETWEEN:
                return None
            if block.caller == line.caller and _goes_on(block, header):
                return block
        return None

    def _other(self, line: Line) -> None:
        if line.text.startswith("------------[ cut here ]"):
            self._message, self._after_cut = None, AFTER_CUT
            return
        if line.text.startswith("Dumping ftrace ") and line.text.endswith(":"):
            # The kernel lets only one CPU dump at a time (kernel/trace/trace.c, ftrace_dump()).
            self._ftrace = {line.caller: BEFORE_FTRACE}
            return
        for pattern, note in _NOTED:
            if pattern.match(line.text):
                note(self.boot, line.text)
        if self._after_cut:
            self._after_cut -= 1
            self._message = self._message or line.text
        block = self._owner(line)
        if block is None and (lost := parse_lost(line.text)):
            block = Block(lost, line, None)
            self.boot.add(block)
        if block:
            block.take(line)
            self._follow(block, line)

    def _follow(self, block: Block, line: Line) -> None:
        """Keeps the faults that may go on, in the order in which they last spoke."""
        self._open.pop(line.caller, None)
        if not block.over:
            self._open[line.caller] = block
        while self._open:
            caller, silent = next(iter(self._open.items()))
            if len(self._open) <= MAX_OPEN and line.offset - silent.last_offset <= MAX_SILENCE:
                return
            del self._open[caller]

    def _owner(self, line: Line) -> Block | None:
        """Whose line this is. Without a caller, a line "CPU: … PID: …" finds back to the fault whose header named them."""
        block = self._open.get(line.caller)
        if line.caller is None and (who := process_line(line.text)):
            for other in reversed(self.boot.blocks):
                if not other.over and other.release is None and (other.cpu, other.pid) == who:
                    self._open[None] = other
                    return other
        return block

    def _in_ftrace(self, line: Line) -> bool:
        """An event of a trace is no line of the log, whatever it says."""
        state = self._ftrace.get(line.caller)
        if state is None or _AFTER_FTRACE.match(line.text):
            self._ftrace.pop(line.caller, None)
            return False
        dashes = len(line.text) > 20 and not line.text.strip("-")  # noqa: PLR2004
        inside = state == IN_FTRACE
        if (dashes and inside) or state == 0 or "(ftrace buffer empty)" in line.text:
            del self._ftrace[line.caller]
        elif dashes:
            self._ftrace[line.caller] = IN_FTRACE
        elif inside:
            self.boot.note_ftrace(line.text)
        else:
            self._ftrace[line.caller] = state - 1
        # Another CPU may speak between the heading and the first event.
        return inside or dashes


def _goes_on(block: Block, header: Header) -> bool:
    """Whether a header is a further line of a beginning, not another fault."""
    return block.role is Role.OOPS and header.role is Role.OOPS and block.number is None and block.release is None


def read_pieces(pieces: Iterable[bytes]) -> CrashText | None:
    """What happened, from a log that comes in pieces of any size."""
    reader = Reader()
    for line in find_lines(pieces, reader.attentive):
        reader.take(line)
    return reader.verdict()


def read_stream(stream: BinaryIO) -> CrashText | None:
    """What happened, from an open log."""
    return read_pieces(_pieces(stream))


def read_log(path: Path) -> CrashText | None:
    """What happened, from a log file.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb") as stream:
        return read_stream(stream)


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while piece := stream.read(PIECE):
        yield piece
