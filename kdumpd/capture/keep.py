# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes room: removes older crashes, once a new one is safe."""

import os
import re
import shutil
from pathlib import Path

from .console import say

# What new_crash_folder() makes: nothing else in a store is ours.
FOLDER_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(-\d+)?")


def remove_old_crashes(newest: Path, *, count: int, size: int, free: int) -> None:
    """Removes the oldest crashes beside `newest`, until there are at most `count`, in at most `size` bytes, with `free` bytes left.

    Only what can be removed is: a crash that can't be stays, and is told.
    """
    folders = sorted(path for path in newest.parent.iterdir() if FOLDER_NAME.fullmatch(path.name) and path.is_dir())
    sizes = {folder: _size(folder) for folder in folders}
    for folder in folders:
        space = os.statvfs(newest)
        enough = space.f_bavail * space.f_frsize >= free and sum(sizes.values()) <= size and len(sizes) <= count
        if enough or folder == newest:
            return
        del sizes[folder]
        try:
            shutil.rmtree(folder)
            say(f"removed the older crash {folder}")
        except OSError as problem:
            say(f"cannot remove {folder}: {problem.strerror}")


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))
