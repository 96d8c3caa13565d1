# SPDX-License-Identifier: LGPL-2.1-or-later
"""All crashes in a few words each, without reading all of their reports.

Each store has an index, which is a mere cache: what it says of a crash counts only as long as the crash's report.json is the
same file. It may be deleted at any time, and one that is missing or damaged costs nothing but time.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from kdumpd import __version__
from kdumpd.capture import dmesg
from kdumpd.capture.durable import write_file
from kdumpd.capture.keep import age
from kdumpd.crashes import report
from kdumpd.crashes.archive import names_in, read_crash
from kdumpd.crashes.record import recorded, time_of
from kdumpd.crashes.report import Report, Source
from kdumpd.decode import is_text, read_json
from kdumpd.errors import BusyError
from kdumpd.files import lock

FILE = ".kdumpd-index.json"
VERSION = 1
# It tells what is in folders that only root may look into.
MODE = 0o600
# The fields of an Entry that are kept, in their order in a row, after the identity of the report.
KEPT = ("verdict", "source", "kind", "title", "signature", "test", "crash_loop")
IDENTITY = 3
_TEXTS = {str, type(None)}
Row: TypeAlias = list[Any]


@dataclass(frozen=True, kw_only=True)
class _Index:
    """What is in the file, each crash as a row."""

    written_by: str
    crashes: dict[str, list]  # type: ignore[type-arg]  # of anything, until `_is_row` has seen it


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One crash in a few words. `source` is None when this user may not look inside, or nothing in there can be read; `kind` also
    when no log tells.
    """

    store: Path
    id: str
    verdict: str
    source: str | None = None
    kind: str | None = None
    title: str | None = None
    signature: str | None = None
    test: str | None = None
    crash_loop: str | None = None

    # Made when asked for: of most crashes nobody asks.
    @property
    def folder(self) -> Path:
        return self.store / self.id

    @property
    def time(self) -> str:
        return time_of(self.folder)

    @property
    def readable(self) -> bool:
        return self.source is not None

    @property
    def log(self) -> Path | None:
        """The kernel's log, where there is one."""
        return None if self.source in (None, Source.NONE) else self.folder / dmesg.FILE

    def to_json(self) -> dict[str, Any]:
        own = {"id": self.id, "time": self.time, "folder": str(self.folder), "readable": self.readable}
        return own | {"log": str(self.log) if self.log else None} | {name: getattr(self, name) for name in KEPT}


def list_entries(root: Path, stores: Iterable[str]) -> tuple[Entry, ...]:
    """All crashes in all stores, the oldest first. Brings the indexes up to date, where it may."""
    found = [entry for store in stores for entry in _entries(root, root / store.lstrip("/"))]
    return tuple(sorted(found, key=lambda entry: age(entry.id)))


def _entries(root: Path, store: Path) -> list[Entry]:
    known, rows, entries = _load(store), {}, []
    for name in names_in(store):
        entry, row = _look(store, name, known.get(name))
        entries.append(entry)
        if row:
            rows[name] = row
    if rows != known:
        _save(root, store, rows)
    return entries


def _look(store: Path, name: str, row: Row | None) -> tuple[Entry, Row | None]:
    """What there is to say of a crash, and what the index is to know of it."""
    identity = _identity(f"{store}/{name}/{report.FILE}")
    if row and row[:IDENTITY] == identity:
        return Entry(store=store, id=name, **dict(zip(KEPT, row[IDENTITY:], strict=True))), row
    folder = store / name
    kept = _recorded(folder) if identity else None
    if kept and identity:
        entry = _summary(folder, kept)
        return entry, [*identity, *(getattr(entry, name) for name in KEPT)]
    crash = read_crash(folder)
    return _summary(folder, crash.report) if crash.report else Entry(store=store, id=name, verdict=crash.verdict), None


def _recorded(folder: Path) -> Report | None:
    try:
        return recorded(folder)
    except PermissionError:
        return None


def _identity(path: str) -> Row | None:
    """Which file a report is; None: there is none to be seen."""
    try:
        # Not by a Path, which takes longer than the system call.
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    # Two files of one size can be written in one tick of the clock, but not under one number.
    return [found.st_mtime_ns, found.st_size, found.st_ino]


def _summary(folder: Path, found: Report) -> Entry:
    told = found.told
    return Entry(
        store=folder.parent,
        id=folder.name,
        verdict=found.verdict,
        source=str(found.source),
        kind=str(told.kind) if told else None,
        title=told.title if told else None,
        signature=told.signature if told else None,
        test=found.test,
        crash_loop=found.capture.crash_loop or None if found.capture else None,
    )


def _load(store: Path) -> dict[str, Row]:
    found = read_json(store / FILE, _Index, version=VERSION)
    # The words of a verdict change with kdumpd.
    if found is None or found.written_by != __version__:
        return {}
    return {name: row for name, row in found.crashes.items() if _is_row(row)}


def _is_row(row: object) -> bool:
    return (
        isinstance(row, list)
        and len(row) == IDENTITY + len(KEPT)
        and set(map(type, row[IDENTITY:])) <= _TEXTS
        and None not in row[IDENTITY : IDENTITY + 2]
        and is_text("".join(text for text in row[IDENTITY:] if text))
    )


def _save(root: Path, store: Path, rows: Mapping[str, Row]) -> None:
    if os.geteuid() != 0:
        return
    content = {"version": VERSION, "written_by": __version__, "crashes": rows}
    # Not worth to wait for: two writers would meet in one temporary file.
    with contextlib.suppress(OSError, BusyError), lock(root, patience=0):
        write_file(store / FILE, json.dumps(content, separators=(",", ":")).encode(), MODE)
