# SPDX-License-Identifier: LGPL-2.1-or-later
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kdumpd.capture.status import Memory, Status, Step
from kdumpd.crashes.archive import list_crashes
from kdumpd.crashes.index import list_entries

OOPS = "[    4.2] BUG: kernel NULL pointer dereference, address: 0000000000000008\n"
STATUS = Status(started="2026-11-22T03:04:05Z", kernel="6.1", steps=[Step(name="dmesg", ok=True, seconds=0.2, bytes=9)])


def crash(store: Path, name: str, log: str | None = OOPS, status: Status | None = STATUS) -> Path:
    folder = store / name
    folder.mkdir(parents=True)
    if log is not None:
        (folder / "dmesg.txt").write_text(log)
    if status is not None:
        (folder / "status.json").write_text(status.to_json())
    return folder


def test_crashes_of_all_stores_are_listed_the_oldest_first(tmp_path: Path) -> None:
    crash(tmp_path / "a", "2026-11-22T03-04-05Z")
    crash(tmp_path / "b", "2026-11-21T03-04-05Z-1")

    found = list_crashes(tmp_path, ["/a", "/b", "/missing"])
    assert [item.time for item in found] == ["2026-11-21T03:04:05Z", "2026-11-22T03:04:05Z"]


def test_what_kdumpd_did_not_make_is_not_a_crash(tmp_path: Path) -> None:
    for name in ("202611220304", "linux-image", "2026-11-22T03-04-05Z.old"):
        (tmp_path / "store" / name).mkdir(parents=True)
    (tmp_path / "store/2026-11-22T03-04-05Z").write_text("a file")

    assert list_crashes(tmp_path, ["/store"]) == ()


@pytest.mark.parametrize(
    ("log", "status", "verdict"),
    [
        (OOPS, None, "BUG: kernel NULL pointer dereference, address: 0000000000000008"),
        ("[    0.0] all is well\n", STATUS, "the log was saved, but says nothing of a fault"),
        (
            None,
            Status(started="", kernel="", steps=[Step(name="dmesg", ok=False, seconds=1, detail="makedumpfile failed with 1: no")]),
            "no log was saved: makedumpfile failed with 1: no",
        ),
        (None, None, "no log was saved: the capture did not get that far"),
    ],
)
def test_a_crash_is_told_in_one_line(tmp_path: Path, log: str | None, status: Status | None, verdict: str) -> None:
    crash(tmp_path, "2026-11-22T03-04-05Z", log, status)
    (found,) = list_crashes(tmp_path, ["/"])

    assert found.verdict == verdict


def test_a_broken_status_file_does_not_hide_the_log(tmp_path: Path) -> None:
    folder = crash(tmp_path, "2026-11-22T03-04-05Z")
    (folder / "status.json").write_text('{"version": 1, "memory_kib": 7}')

    (found,) = list_crashes(tmp_path, ["/"])
    assert found.report is not None
    assert found.report.told is not None
    assert found.status is None


def test_json_has_what_a_program_needs(tmp_path: Path) -> None:
    status = Status(started="now", kernel="6.1", seconds=0.4, memory_kib=Memory(total=150000, peak_used=30000))
    folder = crash(tmp_path, "2026-11-22T03-04-05Z", status=status)
    (found,) = list_crashes(tmp_path, ["/"])

    assert found.report is not None
    assert found.to_json() == found.report.to_json() | {"folder": str(folder), "readable": True, "log": str(folder / "dmesg.txt")}
    assert (found.to_json()["kind"], found.to_json()["capture"]["peak_memory_kib"]) == ("null-deref", 30000)


@pytest.mark.parametrize(
    ("damage", "verdict"),
    [
        (lambda folder: (folder / "dmesg.txt").mkdir(), "broken: dmesg.txt: not a plain file"),
        (lambda folder: os.mkfifo(folder / "dmesg.txt"), "broken: dmesg.txt: not a plain file"),
        (lambda folder: (folder / "dmesg.txt").symlink_to("dmesg.txt"), "broken: dmesg.txt: Too many levels of symbolic links"),
        (lambda folder: (folder / "report.json").mkdir(), "no log was saved: the capture did not get that far"),
        (lambda folder: (folder / "status.json").mkdir(), "no log was saved: the capture did not get that far"),
    ],
)
def test_each_crash_stands_alone(tmp_path: Path, damage: Callable[[Path], None], verdict: str) -> None:
    damage(crash(tmp_path / "a", "2026-11-21T03-04-05Z", log=None, status=None))
    crash(tmp_path / "a", "2026-11-22T03-04-05Z")

    assert [item.verdict for item in list_crashes(tmp_path, ["/a"])] == [verdict, OOPS.partition("] ")[2].strip()]
    assert [item.verdict for item in list_entries(tmp_path, ["/a"])] == [verdict, OOPS.partition("] ")[2].strip()]


def test_a_loop_of_links_is_a_broken_crash(tmp_path: Path) -> None:
    crash(tmp_path / "a", "2026-11-22T03-04-05Z")
    (tmp_path / "a/2026-11-21T03-04-05Z").symlink_to("2026-11-21T03-04-05Z")

    broken, _ = list_crashes(tmp_path, ["/a"])
    assert broken.verdict == "broken: 2026-11-21T03-04-05Z: Too many levels of symbolic links"


def test_a_defect_in_the_reader_of_one_log_hides_no_other_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crash(tmp_path / "a", "2026-11-22T03-04-05Z")
    monkeypatch.setattr("kdumpd.crashes.archive.read_report", lambda folder: 1 // 0)

    (broken,) = list_crashes(tmp_path, ["/a"])
    assert broken.verdict.startswith("broken: internal error: ZeroDivisionError")
