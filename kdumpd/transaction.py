# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files that change together, the undo log of an apply, and the generation before the last one, for a rollback."""

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from kdumpd.capture.durable import remove_file, rename, sync, temporary_name, write_file
from kdumpd.decode import read_json
from kdumpd.errors import ApplyError
from kdumpd.files import open_plain, set_aside

TRANSACTION = "var/lib/kdumpd/transaction"
PREVIOUS = "var/lib/kdumpd/previous"
JOURNAL = "journal.json"
# The journal's name from the moment on in which the transaction counts.
COMMITTED = "committed.json"


@dataclass(frozen=True, kw_only=True)
class FileBefore:
    """A file as it was before an apply, and as it is now; None when it was not, or is not there."""

    path: str
    content: str | None
    mode: int
    now: str | None


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What the last apply changed, as it was before: files, values of the running kernel, and who makes what of the files."""

    files: tuple[FileBefore, ...]
    values: Mapping[str, str]
    tools: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class _Before:
    """What was at a path before a transaction; `copy` is the name of a copy (mode and owner too), None when nothing was there."""

    path: str
    copy: str | None


@dataclass(frozen=True, kw_only=True)
class _Journal:
    """What a transaction writes down before it changes anything."""

    files: tuple[_Before, ...]
    new_folders: tuple[str, ...]
    tools: tuple[tuple[str, ...], ...]
    values: dict[str, str]


class Transaction:
    """Files that change together: all of them, or none, also when the process or the machine dies in the middle.

    What is there now is copied into the journal first. Leaving the `with` block commits, by renaming the journal; leaving
    it by an exception puts everything back. A journal that is found at the next start is one that was never committed:
    `undo_unfinished`. `tools` are programs that make something out of the files, `values` what the caller sets in the
    running kernel after the files, as it is before; both are kept in the journal for those who undo.
    """

    def __init__(
        self, root: Path, paths: Sequence[str], tools: Sequence[Sequence[str]], values: Mapping[str, str] | None = None
    ) -> None:
        self._root = root
        self._paths = paths
        self._tools = tuple(tuple(tool) for tool in tools)
        self._values = dict(values or {})

    def __enter__(self) -> Self:
        folder = self._root / TRANSACTION
        # What is here without a journal was begun and never became valid: nothing had been changed yet.
        _clear(folder)
        new_folders = sorted({str(parent) for path in self._paths for parent in self._missing_parents(path)})
        folder.mkdir(mode=0o700, parents=True)
        before = tuple(self._copy(path, folder / str(number)) for number, path in enumerate(self._paths))
        journal = _Journal(files=before, new_folders=tuple(new_folders), tools=self._tools, values=self._values)
        write_file(folder / JOURNAL, json.dumps(asdict(journal)).encode(), 0o600)
        return self

    def write(self, path: str, content: bytes, mode: int) -> None:
        """Replaces one of the files durably."""
        target = self._root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_file(target, content, mode)

    def remove(self, path: str) -> None:
        """Removes one of the files durably."""
        remove_file(self._root / path.lstrip("/"))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            folder = self._root / TRANSACTION
            rename(folder / JOURNAL, folder / COMMITTED)
            _finish(self._root)
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


def undo_unfinished(root: Path, tell: Callable[[str], None] = lambda _: None) -> list[list[str]]:
    """Puts back what a transaction that never ended has changed. Returns its tools, which then have to run again.

    Raises:
        OSError: something could not be put back; the journal is still there, so this may be tried again.
    """
    folder = root / TRANSACTION
    if os.path.lexists(folder / COMMITTED):
        _finish(root)
        return []
    if not os.path.lexists(folder / JOURNAL):
        # Begun, but cut off before it had changed anything; or already undone.
        _clear(folder)
        return []
    journal = read_json(folder / JOURNAL, _Journal)
    if journal is None:
        tell(f"an apply was cut off, and its journal is damaged: what it had changed stays; the copies are in {set_aside(folder)}")
        return []
    for before in journal.files:
        target = root / before.path.lstrip("/")
        temporary_name(target).unlink(missing_ok=True)
        if before.copy is not None:
            _put_back(folder / before.copy, target, tell)
        elif target.parent.exists():
            remove_file(target)
    for name in reversed(journal.new_folders):
        with contextlib.suppress(OSError):
            # Not empty: somebody else uses it by now.
            (root / name).rmdir()
    remove_file(folder / JOURNAL)
    shutil.rmtree(folder)
    return [list(tool) for tool in journal.tools]


def read_previous(root: Path) -> Generation | None:
    """The machine as it was before the last apply; None when there was none, it is damaged, or this user may not look."""
    folder = root / PREVIOUS
    journal = read_json(folder / COMMITTED, _Journal)
    if journal is None:
        return None
    try:
        files = tuple(_file_before(root, folder, before) for before in journal.files)
    except OSError:
        return None
    return Generation(files=files, values=journal.values, tools=journal.tools)


def _file_before(root: Path, folder: Path, before: _Before) -> FileBefore:
    """
    Raises:
        OSError: a copy is lost, or what is there now is no file: a way back would not be one.
    """
    try:
        now: str | None = _read_as_it_is(root / before.path.lstrip("/"))
    except FileNotFoundError:
        now = None
    if before.copy is None:
        return FileBefore(path=before.path, content=None, mode=0, now=now)
    copy = folder / before.copy
    return FileBefore(path=before.path, content=_read_as_it_is(copy), mode=copy.stat().st_mode & 0o7777, now=now)


def _read_as_it_is(path: Path) -> str:
    """A text that gives the same bytes when it is written again, UTF-8 or not."""
    with open_plain(path) as file:
        return file.read().decode(errors="surrogateescape")


def _finish(root: Path) -> None:
    """What a committed transaction has kept becomes the generation before. May be cut off and done again."""
    _clear(root / PREVIOUS)
    (root / TRANSACTION).rename(root / PREVIOUS)
    sync((root / PREVIOUS).parent)


def _clear(folder: Path) -> None:
    """Also when something else is in its place."""
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _put_back(copy: Path, target: Path, tell: Callable[[str], None]) -> None:
    if not os.path.lexists(copy):
        # An earlier try has put it back.
        return
    if not stat.S_ISREG(copy.lstat().st_mode):
        tell(f"{target} could not be put back: its copy is damaged")
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
