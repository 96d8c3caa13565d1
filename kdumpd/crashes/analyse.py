# SPDX-License-Identifier: LGPL-2.1-or-later
"""Asks crash(8), drgn or gdb what the memory of a dead kernel tells, in a sandbox, and keeps the answer beside it."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdumpd import __version__
from kdumpd.capture.durable import write_file
from kdumpd.capture.keep import ANALYSIS
from kdumpd.crashes.debugger import Question, Tool, by_hand, choose_tool, questions, second_opinion
from kdumpd.crashes.dump import Dump, find_dump
from kdumpd.crashes.packages import tool_command
from kdumpd.crashes.report import Report
from kdumpd.crashes.sandbox import sandbox
from kdumpd.crashes.symbols import PLACES, find_symbols, installed
from kdumpd.errors import KdumpdError, ToolError
from kdumpd.run import find_program, run, run_limited
from kdumpd.terminal import UNSEEN

MODE = 0o600
# For each question. A dump of a terabyte takes its time; a damaged one may never end.
TIMEOUT = 900.0
STOP_TIMEOUT = 30.0
MAX_OUTPUT = 16 << 20
# Of what a kernel that was broken has left, nothing may steer the terminal that shows it.
_UNSEEN = re.compile(f"[{UNSEEN}]")


class AnalysisError(KdumpdError):
    """A crash that can't be analysed."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the tool printed when it was asked; `problem`, in words, when that failed."""

    question: str
    text: str
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """All answers, and their text as it is kept."""

    answers: tuple[Answer, ...]
    text: str

    @property
    def failed(self) -> bool:
        """Whether nothing was answered."""
        return all(answer.problem for answer in self.answers)


def analyse(
    root: Path, folder: Path, report: Report, *, vmlinux: Path | None = None, say: Callable[[str], None], timeout: float = TIMEOUT
) -> Analysis:
    """Asks everything, and writes analysis.txt into the folder of the crash, in place of an older one.

    Raises:
        AnalysisError: no memory was saved, or there is nothing to read it with.
        HostError: the dump is none, or its debug symbols are not there.
        OSError: the analysis can't be kept.
    """
    dump = _dump(folder, report)
    tool = choose_tool(dump.format, find_program)
    if tool is None:
        raise AnalysisError(
            f"neither crash nor drgn is installed, and something must read {dump.path}", hint=f"{tool_command(root)}, and try again"
        )
    symbols = find_symbols(root, dump.kernel, vmlinux, say).absolute()
    answers = []
    for question in questions(tool, dump, symbols):
        say(f"asking {tool}: {question.name} …")
        answers.append(_ask(root, question, reads=(dump.path, symbols), timeout=timeout))
        other = second_opinion(question, dump, symbols) if answers[-1].problem and find_program(Tool.DRGN) else None
        if other:
            say(f"that was no whole answer; asking {other.name} …")
            answers.append(_ask(root, other, reads=(dump.path, symbols), timeout=timeout))
    text = "\n".join(_lines(folder, dump, symbols, tool, answers)) + "\n"
    write_file(folder / ANALYSIS, text.encode(), MODE)
    return Analysis(answers=tuple(answers), text=text)


def analysis_command(report: Report, folder: Path, root: Path = Path("/")) -> str:
    """What a person would type to look into the memory of this crash; "" where none was saved."""
    try:
        dump = _dump(folder, report)
    except KdumpdError:
        return ""
    expected = root / PLACES[0].format(release=dump.kernel.release or "RELEASE")
    symbols = next(iter(installed(root, dump.kernel)), expected)
    return by_hand(choose_tool(dump.format, find_program) or Tool.CRASH, dump, symbols)


def _dump(folder: Path, report: Report) -> Dump:
    """The dump, with what the log knows of its kernel where it does not tell itself."""
    dump = find_dump(folder)
    if dump is None:
        raise AnalysisError(
            f"the memory of crash {folder.name} was not saved, so there is nothing to analyse: only its log was",
            hint=(
                f"kdumpd crashes show {folder.name} tells all that the log has; to have the memory of the next crash, set"
                ' "capture: {vmcore: {level: 31}}" in /etc/kdumpd.yaml and run kdumpd apply'
            ),
        )
    release = dump.kernel.release or (report.told.release if report.told else None)
    build_id = dump.kernel.build_id or (report.capture.build_id if report.capture else None)
    return Dump(path=dump.path.absolute(), format=dump.format, kernel=dump.kernel._replace(release=release, build_id=build_id))


def _ask(root: Path, question: Question, *, reads: Sequence[Path], timeout: float) -> Answer:
    unit = f"kdumpd-analyse-{os.getpid()}"
    program, *words = question.argv
    # Its own PATH has nothing of the caller's.
    whole = (find_program(program) or program, *words)
    boxed = sandbox(root, whole, name=unit, reads=(*reads, *question.reads), seconds=timeout + STOP_TIMEOUT)
    try:
        said = run_limited(boxed.argv, timeout=timeout, limit=MAX_OUTPUT, typed=question.typed)
    except ToolError as problem:
        return Answer(question=question.name, text="", problem=str(problem))
    finally:
        if boxed.stop:
            # It is gone already, unless it was cut off.
            with contextlib.suppress(ToolError):
                run(boxed.stop, timeout=STOP_TIMEOUT)
    text = _UNSEEN.sub("�", said.output.decode(errors="replace")).strip("\n")
    silence = "" if text else ", without a word"
    return Answer(question=question.name, text=text, problem=said.problem + silence if said.problem else question.complaint(text))


def _lines(folder: Path, dump: Dump, symbols: Path, tool: Tool, answers: Sequence[Answer]) -> Iterator[str]:
    yield f"crash {folder.name}, as {tool} sees it (kdumpd {__version__})"
    yield ""
    yield f"memory:  {dump.path} ({dump.format})"
    if dump.incomplete:
        yield "         There was no room for all of it: what an answer lacks may have been in the rest."
    yield f"kernel:  {dump.kernel.release or 'unknown'}, build-id {dump.kernel.build_id or 'unknown'}"
    yield f"symbols: {symbols}"
    yield f"by hand: {by_hand(tool, dump, symbols)}"
    for answer in answers:
        yield ""
        yield f"==== {answer.question} ===="
        if answer.text:
            yield answer.text
        if answer.problem:
            yield f"==== {answer.question}: {answer.problem} ===="
