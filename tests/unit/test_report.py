# SPDX-License-Identifier: LGPL-2.1-or-later
"""report.json: what is written is what is read, and nothing else is taken for one."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kdumpd.crashes.make import make_report, record_report
from kdumpd.crashes.record import read_report
from kdumpd.crashes.report import Captured, Record, Report, ReportError, Source
from kdumpd.crashes.text.reader import read_log

DATA = Path(__file__).parents[1] / "data/dmesg"
LOGS = sorted(path.name for path in DATA.iterdir())
REPORT = Report(
    id="2026-11-23T01-02-03Z",
    time="2026-11-23T01:02:03Z",
    source=Source.PSTORE,
    capture=Captured(seconds=0.5, peak_memory_kib=30000, build_id="ab12", kaslr_offset=0x1000000),
    records=(Record(backend="efi", reason="Panic", count=2, parts=14, missing=(3,)),),
)


@pytest.mark.parametrize(
    "log",
    LOGS,
)
def test_a_report_is_read_as_it_was_written(log: str) -> None:
    report = Report(id=REPORT.id, time=REPORT.time, source=Source.DUMP, told=read_log(DATA / log))

    assert report.told is not None
    assert Report.from_text(report.to_text()) == report


def test_a_report_without_a_fault_is_read_as_it_was_written() -> None:
    assert Report.from_text(REPORT.to_text()) == REPORT


def test_what_the_log_tells_stands_at_the_top_of_the_object() -> None:
    found = Report(id=REPORT.id, time=REPORT.time, source=Source.DUMP, told=read_log(DATA / LOGS[0])).to_json()

    wanted = {"kind", "title", "function", "module", "process", "release", "taint", "signature", "trace", "modules"}
    assert wanted <= set(found)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 2}, "its version is not 1"),
        ({"time": None}, "Report.time is None, not of type str"),
        ({"source": "guess"}, "Report.source is 'guess', which is none of dump, pstore, none"),
        ({"records": [{"backend": "efi"}]}, r"Report.records\[0\] lacks a field: .*'reason', 'count', and 'parts'"),
        ({"capture": {"seconds": True}}, "Report.capture.seconds is True, not of type float"),
        ({"kind": "null-deref"}, "CrashText lacks a field"),
        ({"capture": {"seconds": float("nan")}}, "Report.capture.seconds is nan, not a number"),
        ({"time": "\ud800"}, r"Report.time is '\\ud800', which is no text"),
    ],
)
def test_what_is_no_report_is_refused_with_the_reason(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ReportError, match=problem):
        Report.from_text(json.dumps(REPORT.to_json() | change))


@pytest.mark.parametrize("text", ["", "[]", "null", '{"version": 1', "[" * 100_000])
def test_damaged_text_is_refused(text: str) -> None:
    with pytest.raises(ReportError):
        Report.from_text(text)


def test_what_a_newer_kdumpd_adds_is_left_alone() -> None:
    assert Report.from_text(json.dumps(REPORT.to_json() | {"weather": "fine"})) == REPORT


def test_the_report_is_written_once_and_read_from_then_on(tmp_path: Path) -> None:
    folder = tmp_path / "2026-11-23T01-02-03Z-1"
    folder.mkdir()
    shutil.copy(DATA / LOGS[0], folder / "dmesg.txt")

    report = record_report(folder)
    (folder / "dmesg.txt").write_text("other\n")

    assert report.told is not None
    assert (report.id, report.time, report.source) == (folder.name, "2026-11-23T01:02:03Z", Source.DUMP)
    assert record_report(folder) == read_report(folder) == report
    assert (folder / "report.json").stat().st_mode & 0o777 == 0o600


def test_a_damaged_report_is_made_anew_from_what_lies_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "2026-11-23T01-02-03Z"
    folder.mkdir()
    shutil.copy(DATA / LOGS[0], folder / "dmesg.txt")
    (folder / "report.json").write_bytes(b'{"version": 1, \xff')

    assert read_report(folder) == make_report(folder) == record_report(folder)
    assert Report.from_text((folder / "report.json").read_text()) == make_report(folder)
