# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes room: removes older crashes, once a new one is safe."""

import os
import re
import shutil
from pathlib import Path

from .console import say

# What new_crash_folder() makes, day and time apart: nothing else in a store is ours.
FOLDER_NAME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d)Z(-\d+)?")


def remove_old_crashes(newest: Path, *, count: int, size: int, free: int) -> None:
    """Removes the oldest crashes beside `newest`, until there are at most `count`, in at most `size` bytes, with `free` bytes left.

    Where all of them together would not free so much, none is lost for that. One that can't be removed stays, and is told.
    """
    folders = sorted(path for path in newest.parent.iterdir() if FOLDER_NAME.fullmatch(path.name) and path.is_dir())
    sizes = {folder: _size(folder) for folder in folders}
    reachable = _free_bytes(newest) + sum(sizes.values()) - sizes[newest] >= free
    for folder in folders:
        has_room = not reachable or _free_bytes(newest) >= free
        if folder == newest or (has_room and sum(sizes.values()) <= size and len(sizes) <= count):
            return
        del sizes[folder]
        try:
            shutil.rmtree(folder)
            say(f"removed the older crash {folder}")
        except OSError as problem:
            say(f"cannot remove {folder}: {problem.strerror}")


def _free_bytes(folder: Path) -> int:
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize


def _size(folder: Path) -> int:
    """What it takes on the disk: a vmcore may have holes. st_blocks counts 512 bytes, whatever the file system."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))
