# SPDX-License-Identifier: LGPL-2.1-or-later
"""The folder of a crash: named by the time of the crash, in a store that may be on another file system."""

import contextlib
import errno
import itertools
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from .doors import LOG_FILE
from .durable import sync
from .status import FILE as STATUS_FILE

# A longer number is none that kdumpd gave, and the next one might be too long for a name.
MAX_DIGITS = 6
# Nobody else makes crash folders at the same time, so the first name is free. This only ends the search on a broken file system.
MAX_TAKEN = 100
# A machine without a clock starts in 1970; beyond 2100 the number is noise.
EARLIEST, LATEST = 1577836800, 4102444800
DAY = 86400


def crash_time(left: int | None, clock: float) -> tuple[int, str]:
    """When the crash was, and what there is to say about that. `left`: what the dead kernel left; `clock`: what the clock says now.

    The dead kernel's word counts when the two differ, as its clock was set by a time server and is that of its log; the dump
    kernel has only the hardware's clock.
    """
    now = int(clock)
    if left is None:
        return now, "the dead kernel did not leave the time of the crash, so this is the time of the capture"
    if not EARLIEST <= left <= LATEST:
        return (
            now,
            f"the dead kernel left {_text(left)} as the time of the crash, which can't be, so this is the time of the capture",
        )
    if abs(now - left) > DAY:
        return left, f"the clock of this dump kernel says {_text(now)}; the time of the crash is the dead kernel's"
    return left, ""


def new_crash_folder(store: Path, when: float) -> Path:
    """Makes a folder that is named by the time, readable for root only, durably.

    Raises:
        OSError: the store can't be written.
    """
    store.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name in itertools.islice(folder_names(store, when), MAX_TAKEN):
        folder = store / name
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        sync(store)
        return folder
    raise FileExistsError(errno.EEXIST, f"no name for a crash folder of {stamp(when)} is free")


def folder_names(store: Path, when: float) -> Iterator[str]:
    """What the folder of a crash at this time may be called, the best first, without end.

    The number follows the highest that is in use. A lower one may be free, because an old crash was removed, but within a second
    the numbers are the order of arrival.
    """
    best = stamp(when)
    first = 1 + max((_number(path.name, best) for path in store.iterdir()), default=-1)
    return (f"{best}-{number}" if number else best for number in itertools.count(first))


def _number(name: str, best: str) -> int:
    """Which crash of this second has the name; -1 when none has."""
    digits = "0" if name == best else name.removeprefix(f"{best}-")
    return int(digits) if digits.isdecimal() and len(digits) <= MAX_DIGITS else -1


def stamp(when: float) -> str:
    """A time as it begins the name of a folder. Names have the order of the times."""
    return time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime(when))


def bytes_in(folder: Path) -> int:
    """How much is in a crash folder; a store that can't tell has nothing."""
    try:
        return sum(path.lstat().st_size for path in folder.iterdir())
    except OSError:
        return 0


def discard(folders: Iterable[Path]) -> None:
    """Removes folders of this crash that got nothing but the story, which goes on in another."""
    for folder in folders:
        with contextlib.suppress(OSError):
            if {path.name for path in folder.iterdir()} <= {STATUS_FILE, LOG_FILE}:
                for name in (STATUS_FILE, LOG_FILE):
                    (folder / name).unlink(missing_ok=True)
                folder.rmdir()


def _text(when: int) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))
    except (OverflowError, ValueError, OSError):
        return str(when)
