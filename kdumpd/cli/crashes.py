# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd crashes …`."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from kdumpd.apply.look import ROOT
from kdumpd.cli.taint import explain
from kdumpd.crashes.archive import capture_stores, list_crashes
from kdumpd.crashes.text.model import CrashText
from kdumpd.crashes.text.reader import read_log, read_stream
from kdumpd.errors import ExitCode, HostError


def run(arguments: argparse.Namespace) -> ExitCode:
    return _parse(arguments) if arguments.action == "parse" else _list(arguments)


def _list(arguments: argparse.Namespace) -> ExitCode:
    stores = capture_stores(ROOT)
    crashes = list_crashes(ROOT, stores)
    if arguments.json:
        print(json.dumps([crash.to_json() for crash in crashes], indent=2))
    elif not crashes:
        print(f"no crashes in {', '.join(stores)}")
    else:
        for crash in crashes:
            print(f"{crash.time}  {crash.verdict}\n                      {crash.log or crash.folder}")
    return ExitCode.OK


def _parse(arguments: argparse.Namespace) -> ExitCode:
    told = read_stream(sys.stdin.buffer) if arguments.file == "-" else read_log(Path(arguments.file))
    if told is None:
        raise HostError(
            f"{arguments.file}: tells of no crash",
            hint="is it the log of the kernel that died? after a reboot that is not what `dmesg` shows",
        )
    if arguments.json:
        print(json.dumps(told.to_json(), indent=2))
    else:
        print("\n".join(_lines(told)))
    return ExitCode.OK


def _lines(told: CrashText) -> Iterator[str]:
    """The verdict first, then what is known of it, and then the evidence."""
    yield told.title
    yield f"{told.kind}: {_where(told)}"
    yield f"signature: {told.signature}"
    yield ""
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
    process = told.process
    named = [("", process.comm), ("PID ", process.pid), ("CPU ", process.cpu)]
    yield "process", ", ".join(f"{label}{value}" for label, value in named if value is not None)
    yield "kernel", told.release
    yield "hardware", told.hardware
    yield "uptime", None if told.uptime is None else f"{told.uptime:.0f} s"
    yield "panic", told.panic
    first = told.before.first_fault
    yield "before", first.title if first else None
    errors, kills = told.before.hardware_error_count, told.before.oom_kill_count
    yield "errors", f"{errors} lines of hardware errors, the first: {told.before.hardware_errors[0]}" if errors else None
    yield "memory", f"{kills} processes killed for lack of memory, the first: {told.before.oom_kills[0]}" if kills else None
    yield "ftrace", f"{told.ftrace_lines} events" if told.ftrace_lines else None
