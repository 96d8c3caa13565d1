# SPDX-License-Identifier: LGPL-2.1-or-later
"""Finds the crashes in the stores."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdumpd.capture import dmesg, status
from kdumpd.capture.keep import FOLDER_NAME
from kdumpd.capture.settings import Settings
from kdumpd.capture.status import Status
from kdumpd.crashes.text.model import Kind
from kdumpd.crashes.text.reader import read_log
from kdumpd.files import read_text
from kdumpd.host import layout


@dataclass(frozen=True, kw_only=True)
class Crash:
    """One crash folder. `readable` is false when this user may not look inside; `test` is the token of a `kdumpd test`."""

    folder: Path
    time: str
    readable: bool
    log: Path | None = None
    headline: str | None = None
    test: str | None = None
    status: Status | None = None

    @property
    def verdict(self) -> str:
        """What happened, in one line."""
        if not self.readable:
            return "(only root may look inside)"
        if self.headline:
            return f"{self.headline} (kdumpd test)" if self.test else self.headline
        if self.log:
            return "the log was saved, but says nothing of a fault"
        failed = [step.detail for step in self.status.steps if not step.ok] if self.status else []
        return f"no log was saved: {failed[-1]}" if failed else "no log was saved: the capture did not get that far"

    def to_json(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "time": self.time,
            "readable": self.readable,
            "log": str(self.log) if self.log else None,
            "headline": self.headline,
            "test": self.test is not None,
            "capture_seconds": self.status.seconds if self.status else None,
            "crash_loop": self.status.crash_loop if self.status else "",
            "peak_memory_kib": self.status.memory_kib.peak_used if self.status else None,
        }


def capture_settings(root: Path) -> Settings:
    """What the dump kernel does: by capture.json, not by a policy that may be broken, or not be applied yet."""
    try:
        return Settings.from_json(read_text(root / layout.CAPTURE_SETTINGS) or "")
    except ValueError:
        return Settings()


def capture_stores(root: Path) -> tuple[str, ...]:
    """Where the dump kernel saves."""
    return capture_settings(root).store_paths


def list_crashes(root: Path, stores: Iterable[str]) -> tuple[Crash, ...]:
    """All crashes in all stores, the oldest first."""
    found = (
        _read(folder, match)
        for store in stores
        for folder in _folders(root / store.lstrip("/"))
        if (match := FOLDER_NAME.fullmatch(folder.name))
    )
    return tuple(sorted(found, key=lambda crash: crash.folder.name))


def _folders(store: Path) -> list[Path]:
    try:
        return [path for path in store.iterdir() if path.is_dir()]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _read(folder: Path, name: re.Match[str]) -> Crash:
    day, hour, minute, second, _ = name.groups()
    time = f"{day}T{hour}:{minute}:{second}Z"
    log = folder / dmesg.FILE
    try:
        found = log.exists()
        told = read_log(log) if found else None
        status = _status(folder)
    except PermissionError:
        return Crash(folder=folder, time=time, readable=False)
    return Crash(
        folder=folder,
        time=time,
        readable=True,
        log=log if found else None,
        headline=told.title if told else None,
        # Of a machine that died of something else before the test could kill it, the crash is not the test's.
        test=told.test if told and told.kind is Kind.SYSRQ else None,
        status=status,
    )


def _status(folder: Path) -> Status | None:
    try:
        return Status.from_json((folder / status.FILE).read_text())
    except (FileNotFoundError, ValueError):
        return None
