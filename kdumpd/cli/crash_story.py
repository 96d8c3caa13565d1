# SPDX-License-Identifier: LGPL-2.1-or-later
"""A crash for people: the verdict first, then the evidence, then what to do now."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from kdumpd.cli.taint import explain
from kdumpd.crashes.answer import next_steps, process, verdict_lines
from kdumpd.crashes.archive import Crash
from kdumpd.crashes.report import Record, Report, Source
from kdumpd.crashes.statistics import Seen
from kdumpd.crashes.text.model import CrashText
from kdumpd.units import approximate_size

SOURCES = {
    Source.DUMP: "the log that a dump kernel saved",
    Source.PSTORE: "what pstore kept of the log",
    Source.NONE: "none: no log was saved",
}


def story(crash: Crash, seen: Seen | None, memory: Path | None, by_hand: str) -> Iterator[str]:
    """All that `crashes show` tells."""
    yield from verdict_lines(crash, seen)
    yield ""
    if crash.report and crash.report.told:
        yield from evidence(crash.report.told)
    if crash.report:
        yield from _saved(crash.report, crash, memory)
    yield ""
    yield "what to do now:"
    yield from (f"  {step}" for step in next_steps(crash, by_hand))


def parsed(told: CrashText) -> Iterator[str]:
    """All that `crashes parse` tells of a log from anywhere."""
    yield told.title
    yield f"{told.kind}: {_where(told)}"
    yield f"signature: {told.signature}"
    yield ""
    yield from evidence(told)


def evidence(told: CrashText) -> Iterator[str]:
    """What the log tells: facts, the call trace, and the taints in words."""
    yield from (f"{name + ':':<11}{value}" for name, value in _facts(told) if value)
    if told.trace:
        yield "call trace (? is a guess):"
        for frame in told.trace:
            yield f"  {' ' if frame.reliable else '?'} {frame.function}" + (f" [{frame.module}]" if frame.module else "")
    if told.taint and told.taint.blames:
        yield "taints:"
        yield from (f"  {explain(blame)}" for blame in told.taint.blames)


def _where(told: CrashText) -> str:
    if told.function is None:
        return "the log does not tell where"
    guess = ", a guess from the stack" if told.low_confidence else ""
    end = "" if told.fatal else "; the log does not show that it ended the kernel"
    return f"in {told.function}()" + (f" of module {told.module}" if told.module else "") + guess + end


def _facts(told: CrashText) -> Iterator[tuple[str, str | None]]:
    yield "process", process(told)
    yield "kernel", told.release
    yield "hardware", told.hardware
    yield "uptime", None if told.uptime is None else f"{told.uptime:.0f} s"
    yield "panic", told.panic
    first = told.before.first_fault
    yield "before", first.title if first else None
    errors, kills = told.before.hardware_error_count, told.before.oom_kill_count
    yield "errors", f"{errors} lines of hardware errors, the first: {_first(told.before.hardware_errors)}" if errors else None
    yield "memory", f"{kills} processes killed for lack of memory, the first: {_first(told.before.oom_kills)}" if kills else None
    yield "ftrace", f"{told.ftrace_lines} events" if told.ftrace_lines else None


def _first(lines: Sequence[str]) -> str:
    return next(iter(lines), "lost")


def _saved(report: Report, crash: Crash, memory: Path | None) -> Iterator[str]:
    """What there is of the crash on the disk, and how it got there."""
    yield f"signature: {report.told.signature if report.told else 'none'}"
    yield f"log:       {SOURCES[report.source]}" + (f", {crash.log}" if crash.log else "")
    yield f"memory:    {memory}" if memory else "memory:    was not saved"
    yield from (f"pstore:    {_record(record)}" for record in report.records)
    yield f"capture:   {_capture(report)}"
    if crash.status:
        yield from (
            f"  {'ok    ' if step.ok else 'failed'} {step.name}: {step.detail}" for step in crash.status.steps if step.detail
        )


def _record(record: Record) -> str:
    gaps = f", without {', '.join(map(str, record.missing))}, which were lost" if record.missing else ""
    return f"{record.reason} number {record.count} by {record.backend}, {record.parts} parts{gaps}"


def _capture(report: Report) -> str:
    done = report.capture
    if done is None:
        return "no dump kernel ran, or it was cut off before it had something to tell"
    peak = f", {approximate_size(done.peak_memory)} of memory at most" if done.peak_memory else ""
    words = (done.problem and f"; {done.problem}", done.crash_loop and f"; {done.crash_loop}")
    return f"took {done.seconds:.1f} s{peak}{''.join(filter(None, words))}"
