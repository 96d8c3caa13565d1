# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads small files that decide something. Only what root alone can have written is believed."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

# No file that decides anything comes near.
MOST = 1 << 20
# A link is not followed, and no FIFO is waited for.
FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def read_own_file(path: Path | str, *, folder: int | None = None) -> str:
    """Return the text of a file; `path` may be a name in an open `folder`.

    Raises:
        OSError: it can't be read.
        ValueError: it is not a regular file that is root's alone, is too long, or is no text.
    """
    handle = os.open(path, FLAGS, dir_fd=folder)
    try:
        _check(os.fstat(handle), stat.S_IFREG, path)
        with open(handle, "rb", closefd=False) as file:
            content = file.read(MOST + 1)
    finally:
        os.close(handle)
    if len(content) > MOST:
        raise ValueError(f"{path} is longer than {MOST} bytes")
    return content.decode()


@contextlib.contextmanager
def own_folder(path: Path) -> Iterator[int]:
    """Hold a folder open: whatever happens to its name meanwhile, this is the one that was checked.

    Raises:
        OSError: it can't be opened.
        ValueError: it is not root's alone.
    """
    handle = os.open(path, FLAGS | os.O_DIRECTORY)
    try:
        _check(os.fstat(handle), stat.S_IFDIR, path)
        yield handle
    finally:
        os.close(handle)


def _check(found: os.stat_result, kind: int, path: Path | str) -> None:
    if stat.S_IFMT(found.st_mode) != kind:
        raise ValueError(f"{path} is of another kind")
    # Who is not root can only deceive himself.
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & WRITABLE_BY_OTHERS:
        raise ValueError(f"{path} can be written by others than root")
