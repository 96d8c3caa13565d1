# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reading what may not be there, and the lock that all changes to this machine share."""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from kdumpd.errors import BusyError

LOCK = "run/kdumpd/lock"
LOCK_PATIENCE = 60.0


def read_text(path: Path) -> str | None:
    """The text of a file, or None when it is not there or not ours to read."""
    try:
        return path.read_text(errors="replace")
    except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError):
        return None


def exists(path: Path) -> bool:
    """Whether this user sees something at this path. Path.exists() raises where a folder above may not be searched."""
    try:
        return path.exists()
    except PermissionError:
        return False


@contextlib.contextmanager
def lock(root: Path, *, patience: float = LOCK_PATIENCE) -> Iterator[None]:
    """Holds the one lock for apply and for all loaders: the kernel answers two loaders at once with EBUSY.

    Raises:
        BusyError: somebody else held it for all of `patience` seconds.
    """
    path = root / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + patience
    with path.open("w") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise BusyError(
                        f"another kdumpd has been changing this machine for {patience:.0f} s",
                        hint="wait for it: systemctl status kdumpd",
                    ) from None
                time.sleep(0.1)
        yield


def copy_tree(source: Path, target: Path) -> None:
    """Makes `target` an exact copy of the folder `source`."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)


def free_bytes(path: Path) -> int | None:
    """The space that root may still use on the file system of `path`, or None when that can't be told."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bfree * found.f_frsize
