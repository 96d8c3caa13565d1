# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd crashes show` and `parse`: one crash, whole."""

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from kdumpd.capture import vmcore
from kdumpd.cli.crash_story import parsed, story
from kdumpd.crashes.answer import next_steps, verdict_lines
from kdumpd.crashes.archive import Crash, capture_stores
from kdumpd.crashes.choose import choose_crash
from kdumpd.crashes.index import list_entries
from kdumpd.crashes.statistics import seen_before
from kdumpd.errors import ExitCode, HostError
from kdumpd.host.layout import ROOT
from kdumpd.terminal import harmless


def run(arguments: argparse.Namespace) -> ExitCode:
    return _parse(arguments) if arguments.action == "parse" else _show(arguments)


def _show(arguments: argparse.Namespace) -> ExitCode:
    entries = list_entries(ROOT, capture_stores(ROOT))
    crash = choose_crash([entry.folder for entry in entries], arguments.id)
    told = crash.report.told if crash.report else None
    seen = seen_before(crash.id, told.signature, entries) if told else None
    memory = _memory(crash)
    by_hand = _by_hand(crash, memory)
    if arguments.html is not None:
        if crash.report is None:
            raise HostError(f"there is no report of {crash.folder}: {crash.verdict}", hint=f"look: ls -l {crash.folder}")
        # jinja takes time to load.
        from kdumpd.cli.html import write_html  # noqa: PLC0415

        return write_html(crash.report, crash.folder, seen.count if seen else 1, arguments.html or None)
    if arguments.json:
        answer = {"answer": verdict_lines(crash, seen), "next": list(next_steps(crash, by_hand))}
        print(json.dumps(crash.to_json() | {"seen": asdict(seen) if seen else None} | answer, indent=2))
    else:
        _print(story(crash, seen, memory, by_hand))
    return ExitCode.OK


def _memory(crash: Crash) -> Path | None:
    return next((path for name in (vmcore.FILE, vmcore.INCOMPLETE) if (path := crash.folder / name).is_file()), None)


def _by_hand(crash: Crash, memory: Path | None) -> str:
    """The command for a session of one's own with the memory of this crash."""
    if memory is None or crash.report is None:
        return ""
    # Few crashes have their memory, and what looks into it takes time to load.
    from kdumpd.crashes.analyse import analysis_command  # noqa: PLC0415

    return analysis_command(crash.report, crash.folder, ROOT)


def _parse(arguments: argparse.Namespace) -> ExitCode:
    # The reader takes time to load, and a crash has been read already.
    from kdumpd.crashes.text.reader import read_log, read_stream  # noqa: PLC0415

    told = read_stream(sys.stdin.buffer) if arguments.file == "-" else read_log(Path(arguments.file))
    if told is None:
        raise HostError(
            f"{arguments.file}: tells of no crash",
            hint="is it the log of the kernel that died? after a reboot that is not what `dmesg` shows",
        )
    if arguments.json:
        print(json.dumps(told.to_json(), indent=2))
    else:
        _print(parsed(told))
    return ExitCode.OK


def _print(lines: Iterable[str]) -> None:
    print("\n".join(map(harmless, lines)))
