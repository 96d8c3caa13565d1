# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether only root can have written something that root will act on."""

import os
import stat
from pathlib import Path
from typing import NamedTuple


class Distrust(NamedTuple):
    """Why a file or folder is not believed, the command that mends it, and its mode where that counts; all without its name."""

    fact: str
    remedy: str
    mode: str = ""


def distrust(found: os.stat_result) -> Distrust | None:
    """None: only root can write it."""
    if found.st_uid != 0:
        return Distrust(f"belongs to user {found.st_uid}, not to root", "chown root")
    if found.st_mode & 0o022:
        return Distrust("may be written by others than root", "chmod go-w", f"mode {stat.S_IMODE(found.st_mode):04o}")
    return None


def distrust_on_the_way(path: Path, root: Path) -> tuple[Path, Distrust] | None:
    """The first folder above a file, or the file itself, that is not believed. A symbolic link is followed, and both ways count.

    Raises:
        OSError: there is no such file.
    """
    real = path.resolve(strict=True)
    ways = dict.fromkeys(part for end in (path.parent, real) for part in (*reversed(end.parents), end) if part.is_relative_to(root))
    return next(((part, reason) for part in ways if (reason := distrust(part.stat()))), None)
