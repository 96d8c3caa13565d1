# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sees a machine that crashes again and again."""

import calendar
import time
from collections.abc import Iterable
from pathlib import Path

from .keep import FOLDER_NAME
from .settings import CrashLoop

STAMP_LENGTH = len("2026-11-22T03-04-05Z")


def crash_loop(folder: Path, stores: Iterable[Path], limit: CrashLoop) -> str:
    """What there is to say about a crash loop; empty when this is none. The crash in `folder` counts too."""
    now = _time(folder.name)
    names = {path.name for store in {folder.parent, *stores} if store.is_dir() for path in store.iterdir()}
    times = [_time(name) for name in names if FOLDER_NAME.fullmatch(name)]
    recent = [when for when in times if now - limit.within <= when <= now]
    if len(recent) <= limit.crashes:
        return ""
    found = f"{len(recent)} crashes in {_duration(limit.within)}, and more than {limit.crashes} are a crash loop"
    return f"{found}: only the log is saved, and the machine is powered off"


def _time(name: str) -> int:
    """Seconds since 1970; 0 for a name that is no time."""
    try:
        return calendar.timegm(time.strptime(name[:STAMP_LENGTH], "%Y-%m-%dT%H-%M-%SZ"))
    except ValueError:
        return 0


def _duration(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"
