# SPDX-License-Identifier: LGPL-2.1-or-later
"""The last minutes of a kernel, by its log."""

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from kdumpd.crashes.text.grammar import Role
from kdumpd.crashes.text.lines import Line, find_lines
from kdumpd.crashes.text.reader import PIECE, Reader
from kdumpd.files import open_own

MINUTES = 5
SPAN = MINUTES * 60.0
# Of a longer log only so much of its end is read: it is more than a kernel's own buffer nearly ever has.
TAIL = 2 << 20
MAX_EVENTS = 200
MAX_TEXT = 500
# Messages alike, with at most so many others between, and so many seconds between one and the next, are one event.
ALIKE_WITHIN = 8
BURST_SECONDS = 10.0
# What comes so soon after a line of a fault belongs to it.
AFTERMATH = 1.0
WARNING_LEVEL = 4


class Sort(StrEnum):
    """What an event is."""

    FAULT = "fault"
    WARNING = "warning"
    HARDWARE = "hardware error"
    MEMORY = "out of memory"
    DEVICE = "device"
    NETWORK = "network"
    FILES = "file system"
    MESSAGE = "message"
    KDUMPD = "kdumpd"


# A log without levels is judged by its words.
_TROUBLE = re.compile(
    r"\b(?:errors?|failed|failure|time-?out|timed out|corrupt\w*|link(?: is)? down|offline|abort\w*|reset\w*|disconnect|taints?)\b",
    re.IGNORECASE,
)
_OURS = re.compile(r"kdumpd\b")
_ABOUT = (
    (Sort.FILES, re.compile(r"^(?:EXT[234]-fs|XFS|BTRFS|F2FS|NFS|nfsd?|CIFS|overlayfs|FAT-fs|JBD2|squashfs)\b|\bBuffer I/O")),
    (
        Sort.NETWORK,
        re.compile(r"\b(?:eth\d+|en[opsx]\w*\d\w*|wl\w+\d\w*|bond\d+|br\d+|NETDEV WATCHDOG|TCP|[lL]ink (?:is )?[dD]own)\b"),
    ),
    (
        Sort.DEVICE,
        re.compile(
            r"\b(?:I/O error|blk_update_request|ata\d+|sd[a-z]+|sd \d|vd[a-z]+|nvme\d*|scsi|usb|pcieport|pci|dm-\d+|md\d*|mmc\d)\b"
        ),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that the kernel said, `count` times. `before` the end of the log, in seconds, where it tells the time.

    `until` is the same of the last time.
    """

    sort: Sort
    text: str
    before: float | None
    until: float | None
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Events in the order of the log. `left_out` is how many more there were before them."""

    events: tuple[Event, ...] = ()
    left_out: int = 0


def read_timeline(path: Path) -> Timeline:
    """The last minutes of a log file, in constant memory and time.

    Raises:
        OSError: it can't be read.
    """
    with open_own(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
        return make_timeline(find_lines(_pieces(file), lambda: True))


def make_timeline(lines: Iterable[Line]) -> Timeline:
    """The last minutes in the lines of a log."""
    watch = _Watch()
    for line in lines:
        watch.take(line)
    return watch.timeline()


@dataclass(slots=True)
class _Burst:
    """An event that may still go on; the times are of the uptime."""

    sort: Sort
    text: str
    key: str
    first: float | None
    last: float | None
    count: int = 1


class _Watch:
    """Takes every line, and lets the reader of faults say what it is."""

    def __init__(self) -> None:
        self._reader = Reader()
        self._bursts: deque[_Burst] = deque()
        self._left_out = 0
        self._now: float | None = None
        self._fault_at: float | None = None

    def take(self, line: Line) -> None:
        if line.seconds is not None:
            self._now = line.seconds
        boot = self._reader.boot
        block = boot.blocks[-1] if boot.blocks else None
        noted = (boot.hardware_error_count, boot.oom_kill_count, boot.ftrace_lines)
        self._reader.take(line)
        if self._reader.boot is not boot:
            self._begin()
            return
        newest = boot.blocks[-1] if boot.blocks else None
        if newest is not block and newest is not None:
            self._fault(newest.role, newest.message, line)
        elif boot.hardware_error_count > noted[0]:
            self._add(Sort.HARDWARE, line.text)
        elif boot.oom_kill_count > noted[1]:
            self._add(Sort.MEMORY, line.text)
        elif newest and newest.last_offset == line.offset:
            self._fault_at = self._now
        elif boot.ftrace_lines == noted[2] and (sort := _sort_of(line)) and (sort is Sort.KDUMPD or not self._in_aftermath()):
            self._add(sort, line.text)

    def timeline(self) -> Timeline:
        end = self._now
        kept = [burst for burst in self._bursts if end is None or burst.last is None or burst.last >= end - SPAN]
        events = tuple(
            Event(sort=burst.sort, text=burst.text, before=_ago(end, burst.first), until=_ago(end, burst.last), count=burst.count)
            for burst in kept
        )
        return Timeline(events=events, left_out=self._left_out)

    def _begin(self) -> None:
        self._bursts.clear()
        self._left_out, self._now, self._fault_at = 0, None, None

    def _fault(self, role: Role, message: str | None, line: Line) -> None:
        self._fault_at = self._now
        if role is Role.LOST:
            self._add(Sort.FAULT, "a fault whose first line is not in the log")
        else:
            self._add(Sort.WARNING if role is Role.WARNING else Sort.FAULT, line.text + (f": {message}" if message else ""))

    def _in_aftermath(self) -> bool:
        if self._fault_at is None:
            return bool(self._reader.boot.blocks)
        return self._now is None or self._now - self._fault_at < AFTERMATH

    def _add(self, sort: Sort, text: str) -> None:
        key = re.sub(r"0x[0-9a-f]+|\d+", "0", text)
        for burst in list(self._bursts)[-ALIKE_WITHIN:]:
            if (burst.sort, burst.key) == (sort, key) and (_ago(self._now, burst.last) or 0) <= BURST_SECONDS:
                burst.count += 1
                burst.last = self._now
                return
        self._bursts.append(_Burst(sort, text[:MAX_TEXT], key, self._now, self._now))
        while self._is_old(self._bursts[0]):
            self._bursts.popleft()
        if len(self._bursts) > MAX_EVENTS:
            self._bursts.popleft()
            self._left_out += 1

    def _is_old(self, burst: _Burst) -> bool:
        return (_ago(self._now, burst.last) or 0) > SPAN


def _sort_of(line: Line) -> Sort | None:
    """What an ordinary message is about; None when it is not worth a line here."""
    if _OURS.match(line.text):
        return Sort.KDUMPD
    grave = line.level <= WARNING_LEVEL if line.level is not None else _TROUBLE.search(line.text) is not None
    return next((sort for sort, pattern in _ABOUT if pattern.search(line.text)), Sort.MESSAGE) if grave else None


def _ago(end: float | None, then: float | None) -> float | None:
    return None if end is None or then is None else max(0.0, end - then)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    # A file that still grows has an end here too.
    left = TAIL
    while left > 0 and (piece := file.read(min(PIECE, left))):
        left -= len(piece)
        yield piece
