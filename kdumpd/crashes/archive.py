# SPDX-License-Identifier: LGPL-2.1-or-later
"""Finds the crashes in the stores."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdumpd.capture import dmesg
from kdumpd.capture.keep import FOLDER_NAME, age
from kdumpd.capture.settings import Settings, read_settings
from kdumpd.capture.status import Status
from kdumpd.crashes.record import read_report, read_status, time_of
from kdumpd.crashes.report import Report, Source
from kdumpd.errors import in_words
from kdumpd.host import layout


@dataclass(frozen=True, kw_only=True)
class Crash:
    """One crash folder. `report` is None when this user may not look inside, or when the crash is `broken`, which says by what;
    `status` also when no capture told anything.
    """

    folder: Path
    time: str
    report: Report | None = None
    status: Status | None = None
    broken: str = ""

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def readable(self) -> bool:
        return self.report is not None

    @property
    def log(self) -> Path | None:
        """The kernel's log, where there is one."""
        return self.folder / dmesg.FILE if self.report and self.report.source is not Source.NONE else None

    @property
    def test(self) -> str | None:
        """The token of the `kdumpd test` that this is."""
        return self.report.test if self.report else None

    @property
    def signature(self) -> str | None:
        """The same for the same fault; None where no log tells of one."""
        return self.report.told.signature if self.report and self.report.told else None

    @property
    def verdict(self) -> str:
        """What happened, in one line."""
        if self.report:
            return self.report.verdict
        return f"broken: {self.broken}" if self.broken else "(only root may look inside)"

    def to_json(self) -> dict[str, Any]:
        own = {"id": self.id, "time": self.time, "folder": str(self.folder), "readable": self.readable}
        told = self.report.to_json() if self.report else {"verdict": self.verdict}
        return own | {"log": str(self.log) if self.log else None} | told


def capture_settings(root: Path) -> Settings:
    """What the dump kernel does: by capture.json, not by a policy that may be broken, or not be applied yet."""
    try:
        return read_settings(root / layout.CAPTURE_SETTINGS)
    except (OSError, ValueError):
        return Settings()


def capture_stores(root: Path) -> tuple[str, ...]:
    """Where the dump kernel saves."""
    found: dict[str, str] = {}
    for path in capture_settings(root).store_paths:
        # One may be a link to another.
        found.setdefault(os.path.realpath(root / path.lstrip("/")), path)
    return tuple(found.values())


def list_crashes(root: Path, stores: Iterable[str]) -> tuple[Crash, ...]:
    """All crashes in all stores, the oldest first."""
    return tuple(read_crash(folder) for folder in crash_folders(root, stores))


def crash_folders(root: Path, stores: Iterable[str]) -> tuple[Path, ...]:
    """The folders of all crashes in all stores, the oldest first."""
    places = [root / store.lstrip("/") for store in stores]
    found = [(age(name), store / name) for store in places for name in names_in(store)]
    return tuple(folder for _, folder in sorted(found))


def names_in(store: Path) -> list[str]:
    """The names of the crash folders in one store, in no order; none when this user may not look into it."""
    try:
        with os.scandir(store) as found:
            return [item.name for item in found if FOLDER_NAME.fullmatch(item.name) and _may_be_folder(item)]
    except (OSError, ValueError):
        return []


def _may_be_folder(item: os.DirEntry[str]) -> bool:
    try:
        return item.is_dir()
    except OSError:
        # A loop of links, or a damaged disk: a crash of which nothing can be told.
        return True


def read_crash(folder: Path) -> Crash:
    """One crash, whole; without its report where this user may not look inside, or where it is broken: whatever one of them is,
    the others are told of.
    """
    time = time_of(folder)
    try:
        return Crash(folder=folder, time=time, report=read_report(folder), status=read_status(folder))
    except PermissionError:
        return Crash(folder=folder, time=time)
    except OSError as problem:
        return Crash(folder=folder, time=time, broken=f"{Path(problem.filename or folder).name}: {problem.strerror}")
    except Exception as problem:  # noqa: BLE001 - a defect in the reader of one log must not hide all other crashes
        return Crash(folder=folder, time=time, broken=str(in_words(problem).args[0]))
