# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sees a machine that crashes again and again."""

from collections.abc import Iterable
from pathlib import Path

from .folders import stamp
from .keep import FOLDER_NAME
from .settings import CrashLoop

STAMP_LENGTH = len("2026-11-22T03-04-05Z")


def crash_loop(folder: Path, when: float, stores: Iterable[Path], limit: CrashLoop) -> str:
    """What there is to say about a crash loop; empty when this is none. The crash of the time `when` in `folder` counts too.

    It compares names: what the standard library has for reading a time takes longer to load than the log to be saved.
    """
    first, last = stamp(max(when - limit.within, 0)), folder.name[:STAMP_LENGTH]
    names = {path.name for store in {folder.parent, *stores} if store.is_dir() for path in store.iterdir()}
    recent = [name for name in names if FOLDER_NAME.fullmatch(name) and first <= name[:STAMP_LENGTH] <= last]
    if len(recent) <= limit.crashes:
        return ""
    found = f"{len(recent)} crashes in {_duration(limit.within)}, and more than {limit.crashes} are a crash loop"
    return f"{found}: only the log is saved, and the machine is powered off"


def _duration(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"
