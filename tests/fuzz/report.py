# SPDX-License-Identifier: LGPL-2.1-or-later
"""The reader of report.json, fed with anything."""

import json
from collections.abc import Iterator

from kdumpd.crashes.report import Captured, Record, Report, ReportError, Source
from kdumpd.crashes.text.reader import read_pieces
from tests.fuzz import text
from tests.fuzz.json_damage import spoilt


def check(data: bytes) -> None:
    """A report, or the one error that says that it is none; and a report is read as it was written."""
    _read(data.decode("utf-8", "replace"))
    # What is no JSON ends early; so the same bytes choose what is wrong in a good one, too.
    _read(json.dumps(spoilt(json.loads(GOOD), data[:32])))


def seeds() -> Iterator[bytes]:
    for log in text.seeds():
        yield _report(log).to_text().encode()


def _read(text: str) -> None:
    try:
        report = Report.from_text(text)
    except ReportError:
        return
    json.dumps(report.to_json(), allow_nan=False)
    report.verdict.encode()
    assert Report.from_text(report.to_text()) == report


def _report(log: bytes) -> Report:
    return Report(
        id="2026-11-23T01-02-03Z",
        time="2026-11-23T01:02:03Z",
        source=Source.DUMP,
        told=read_pieces([log]),
        capture=Captured(seconds=4.5, problem="no space left"),
        records=(Record(backend="efi_pstore", reason="Panic", count=2, parts=15, missing=(3, 4)),),
    )


GOOD = _report(
    b"""BUG: kernel NULL pointer dereference, address: 0
CPU: 0 PID: 1 Comm: x Tainted: G  OE  6.1
Modules linked in: a(OE)
RAX: 00000000
Call Trace:
 f+0x1/0x2 [a]
"""
).to_text()
