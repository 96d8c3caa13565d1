# SPDX-License-Identifier: LGPL-2.1-or-later
"""The one durable writer: after it returns, the file is whole on the disk, whatever happens to the power."""

import os
from pathlib import Path


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Replaces or creates a file atomically: temporary file, fsync, rename, fsync of the folder.

    Raises:
        OSError: nothing has changed; the temporary file is gone.
    """
    temporary = temporary_name(path)
    try:
        # Never into what is there: an open() of a FIFO would wait for ever, and another user could read along.
        temporary.unlink(missing_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def temporary_name(path: Path) -> Path:
    """Where `write_file` prepares a file: beside it, so that the rename is atomic; a power cut may leave it there."""
    return path.with_name(f".{path.name}.new")


def rename(source: Path, target: Path) -> None:
    """Renames within a folder, durably. What `source` holds must be on the disk already."""
    source.rename(target)
    sync(target.parent)


def remove_file(path: Path) -> None:
    """Removes a file durably; one that is not there is no error."""
    path.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """fsync of a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
