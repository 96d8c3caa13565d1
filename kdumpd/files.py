# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reading with limits, the undo log of an apply, and the lock that all changes to this machine share."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from kdumpd.capture.durable import remove_file, rename, temporary_name, write_file
from kdumpd.errors import ApplyError, BusyError

LOCK = "run/kdumpd/lock"
LOCK_PATIENCE = 60.0
TRANSACTION = "var/lib/kdumpd/transaction"
JOURNAL = "journal.json"


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


@dataclass(frozen=True, kw_only=True)
class _Before:
    """What was at a path before a transaction; `copy` is the name of a copy (mode and owner too), None when nothing was there."""

    path: str
    copy: str | None


class Transaction:
    """Files that change together: all of them, or none, also when the process or the machine dies in the middle.

    What is there now is copied into the journal first. Leaving the `with` block commits, by removing the journal; leaving
    it by an exception puts everything back. A journal that is found at the next start is one that was never committed:
    `undo_unfinished`. `tools` are programs that make something out of the files; they are kept in the journal too.
    """

    def __init__(self, root: Path, paths: Sequence[str], tools: Sequence[Sequence[str]]) -> None:
        self._root = root
        self._paths = paths
        self._tools = [list(tool) for tool in tools]

    def __enter__(self) -> Self:
        folder = self._root / TRANSACTION
        # What is here without a journal.json was begun and never became valid: nothing had been changed yet.
        shutil.rmtree(folder, ignore_errors=True)
        new_folders = sorted({str(parent) for path in self._paths for parent in self._missing_parents(path)})
        folder.mkdir(mode=0o700, parents=True)
        before = [asdict(self._copy(path, folder / str(number))) for number, path in enumerate(self._paths)]
        journal = {"files": before, "new_folders": new_folders, "tools": self._tools}
        write_file(folder / JOURNAL, json.dumps(journal).encode(), 0o600)
        return self

    def write(self, path: str, content: bytes, mode: int) -> None:
        """Replaces one of the files durably."""
        target = self._root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_file(target, content, mode)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            _drop_journal(self._root)
            return
        try:
            undo_unfinished(self._root)
        except OSError as problem:
            fact = f"{error}\nand not every file could be put back: {problem.filename}: {problem.strerror}"
            raise ApplyError(fact, hint="make room or mend the disk, then: kdumpd apply") from error

    def _missing_parents(self, path: str) -> list[Path]:
        parents = Path(path.lstrip("/")).parents
        return [parent for parent in parents if not (self._root / parent).exists()]

    def _copy(self, path: str, copy: Path) -> _Before:
        target = self._root / path.lstrip("/")
        try:
            found = target.stat()
            write_file(copy, target.read_bytes(), found.st_mode & 0o7777)
            os.chown(copy, found.st_uid, found.st_gid)
        except FileNotFoundError:
            return _Before(path=path, copy=None)
        return _Before(path=path, copy=copy.name)


def undo_unfinished(root: Path) -> list[list[str]]:
    """Puts back what a transaction that never ended has changed. Returns its tools, which then have to run again.

    Raises:
        OSError: something could not be put back; the journal is still there, so this may be tried again.
    """
    folder = root / TRANSACTION
    text = read_text(folder / JOURNAL)
    if text is None:
        # Begun, but cut off before it had changed anything; or already undone.
        shutil.rmtree(folder, ignore_errors=True)
        return []
    journal = json.loads(text)
    for before in (_Before(**entry) for entry in journal["files"]):
        target = root / before.path.lstrip("/")
        temporary_name(target).unlink(missing_ok=True)
        if before.copy is not None:
            _put_back(folder / before.copy, target)
        elif target.parent.exists():
            remove_file(target)
    for name in reversed(journal["new_folders"]):
        with contextlib.suppress(OSError):
            # Not empty: somebody else uses it by now.
            (root / name).rmdir()
    _drop_journal(root)
    return list(journal["tools"])


def _put_back(copy: Path, target: Path) -> None:
    if not copy.exists():
        # An earlier try has put it back.
        return
    try:
        # Needs no space, which matters most when a full disk is the reason.
        rename(copy, target)
    except OSError as problem:
        if problem.errno != errno.EXDEV:
            raise
        state = copy.stat()
        write_file(target, copy.read_bytes(), state.st_mode & 0o7777)
        os.chown(target, state.st_uid, state.st_gid)


def _drop_journal(root: Path) -> None:
    remove_file(root / TRANSACTION / JOURNAL)
    shutil.rmtree(root / TRANSACTION)


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
