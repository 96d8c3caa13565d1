# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether the log of a dump and the records of pstore are of the same crash: the same lines, said at the same microsecond."""

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from kdumpd.capture import dmesg
from kdumpd.crashes.assemble import PstoreCrash
from kdumpd.crashes.make import pieces
from kdumpd.crashes.record import time_of
from kdumpd.crashes.text.lines import MAX_LINE, parse_line
from kdumpd.files import is_own

# The clock of the dump kernel may be set to another time zone.
SAME_DAY = 86400.0
SAMPLE = 32
# The boot's first lines have the time 0, and a few lines of one boot may be those of another.
AT_LEAST = 3
# A dump escapes what can't be printed, and each reader does it in its own way.
MOST = 0.8

Said = tuple[float, str]


def near(folders: Iterable[Path], when: float) -> list[Path]:
    """The crash folders of that day, the nearest first."""
    apart = {folder: abs(_seconds(folder) - when) for folder in folders}
    return sorted((folder for folder in apart if apart[folder] <= SAME_DAY), key=lambda folder: apart[folder])


def is_same_crash(folder: Path, crash: PstoreCrash) -> bool:
    """Whether the log in the folder has the last lines of the crash."""
    if crash.final is None or not is_own(folder / dmesg.FILE):
        return False
    wanted = deque(said(crash.final.text()), maxlen=SAMPLE)
    try:
        return len(wanted) >= AT_LEAST and _share(wanted, pieces(folder / dmesg.FILE)) >= MOST
    except OSError:
        # A damaged disk. The records get a folder of their own.
        return False


def said(text: Iterable[bytes]) -> Iterator[Said]:
    """Each line with its time, without what printk puts before it."""
    for line in _lines(text):
        parsed = parse_line(line)
        if parsed.seconds and parsed.text:
            yield parsed.seconds, " ".join(parsed.text.split())


def _share(wanted: Iterable[Said], log: Iterable[bytes]) -> float:
    missing = set(wanted)
    count = len(missing)
    for found in said(log):
        missing.discard(found)
        if not missing:
            break
    return 1 - len(missing) / count


def _lines(text: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in text:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        # What is longer than any line is none.
        rest = rest[:MAX_LINE]
    yield rest


def _seconds(folder: Path) -> float:
    try:
        return datetime.fromisoformat(time_of(folder)).timestamp()
    except (ValueError, OverflowError):
        # No such day.
        return 0.0
