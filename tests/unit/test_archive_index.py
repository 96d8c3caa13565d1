# SPDX-License-Identifier: LGPL-2.1-or-later
"""The index of the archive is a cache: with it, without it, or with a broken one, the same is told of the same crashes."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdumpd import __version__
from kdumpd.capture.status import Status
from kdumpd.crashes import index
from kdumpd.crashes.archive import list_crashes
from kdumpd.crashes.index import FILE, Entry, list_entries
from kdumpd.crashes.make import record_report
from kdumpd.files import lock

NULL = "[    4.2] BUG: kernel NULL pointer dereference, address: 0000000000000008\n"
PANIC = "[    4.2] Kernel panic - not syncing: asked for\n"
STORE = ["/var/crash"]


def crash(root: Path, number: int, log: str | None = NULL, *, report: bool = True) -> Path:
    folder = root / f"var/crash/2026-11-{number:02}T03-04-05Z"
    folder.mkdir(parents=True)
    if log:
        (folder / "dmesg.txt").write_text(log)
    if report:
        record_report(folder)
    return folder


def index_of(root: Path) -> Path:
    return root / "var/crash" / FILE


def directly(root: Path) -> list[tuple[str, str, str]]:
    """What the reports themselves tell."""
    return [(found.id, found.time, found.verdict) for found in list_crashes(root, STORE)]


def told(entries: tuple[Entry, ...]) -> list[tuple[str, str, str]]:
    return [(entry.id, entry.time, entry.verdict) for entry in entries]


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when it is called on, no report may be read."""

    def read(folder: Path) -> None:
        raise AssertionError(f"the report of {folder} was read")

    def forbid() -> None:
        monkeypatch.setattr(index, "recorded", read)
        monkeypatch.setattr(index, "read_crash", read)

    return forbid


def test_the_second_time_no_report_is_read(tmp_path: Path, forbidden: Callable[[], None]) -> None:
    for number, log in enumerate((NULL, PANIC, None), 1):
        crash(tmp_path, number, log)
    first = list_entries(tmp_path, STORE)

    forbidden()
    assert list_entries(tmp_path, STORE) == first


def test_an_entry_tells_in_short_what_the_report_tells(tmp_path: Path) -> None:
    folder = crash(tmp_path, 1, report=False)
    status = Status(started="2026-11-01T03:04:05Z", kernel="6.1", crash_loop="6 crashes in 30min")
    (folder / "status.json").write_text(status.to_json())
    report = record_report(folder)
    (entry,) = list_entries(tmp_path, STORE)

    assert report.told is not None
    assert entry == Entry(
        store=folder.parent,
        id=folder.name,
        verdict=report.verdict,
        source="dump",
        kind="null-deref",
        title=report.told.title,
        signature=report.told.signature,
        crash_loop="6 crashes in 30min",
    )
    assert entry.time == "2026-11-01T03:04:05Z"
    assert entry.log == folder / "dmesg.txt"


def test_only_root_may_read_the_index(tmp_path: Path) -> None:
    crash(tmp_path, 1)
    list_entries(tmp_path, STORE)

    assert index_of(tmp_path).stat().st_mode & 0o777 == 0o600


def test_who_is_not_root_writes_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crash(tmp_path, 1)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert len(list_entries(tmp_path, STORE)) == 1
    assert not index_of(tmp_path).exists()


def test_an_index_that_can_not_be_written_now_is_no_error(tmp_path: Path) -> None:
    crash(tmp_path, 1)
    with lock(tmp_path):
        assert told(list_entries(tmp_path, STORE)) == directly(tmp_path)
    assert not index_of(tmp_path).exists()

    (tmp_path / "var/crash" / FILE).mkdir()
    assert told(list_entries(tmp_path, STORE)) == directly(tmp_path)


def test_a_crash_without_a_report_is_read_every_time(tmp_path: Path) -> None:
    folder = crash(tmp_path, 1, report=False)
    assert list_entries(tmp_path, STORE)[0].kind == "null-deref"

    (folder / "dmesg.txt").write_text(PANIC)
    assert list_entries(tmp_path, STORE)[0].kind == "panic-other"


def test_a_damaged_report_is_not_remembered(tmp_path: Path) -> None:
    folder = crash(tmp_path, 1)
    (folder / "report.json").write_text("{")
    assert list_entries(tmp_path, STORE)[0].kind == "null-deref"

    (folder / "dmesg.txt").write_text(PANIC)
    assert list_entries(tmp_path, STORE)[0].kind == "panic-other"


def test_what_is_removed_leaves_the_index(tmp_path: Path) -> None:
    folders = [crash(tmp_path, number) for number in (1, 2)]
    list_entries(tmp_path, STORE)
    shutil.rmtree(folders[0])
    list_entries(tmp_path, STORE)

    assert list(json.loads(index_of(tmp_path).read_text())["crashes"]) == [folders[1].name]


def test_the_index_of_another_kdumpd_counts_for_nothing(tmp_path: Path) -> None:
    crash(tmp_path, 1)
    list_entries(tmp_path, STORE)
    text = index_of(tmp_path).read_text()
    found = json.loads(text)
    (row,) = found["crashes"].values()
    row[index.IDENTITY] = "other words"
    index_of(tmp_path).write_text(json.dumps(found))
    assert list_entries(tmp_path, STORE)[0].verdict == "other words"

    index_of(tmp_path).write_text(json.dumps(found | {"written_by": "0.0.1"}))
    assert told(list_entries(tmp_path, STORE)) == directly(tmp_path)
    assert index_of(tmp_path).read_text() == text


def test_of_crashes_in_the_same_second_the_lower_number_is_the_older(tmp_path: Path) -> None:
    for name in ("2026-11-01T00-00-00Z-10", "2026-11-01T00-00-00Z-2", "2026-11-01T00-00-00Z"):
        (tmp_path / "var/crash" / name).mkdir(parents=True)

    assert [entry.id[20:] for entry in list_entries(tmp_path, STORE)] == ["", "-2", "-10"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=12), max_leaves=20
)
NAMES = st.sampled_from(["2026-11-01T03-04-05Z", "2026-11-02T03-04-05Z", "x"])
INDEXES = st.one_of(
    st.binary(max_size=50),
    JSON.map(lambda found: json.dumps(found).encode()),
    st.dictionaries(NAMES, JSON).map(lambda rows: json.dumps({"version": 1, "written_by": __version__, "crashes": rows}).encode()),
)


@given(INDEXES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damaged_index_changes_what_is_told(tmp_path: Path, content: bytes) -> None:
    if not (tmp_path / "var").exists():
        crash(tmp_path, 1)
        crash(tmp_path, 2, PANIC)
    index_of(tmp_path).write_bytes(content)

    assert told(list_entries(tmp_path, STORE)) == directly(tmp_path)


def _report(root: Path, number: int, log: str) -> None:
    folder = root / f"var/crash/2026-11-{number:02}T03-04-05Z"
    if not folder.exists():
        crash(root, number, log)
        return
    (folder / "dmesg.txt").write_text(log)
    (folder / "report.json").unlink(missing_ok=True)
    record_report(folder)


def _remove(root: Path, number: int, log: str) -> None:
    shutil.rmtree(root / f"var/crash/2026-11-{number:02}T03-04-05Z", ignore_errors=True)


def _forget(root: Path, number: int, log: str) -> None:
    index_of(root).unlink(missing_ok=True)


def _look(root: Path, number: int, log: str) -> None:
    list_entries(root, STORE)


@given(st.lists(st.tuples(st.sampled_from([_report, _remove, _forget, _look]), st.integers(1, 3), st.sampled_from([NULL, PANIC]))))
@settings(max_examples=40)
def test_whatever_happens_to_the_archive_the_index_changes_nothing(steps: list[tuple[Any, int, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "var/crash").mkdir(parents=True)
        for step, number, log in steps:
            step(root, number, log)
        assert told(list_entries(root, STORE)) == directly(root)
        assert told(list_entries(root, STORE)) == directly(root)
