# SPDX-License-Identifier: LGPL-2.1-or-later
"""What crash(8), drgn and gdb are asked about a dump, and how they are called."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from kdumpd.crashes.dump import Dump, Format

DRGN_SCRIPT = Path(__file__).with_name("drgn_script.py")
DRGN_QUESTIONS = ("log", "bt", "ps", "mod")
CRASH_QUESTIONS = ("log", "bt -a", "ps", "kmem -i", "mod -t")
# crash 8.0.2 of Debian 12 says so of a dump of its own kernel 6.1.192, and then lists three tasks of 78.
LOST_TASKS = "not found in PID hash"
# gdb takes each CPU of a dump for a thread. A stack that is damaged may have no end.
GDB_QUESTIONS = ("info threads", "thread apply all bt 64", "info registers")
# Whatever gdb would do by itself: scripts beside the symbols, downloads, questions.
GDB_HARMLESS = ("-nx", "-nh", "-batch", "-iex", "set auto-load no", "-iex", "set debuginfod enabled off")


class Tool(StrEnum):
    """What reads the memory of a dead kernel, the best first."""

    CRASH = "crash"
    DRGN = "drgn"
    GDB = "gdb"


@dataclass(frozen=True, kw_only=True)
class Question:
    """One call of a tool. Each has a process of its own: one that a damaged dump kills or hangs does not take the others along.

    `typed` is its standard input, `reads` is what it needs beside dump and symbols.
    """

    name: str
    argv: tuple[str, ...]
    typed: str = ""
    reads: tuple[Path, ...] = ()

    def complaint(self, text: str) -> str:
        """Why an answer is none, or not a whole one, where the exit code does not tell: that of crash is 0 whatever failed."""
        last = text.rpartition("\n")[2]
        command = self.name.partition(" ")[0]
        if not text:
            return "no answer"
        if self.typed and command == "ps" and LOST_TASKS in text:
            return "incomplete: this crash(8) does not find the tasks of this kernel; a newer one may, or drgn"
        if self.typed and last.startswith(f"{command}: ") and "WARNING" not in last:
            return "failed"
        return ""


def choose_tool(form: Format, find: Callable[[str], str | None]) -> Tool | None:
    """The best that is installed; gdb knows nothing of compressed dumps, and little of kernels."""
    able = [tool for tool in Tool if tool is not Tool.GDB or form is Format.ELF]
    return next((tool for tool in able if find(tool)), None)


def questions(tool: Tool, dump: Dump, symbols: Path) -> tuple[Question, ...]:
    """All that is asked."""
    core, names = str(dump.path), str(symbols)
    match tool:
        case Tool.CRASH:
            crash = ("crash", "-s", names, core)
            return tuple(Question(name=name, argv=crash, typed=f"{name}\nexit\n") for name in CRASH_QUESTIONS)
        case Tool.DRGN:
            return tuple(_drgn_question(name, name, dump, symbols) for name in DRGN_QUESTIONS)
        case Tool.GDB:
            gdb = ("gdb", *GDB_HARMLESS, *_gdb_files(dump, symbols))
            return tuple(Question(name=name, argv=(*gdb, "-ex", name)) for name in GDB_QUESTIONS)


def second_opinion(question: Question, dump: Dump, symbols: Path) -> Question | None:
    """What drgn can be asked where crash(8) had no whole answer; None: it has no such question."""
    word = question.name.partition(" ")[0]
    return _drgn_question(f"{word}, by drgn", word, dump, symbols) if question.typed and word in DRGN_QUESTIONS else None


def by_hand(tool: Tool, dump: Dump, symbols: Path) -> str:
    """The command line for a session of one's own."""
    core, names = str(dump.path), str(symbols)
    match tool:
        case Tool.CRASH:
            return shlex.join(("crash", names, core))
        case Tool.DRGN:
            return shlex.join(("drgn", "-c", core, "-s", names))
        case Tool.GDB:
            return shlex.join(("gdb", *_gdb_files(dump, symbols)))


def _drgn_question(name: str, word: str, dump: Dump, symbols: Path) -> Question:
    argv = ("drgn", "-q", "-c", str(dump.path), "-s", str(symbols), str(DRGN_SCRIPT), word)
    return Question(name=name, argv=argv, reads=(DRGN_SCRIPT,))


def _gdb_files(dump: Dump, symbols: Path) -> tuple[str, ...]:
    """gdb has to be told how far KASLR has moved the kernel."""
    moved = f"symbol-file -o {dump.kernel.kaslr_offset or 0:#x} {shlex.quote(str(symbols))}"
    return ("-ex", moved, "-ex", f"core-file {shlex.quote(str(dump.path))}")
