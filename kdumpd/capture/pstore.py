# SPDX-License-Identifier: LGPL-2.1-or-later
"""Takes what the kernel left in persistent storage (EFI variables, ramoops, ERST) and puts it beside the log."""

import filecmp
import itertools
import os
import re
import string
import time
from collections.abc import Sequence
from pathlib import Path

from .durable import sync
from .program import Saved, SaveError, run

FOLDER = "pstore"
MODE = 0o600
TIMEOUT = 60.0
# For a module, whose device may not answer, or for the mount.
COMMAND_TIMEOUT = 10.0
CHUNK = 1 << 20
# No backend has room for so much; what is larger is no record.
MAX_RECORD = 256 << 20
# A record's name is at most 63 bytes (PSTORE_NAMELEN); what is longer is cut, so that there is room for a number.
MAX_NAME = 240
PLAIN = frozenset((string.ascii_letters + string.digits + "-_.").encode())
# Before it is whole. No copy of a record has a name like this: a point in front is not plain.
UNFINISHED = ".incomplete"
MAX_TOLD = 3


def copy_pstore(pstore: Path, folder: Path, *, modules: Sequence[str] = (), timeout: float = TIMEOUT) -> Saved:
    """Copies every record into `folder`/pstore, and then takes those that are on the disk out of pstore.

    They have to go: there is room for few, above all in EFI variables. `modules` are loaded before, for a backend that is none
    of the kernel's own. What a capture that was killed has copied before is kept.

    Raises:
        SaveError: the store did not take all records. Those that it took are safe; the others are still in pstore.
        OSError: pstore can't be read, or the store failed before the first record.
    """
    if not pstore.is_dir():
        return Saved(0)
    deadline = time.monotonic() + timeout
    notes = _bring_up(pstore, modules)
    records, others = list_records(pstore)
    notes += [f"{safe_name(path)} is not a record" for path in others]
    return take_records(records, folder, deadline=deadline, notes=notes)


def take_records(records: Sequence[Path], folder: Path, *, deadline: float, notes: list[str]) -> Saved:
    """Copies these into `folder`/pstore, and then takes those that are on the disk out of where they were.

    Raises:
        SaveError: the store did not take all of them. Those that it took are safe; the others are where they were.
        OSError: the store failed before the first.
    """
    copies = Copies(folder / FOLDER, notes)
    refused = copies.copy_all(records, deadline) if records else ""
    for record in copies.records:
        try:
            record.unlink()
        except OSError as problem:
            # A firmware may refuse to write. The record comes again after the next crash, which is better than never.
            notes.append(f"{safe_name(record)} can't be taken out of pstore: {problem.strerror}")
    if refused:
        raise SaveError(f"{len(copies.records)} of {len(records)} records were saved, the others are still in pstore: {refused}")
    return Saved(copies.bytes, _in_short(notes))


class Copies:
    """Copies of records in the folder `target`; `records` are those whose copies are safe."""

    def __init__(self, target: Path, notes: list[str]) -> None:
        self._target = target
        self._notes = notes
        self.records: list[Path] = []
        self.bytes = 0

    def copy_all(self, records: Sequence[Path], deadline: float) -> str:
        """Copies record by record; returns why the store, or the time, did not allow for all of them, or nothing."""
        self._target.mkdir(mode=0o700, exist_ok=True)
        unfinished = self._target / UNFINISHED
        refused = ""
        try:
            for record in records:
                if time.monotonic() > deadline:
                    refused = "there was no time left"
                    break
                self._copy(record, unfinished)
        except OSError as problem:
            refused = problem.strerror or str(problem)
        unfinished.unlink(missing_ok=True)
        sync(self._target)
        sync(self._target.parent)
        return refused

    def _copy(self, record: Path, unfinished: Path) -> None:
        """One record. One that can't be read is noted; only what the store does is an error."""
        name = safe_name(record)
        try:
            # A link is not followed, and no pipe is waited for, should one have appeared since the folder was listed.
            source = os.open(record, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as problem:
            self._notes.append(f"{name} can't be read: {problem.strerror}")
            return
        try:
            size = self._write(source, name, unfinished)
        finally:
            os.close(source)
        if size is not None:
            _place(unfinished, name)
            self.records.append(record)
            self.bytes += size

    def _write(self, source: int, name: str, unfinished: Path) -> int | None:
        """How much was written; None when the record was too large or could not be read to its end."""
        size = 0
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, MODE), "wb") as copy:
            while size <= MAX_RECORD:
                try:
                    chunk = os.read(source, CHUNK)
                except OSError as problem:
                    self._notes.append(f"{name} can't be read: {problem.strerror}")
                    return None
                if not chunk:
                    copy.flush()
                    # The file's time is the record's (fs/pstore/inode.c, pstore_mkfile()).
                    modified = os.fstat(source).st_mtime_ns
                    os.utime(copy.fileno(), ns=(modified, modified))
                    os.fsync(copy.fileno())
                    return size
                copy.write(chunk)
                size += len(chunk)
        self._notes.append(f"{name} is larger than {MAX_RECORD >> 20} MiB")
        return None


def _place(copy: Path, name: str) -> None:
    """Gives the copy its name. Another record may have it, from the same pstore or from a capture before this one."""
    for number in itertools.count(1):
        # "=" is not plain, so no record's own name looks like this.
        target = copy.with_name(f"{name}={number}" if number > 1 else name)
        if not target.exists():
            copy.rename(target)
            return
        if filecmp.cmp(copy, target, shallow=False):
            # It may never have reached the disk, when a capture was killed.
            sync(target)
            return


def _bring_up(pstore: Path, modules: Sequence[str]) -> list[str]:
    """Loads the backend's modules and mounts pstore; returns what did not work."""
    notes = []
    commands = [["modprobe", "--", module] for module in modules]
    if not pstore.is_mount() and not any(pstore.iterdir()):
        commands.append(["mount", "-t", "pstore", "pstore", str(pstore)])
    for command in commands:
        try:
            run(command, timeout=COMMAND_TIMEOUT)
        except SaveError as problem:
            notes.append(str(problem))
    return notes


def list_records(pstore: Path) -> tuple[list[Path], list[Path]]:
    """The records, and what else is there: links, pipes and folders are left alone."""
    with os.scandir(pstore) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    records = [Path(entry.path) for entry in entries if entry.is_file(follow_symlinks=False)]
    return records, [Path(entry.path) for entry in entries if not entry.is_file(follow_symlinks=False)]


def safe_name(record: Path) -> str:
    """A name for any file system, terminal and person: what is not plain becomes %XX, as in a web address."""
    name = os.fsencode(record.name)
    plain = "".join(chr(byte) if byte in PLAIN else f"%{byte:02X}" for byte in name)
    return re.sub(r"^\.", "%2E", plain)[:MAX_NAME]


def _in_short(notes: Sequence[str]) -> str:
    more = [f"and {len(notes) - MAX_TOLD} more"] if len(notes) > MAX_TOLD else []
    return "; ".join([*notes[:MAX_TOLD], *more])
