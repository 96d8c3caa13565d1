# SPDX-License-Identifier: LGPL-2.1-or-later
"""The report of a crash as one page of HTML: no script, and nothing that is fetched from elsewhere."""

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from kdumpd.capture import dmesg
from kdumpd.capture.console import size_text
from kdumpd.capture.doors import LOG_FILE
from kdumpd.capture.status import Status
from kdumpd.crashes.chart import css_class, draw_bar, draw_timeline, span_text
from kdumpd.crashes.memory import Memory, parse_memory
from kdumpd.crashes.record import read_status
from kdumpd.crashes.report import MAX_MEMORY, Report
from kdumpd.crashes.text.model import CrashText, Frame, Module
from kdumpd.crashes.text.signature import normalise
from kdumpd.crashes.timeline import MINUTES, Timeline, read_timeline
from kdumpd.files import open_own
from kdumpd.host import layout
from kdumpd.terminal import UNSEEN

TEMPLATE = "crash-report.html.j2"
# Of a longer log of a capture, the end: makedumpfile's report is there.
LOG_TAIL = 1 << 20
# The last of an ftrace dump; the rest is in the log.
FTRACE_SHOWN = 200
_UNSEEN = re.compile(f"[{UNSEEN}]")
# The byte at which the processor stopped: <48>; arm64: (b900001f).
_STOPPED = re.compile(r"[<(]([0-9a-f]{2,8})[>)]")


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of a capture, in words."""

    name: str
    ok: bool
    seconds: str
    size: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a sort of page was of the memory."""

    css: str
    name: str
    size: str
    percent: str


def render_html(report: Report, *, folder: Path, seen: int) -> str:
    """The page. `folder` is the crash's, `seen` how often the archive has a crash of this signature.

    Raises:
        OSError: the folder can't be read.
    """
    status = read_status(folder)
    timeline = _timeline(folder / dmesg.FILE)
    memory = parse_memory(_tail(folder / LOG_FILE))
    told = report.told
    return _template().render(
        report=report,
        told=told,
        facts=[(name, value) for name, value in _facts(report, seen) if value],
        folder=str(folder),
        minutes=MINUTES,
        timeline=timeline,
        timeline_chart=Markup(draw_timeline(timeline.events)),  # noqa: S704 - no text of a log is in it
        place=_place(told) if told else None,
        modules=_modules(told) if told else [],
        code=_code(told.code) if told and told.code else None,
        ftrace=told.ftrace[-FTRACE_SHOWN:] if told else (),
        steps=[] if status is None else list(_steps(status)),
        story=[] if status is None else list(_story(report, status)),
        shares=list(_shares(memory, status)) if memory else [],
        memory_chart=Markup(draw_bar(memory.pages, "What the memory was")) if memory else None,  # noqa: S704 - as above
    )  # fmt: skip


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(layout.TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= {"span": span_text, "css": css_class}
    return environment.get_template(TEMPLATE)


def _printable(value: object) -> object:
    """What goes into the page; escaping comes after it."""
    if value is None:
        return ""
    return value if isinstance(value, Markup) else _UNSEEN.sub("\ufffd", str(value))


def _timeline(log: Path) -> Timeline:
    try:
        return read_timeline(log)
    except OSError:
        return Timeline()


def _tail(path: Path) -> str:
    try:
        with open_own(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_TAIL))
            return file.read(LOG_TAIL).decode(errors="replace")
    except OSError:
        return ""


def _facts(report: Report, seen: int) -> Iterator[tuple[str, str | None]]:
    """What is known, the most telling first."""
    told = report.told
    yield "Time", report.time.replace("T", " ").replace("Z", " UTC")
    if told is None:
        return
    guess = " (a guess from the stack)" if told.low_confidence else ""
    module = f" of module {told.module}" if told.module else ""
    yield "Where", f"{told.function}(){module}{guess}" if told.function else None
    process = told.process
    named = (("", process.comm), ("PID ", process.pid), ("CPU ", process.cpu))
    yield "Process", ", ".join(f"{label}{value}" for label, value in named if value is not None)
    yield "Kernel", told.release
    yield "Hardware", told.hardware
    yield "Uptime", None if told.uptime is None or not math.isfinite(told.uptime) else span_text(told.uptime)
    yield "Address", told.address
    yield "Panic", told.panic
    yield "Signature", told.signature
    yield "Seen here", f"{seen} times, with this one" if seen > 1 else "for the first time"


def _place(told: CrashText) -> Frame | None:
    """The frame where it happened. None where that is not in the trace: a fault's own place comes with the registers."""
    likely = (frame for frame in told.trace if frame.reliable or told.low_confidence)
    return next((frame for frame in likely if normalise(frame.function) == told.function), None)


def _modules(told: CrashText) -> list[tuple[Module, bool]]:
    """All modules, those to blame first: the one of the fault, those in the trace, those with flags. True: to blame."""
    in_trace = {frame.module for frame in told.trace if frame.reliable} | {told.module}
    tainted = {name for blame in told.taint.blames for name in blame.modules} if told.taint else set[str]()

    def rank(module: Module) -> tuple[bool, bool, bool]:
        return (module.name != told.module, module.name not in in_trace, module.name not in tainted)

    return [(module, module.name in in_trace) for module in sorted(told.modules, key=rank)]


def _code(code: str) -> tuple[str, str, str]:
    """The bytes before the one where the processor stopped, that one, and those after it."""
    found = _STOPPED.search(code)
    return (code[: found.start()], found[1], code[found.end() :]) if found else (code, "", "")


def _steps(status: Status) -> Iterator[Step]:
    # status.json was written by a kernel that had little left: that its values are of the right types, nobody has checked.
    for step in status.steps:
        yield Step(
            name=str(step.name),
            ok=step.ok is True,
            seconds=_seconds(step.seconds),
            size=_size(step.bytes),
            detail=str(step.detail),
        )


def _story(report: Report, status: Status) -> Iterator[str]:
    """What there is to say of the capture as a whole, a sentence each."""
    if safe := _seconds(status.milestones.get("log_safe")):
        yield f"The log was safe {safe} after the dump kernel had started."
    if report.capture and (peak := _size(report.capture.peak_memory)):
        yield f"The dump kernel needed {peak} of memory."
    if seconds := _seconds(status.seconds):
        yield f"The capture took {seconds}" + (f", then: {status.final_action}." if status.final_action else ".")
    if status.crash_loop:
        yield status.crash_loop


def _seconds(value: Any) -> str:
    return f"{value:.1f} s" if isinstance(value, (int, float)) and 0 <= value < 1e9 else ""  # noqa: PLR2004


def _size(value: Any) -> str:
    return size_text(value) if type(value) is int and 0 < value < MAX_MEMORY else ""


def _shares(memory: Memory, status: Status | None) -> Iterator[Share]:
    page_size = status.crash.page_size if status else None
    for sort, pages in memory.pages.items():
        size = (type(page_size) is int and _size(pages * page_size)) or f"{pages} pages"
        yield Share(css=css_class(sort), name=str(sort), size=size, percent=f"{100 * pages / memory.total:.1f} %")
