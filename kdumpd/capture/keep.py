# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes room: removes older crashes once a new one is safe, and older memory where not even a log has room."""

import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from . import dmesg, pstore, status, vmcore
from .console import say
from .durable import remove_file, sync, temporary_name

# What new_crash_folder() makes: day, time, and a number for another crash in the same second.
FOLDER_NAME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d)Z(?:-(\d+))?")
CAPTURE_LOG = "capture.log"
# What kdumpd adds after the next boot: what is known of the crash, and what a debugger found in it.
REPORT, ANALYSIS = "report.json", "analysis.txt"
FILES = (dmesg.FILE, vmcore.FILE, status.FILE, CAPTURE_LOG, REPORT, ANALYSIS)
# All that kdumpd leaves, also one that was killed. A folder with anything else in it is not, or no longer, only ours.
OURS = frozenset(
    [*FILES, *(f"{name}.incomplete" for name in FILES), *(temporary_name(Path(name)).name for name in FILES)],
)
# Every capture has begun one of these; what was harvested without a log has a report.
EVIDENCE = frozenset([status.FILE, dmesg.FILE, f"{dmesg.FILE}.incomplete", REPORT])


def remove_old_crashes(
    newest: Path, *, count: int, size: int, free: int, latest: str = "", tell: Callable[[str], None] = say
) -> None:
    """Removes the oldest crashes beside `newest`, until there are at most `count`, in at most `size` bytes, with `free` bytes left.

    The newest with a log or a memory in it is never removed, nor is `newest`. Where all of the others together would not free
    so much, none is lost for that. One that can't be removed stays, and is told. `latest` is the name that a crash would have now,
    where `newest` may be of a time before that of the last one.
    """
    store = newest.parent
    crashes = {folder: contents for folder in _by_arrival(store, max(newest.name, latest)) if (contents := crash_contents(folder))}
    sizes = {folder: _size(contents) for folder, contents in crashes.items()}
    good = [folder for folder in crashes if _is_good(folder) and folder != newest]
    spared = {newest} if _is_good(newest) else {newest, *good[-1:]}
    removable = [folder for folder in crashes if folder not in spared]
    # Added up, for a file system such as btrfs tells of space only some time after it was freed.
    left = _free_bytes(store)
    reachable = left + sum(sizes[folder] for folder in removable) >= free
    for folder in removable:
        has_room = not reachable or left >= free
        if has_room and sum(sizes.values()) <= size and len(sizes) <= count:
            return
        freed = sizes.pop(folder)
        try:
            remove_crash(folder, crashes[folder])
        except OSError as problem:
            tell(f"cannot remove {folder}: {problem.strerror}")
        else:
            left += freed
            tell(f"removed the older crash {folder}")


def remove_oldest_vmcore(store: Path, newest: str, *, tell: Callable[[str], None] = say) -> bool:
    """Remove the memory of the oldest crash that has one, for a log that finds no room; return whether there was one.

    Its log stays, and the newest crash with a log or a memory in it stays as it is. `newest` is the name of the crash to be saved.

    Raises:
        OSError: the store can't be read.
    """
    crashes = [folder for folder in _by_arrival(store, newest) if crash_contents(folder)]
    good = [folder for folder in crashes if _is_good(folder)]
    memories = (folder / name for folder in crashes if folder not in good[-1:] for name in (vmcore.INCOMPLETE, vmcore.FILE))
    for memory in filter(Path.exists, memories):
        try:
            remove_file(memory)
        except OSError as problem:
            tell(f"cannot remove {memory}: {problem.strerror}")
        else:
            tell(f"the store is full: removed {memory}; the log of that crash stays")
            return True
    return False


def _by_arrival(store: Path, latest: str) -> list[Path]:
    """The folders that are named like crashes, in the order in which they came, as far as it can be known.

    A name has the time of the crash by a clock that may have been wrong, and the times that the file system keeps are of the same
    clock. Only one thing is certain: none came after `latest`. So a name that is later is of a clock that was wrong, and goes
    first. A counter in the store would know more, but it can be missing, damaged or planted, and would then remove the wrong ones.
    """
    named = [(age(path.name), path) for path in store.iterdir() if FOLDER_NAME.fullmatch(path.name) and _is_folder(path)]
    last, _ = age(latest)
    named.sort(key=lambda pair: (pair[0][0] <= last, pair[0]))
    return [path for _, path in named]


def age(name: str) -> tuple[str, int]:
    """What sorts the names of crash folders by time: of those of one second, -2 comes before -10."""
    second, _, number = name.partition("Z")
    return second, int(number[1:] or 0)


def crash_contents(folder: Path) -> list[Path]:
    """All that is in a crash folder, in an order for its removal; nothing when it can't be read or is not all from kdumpd."""
    records = folder / pstore.FOLDER
    try:
        # The evidence goes last: a removal that the power cut short is finished the next time.
        inside = sorted(folder.iterdir(), key=lambda path: path.name in EVIDENCE)
        folders = [path for path in inside if path == records and _is_folder(path)]
        copies = list(records.iterdir()) if folders else []
        files = [path for path in inside if path not in folders]
        regular = all(stat.S_ISREG(path.lstat().st_mode) for path in (*files, *copies))
        # A file system that somebody has mounted in there is not ours either.
        devices = {path.lstat().st_dev for path in inside}
        here = devices <= {folder.parent.stat().st_dev}
    except OSError:
        return []
    names = {path.name for path in files}
    return [*copies, *folders, *files] if names <= OURS and names & EVIDENCE and regular and here else []


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(path.lstat().st_mode)


def _is_good(folder: Path) -> bool:
    return (folder / dmesg.FILE).exists() or (folder / vmcore.FILE).exists()


def remove_crash(folder: Path, contents: Iterable[Path]) -> None:
    """Removes, durably, what was looked at, and nothing that may have come since.

    Raises:
        OSError: something is left.
    """
    for path in contents:
        if _is_folder(path):
            path.rmdir()
        else:
            path.unlink()
    folder.rmdir()
    sync(folder.parent)


def _free_bytes(folder: Path) -> int:
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize


def _size(contents: Iterable[Path]) -> int:
    """What it takes on the disk: a vmcore may have holes. st_blocks counts 512 bytes, whatever the file system."""
    return sum(path.lstat().st_blocks * 512 for path in contents)
