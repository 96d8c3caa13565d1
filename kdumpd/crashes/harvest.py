# SPDX-License-Identifier: LGPL-2.1-or-later
"""Takes the records of a crash out of pstore and makes a crash folder of them.

A kill or a power cut at any point loses nothing, and the next harvest goes on: a record is in its source until its copy in the
spool is on the disk, and in the spool until it is in a crash folder; one that is in a crash folder already is never put into
another.
"""

import filecmp
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from kdumpd.capture import dmesg, pstore, status
from kdumpd.capture.durable import rename, sync
from kdumpd.capture.folders import crash_time, folder_names
from kdumpd.capture.keep import FOLDER_NAME
from kdumpd.capture.program import SaveError
from kdumpd.crashes import report
from kdumpd.crashes.assemble import PstoreCrash, assemble
from kdumpd.crashes.make import add_records, record_at, record_report
from kdumpd.crashes.records import PstoreRecord, parse_name
from kdumpd.crashes.report import Report
from kdumpd.crashes.same import is_same_crash, near
from kdumpd.errors import HostError
from kdumpd.files import hold, is_own, set_aside

SPOOL = ".harvest"
# In the spool: a crash folder that is not finished; records that tell of no crash, of which the newest are kept.
UNFINISHED, OTHERS = "unfinished", "no-crash"
MAX_OTHERS = 200
MODE = 0o600
# What a crash folder has that a harvest reads or writes.
PARTS = {
    dmesg.FILE: stat.S_IFREG,
    status.FILE: stat.S_IFREG,
    report.FILE: stat.S_IFREG,
    pstore.FOLDER: stat.S_IFDIR,
}
# For another harvest, which has a time limit for its copies, too.
PATIENCE = 60.0
# Where systemd-pstore puts them: FOLDER/TIME/COUNT/NAME.
DEPTH = 2

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Harvested:
    """A crash that was found, and whether its dump was there already."""

    folder: Path
    report: Report
    has_dump: bool


def harvest(source: Path, store: Path, stores: Sequence[Path], tell: Tell) -> list[Harvested]:
    """Moves the records of `source` to `store`, and tells of the crashes in them. A dump in one of `stores` gets its own records.

    Raises:
        HostError: not all could be saved. What is not in the store is where it was.
    """
    try:
        records, others = find_records(source)
        for path in others:
            tell(f"{path} is left alone: it is not a record of pstore")
        spool = store / SPOOL
        if not records and not _names(spool / pstore.FOLDER):
            return []
        _make_spool(spool)
        sync(store)
        # Only one harvest at a time.
        with hold(spool, patience=PATIENCE):
            return _harvest(records, spool, stores, tell)
    except SaveError as problem:
        raise HostError(f"{store}: {problem}", hint=f"make room in {store}, then run kdumpd harvest") from problem
    except PermissionError:
        raise
    except OSError as problem:
        raise HostError(
            f"{problem.filename or store}: {problem.strerror}; the records that are not in {store} are where they were",
            hint="mend that, then run kdumpd harvest",
        ) from problem


def _make_spool(spool: Path) -> None:
    """What another user has put there is no spool; nor may he open it, and hold the lock."""
    if os.path.lexists(spool) and not is_own(spool, stat.S_IFDIR):
        set_aside(spool)
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    spool.chmod(0o700)


def find_records(source: Path, depth: int = DEPTH) -> tuple[list[Path], list[Path]]:
    """The records in a folder and in those below it, and what else is there. Links are not followed, pipes are not opened."""
    try:
        files, others = pstore.list_records(source)
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    records: list[Path] = []
    left: list[Path] = []
    for path in files:
        (records if parse_name(path.name) else left).append(path)
    for path in others:
        if depth and path.is_dir() and not path.is_symlink():
            more = find_records(path, depth - 1)
            records += more[0]
            left += more[1]
        else:
            left.append(path)
    return records, left


def _harvest(records: Sequence[Path], spool: Path, stores: Sequence[Path], tell: Tell) -> list[Harvested]:
    shutil.rmtree(spool / UNFINISHED, ignore_errors=True)
    if records:
        saved = pstore.take_records(records, spool, deadline=time.monotonic() + pstore.TIMEOUT, notes=[])
        if saved.detail:
            tell(saved.detail)
    here = _Spool(spool, stores)
    found = assemble(here.records())
    crashes = [stored for crash in found.crashes if (stored := here.store(crash))]
    if found.rest:
        here.put_aside(found.rest)
    return crashes


class _Spool:
    """The records that are safe in the store, on their way to a crash folder."""

    def __init__(self, spool: Path, stores: Sequence[Path]) -> None:
        self._spool = spool
        self._store = spool.parent
        self._stores = tuple(dict.fromkeys((self._store, *stores)))
        self._homes = self._find_homes()

    def records(self) -> list[PstoreRecord]:
        return [record for path in self._paths() if (record := record_at(path))]

    def store(self, crash: PstoreCrash) -> Harvested | None:
        """Puts a crash into a folder, that of its dump or one of its own, then forgets its records. None: it was there already."""
        paths = [self._spool / pstore.FOLDER / file for file in crash.files]
        when = crash_time(int(crash.time), time.time())[0]
        # An earlier harvest may have been cut off in the middle of it.
        homes = [self._homes.get(file) for file in crash.files]
        folder = next(filter(None, homes), None)
        folder = folder or next((each for each in near(self._folders(), when) if is_same_crash(each, crash)), None)
        if folder:
            _copy(paths, folder)
            sync(folder.parent)
            told = add_records(folder)
        else:
            folder = self._build(crash, paths, when)
            told = record_report(folder)
        self._forget(paths)
        return None if all(homes) else Harvested(folder=folder, report=told, has_dump=told.capture is not None)

    def put_aside(self, records: Sequence[PstoreRecord]) -> None:
        """Keeps records that tell of no crash."""
        paths, others = [self._spool / pstore.FOLDER / record.file for record in records], self._spool / OTHERS
        _copy([path for path in paths if path.name not in self._homes], others)
        self._forget(paths)
        kept = sorted((others / pstore.FOLDER).iterdir(), key=lambda path: path.lstat().st_mtime)
        for old in kept[:-MAX_OTHERS]:
            old.unlink()

    def _build(self, crash: PstoreCrash, paths: Sequence[Path], when: float) -> Path:
        """A crash folder that is whole when it appears in the store."""
        name = next(name for name in folder_names(self._store, when) if not os.path.lexists(self._store / name))
        unfinished = self._spool / UNFINISHED / name
        try:
            unfinished.mkdir(mode=0o700, parents=True)
            _copy(paths, unfinished)
            _write(unfinished / dmesg.FILE, crash.text())
            record_report(unfinished)
            rename(unfinished, self._store / name)
        finally:
            shutil.rmtree(self._spool / UNFINISHED, ignore_errors=True)
        return self._store / name

    def _find_homes(self) -> dict[str, Path]:
        """The crash folders that have a record of the spool already."""
        waiting: dict[str, list[Path]] = {}
        homes: dict[str, Path] = {}
        for path in self._paths():
            waiting.setdefault(_base(path.name), []).append(path)
        for folder in self._folders() if waiting else ():
            for stored in _names(folder / pstore.FOLDER):
                for path in waiting.get(_base(stored), ()):
                    if _is_copy(path, folder / pstore.FOLDER / stored):
                        homes[path.name] = folder
        return homes

    def _paths(self) -> list[Path]:
        folder = self._spool / pstore.FOLDER
        return [folder / name for name in sorted(_names(folder)) if parse_name(name)]

    def _folders(self) -> Iterator[Path]:
        """Every crash folder that can take records, of which there may be thousands."""
        for store in self._stores:
            yield from (store / name for name in _names(store) if FOLDER_NAME.fullmatch(name) and _is_sound(store / name))

    def _forget(self, paths: Sequence[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)
        sync(self._spool / pstore.FOLDER)


def _copy(paths: Sequence[Path], folder: Path) -> None:
    """Copies records durably; those that are there already are not copied again.

    Raises:
        OSError: not all could be copied.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    notes: list[str] = []
    copies = pstore.Copies(folder / pstore.FOLDER, notes)
    refused = copies.copy_all(paths, time.monotonic() + pstore.TIMEOUT)
    if refused or notes:
        raise OSError(0, refused or notes[0], str(folder))


def _is_sound(folder: Path) -> bool:
    """Whether it is as kdumpd left it: nothing is put into one that is damaged, or another user's."""
    found = (folder / name for name in PARTS if os.path.lexists(folder / name))
    return is_own(folder, stat.S_IFDIR) and all(is_own(path, PARTS[path.name]) for path in found)


def _write(path: Path, pieces: Iterator[bytes]) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE), "wb") as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())


def _is_copy(path: Path, stored: Path) -> bool:
    try:
        return filecmp.cmp(path, stored, shallow=False)
    except OSError:
        return False


def _base(name: str) -> str:
    """What a copy was called before it was copied, perhaps twice (capture/pstore.py)."""
    return unquote(name).partition("=")[0]


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
