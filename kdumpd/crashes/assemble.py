# SPDX-License-Identifier: LGPL-2.1-or-later
"""Puts the records of pstore together: parts to dumps of the log, and the dumps of one boot to a crash."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kdumpd.crashes.records import DMESG, PstoreRecord
from kdumpd.crashes.report import Record
from kdumpd.crashes.text.reader import read_pieces

PANIC, OOPS = "Panic", "Oops"
# The parts of a dump are written one after the other. EFI's take a second or two, and can carry different times.
SAME_DUMP_SECONDS = 60.0
# How much the clock of the wall and that of the log may disagree on what passed between two dumps of one boot.
SAME_BOOT_SECONDS = 120.0
# A log of more than this is no log; the newest parts count.
MAX_LOG = 256 << 20
MAX_MISSING = 1000
MAX_LINE = 16 << 10
# So many lines in a row, and two texts are the same from there on.
OVERLAP = 4
# What no person can read.
BINARY = frozenset({"ftrace", "mce"})
BETWEEN = b"[kdumpd: what the kernel said between two dumps is missing here]\n"
UNREADABLE = "[kdumpd: {} can't be read: it is not compressed by deflate]\n"


@dataclass(frozen=True, kw_only=True)
class Dump:
    """One dump of the log. Its `parts` begin with the oldest text, which has the highest number."""

    reason: str
    count: int
    parts: tuple[PstoreRecord, ...]

    @property
    def backend(self) -> str:
        return self.parts[0].name.backend

    @property
    def time(self) -> float:
        return min(part.time for part in self.parts)

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers that are not there, below the highest that is."""
        numbers = [_number(part) for part in reversed(self.parts)]
        between = itertools.pairwise((0, *numbers))
        gaps = (range(number + 1, following) for number, following in between)
        return tuple(itertools.islice(itertools.chain.from_iterable(gaps), MAX_MISSING))

    @property
    def record(self) -> Record:
        return Record(backend=self.backend, reason=self.reason, count=self.count, parts=len(self.parts), missing=self.missing)

    def text(self) -> Iterator[bytes]:
        """The log, with a word where something is missing."""
        numbers = [_number(part) for part in self.parts]
        gaps = dict(_gaps_after(numbers))
        for part, number in [*zip(self.parts, numbers, strict=True)][-self._newest_that_fit() :]:
            last = b"\n"
            for piece in part.text():
                yield piece
                last = piece[-1:] or last
            if last != b"\n":
                yield b"\n"
            if gap := gaps.get(number):
                yield _gap_text(*gap)

    def _newest_that_fit(self) -> int:
        sizes = itertools.accumulate(part.size for part in reversed(self.parts))
        return max(1, sum(1 for size in sizes if size <= MAX_LOG))


@dataclass(frozen=True, kw_only=True)
class PstoreCrash:
    """All that pstore has of one crash: the dumps of its boot in their order, and the records of other kinds."""

    dumps: tuple[Dump, ...] = ()
    others: tuple[PstoreRecord, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all its records."""
        return tuple(part.file for dump in self.dumps for part in dump.parts) + tuple(other.file for other in self.others)

    @property
    def final(self) -> Dump | None:
        """The dump that tells the end: of the panic, or else of the last oops."""
        panic = next((dump for dump in self.dumps if dump.reason == PANIC), None)
        return panic or next((dump for dump in reversed(self.dumps) if dump.reason == OOPS), next(reversed(self.dumps), None))

    @property
    def time(self) -> float:
        return self.final.time if self.final else min(other.time for other in self.others)

    @property
    def records(self) -> tuple[Record, ...]:
        return tuple(dump.record for dump in self.dumps)

    def text(self) -> Iterator[bytes]:
        """The log: that of the final dump, and in front of it what only the dumps before it have."""
        if self.final is None:
            for other in self.others:
                if not other.readable:
                    yield UNREADABLE.format(other.file).encode()
                elif other.name.type not in BINARY:
                    yield from other.text()
            return
        before = self.dumps[: self.dumps.index(self.final)]
        for earlier, later in itertools.pairwise((*before, self.final)):
            yield from _until(earlier, later)
        yield from self.final.text()

    @property
    def tells_of_a_fault(self) -> bool:
        return any(dump.reason in (PANIC, OOPS) for dump in self.dumps) or _is_fatal(self.text())


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """`rest`: the records that tell of no crash."""

    crashes: tuple[PstoreCrash, ...] = ()
    rest: tuple[PstoreRecord, ...] = ()


def assemble(records: Iterable[PstoreRecord]) -> Assembled:
    """Crashes, the oldest first. Every record is in exactly one of them, or in the rest."""
    parts: list[PstoreRecord] = []
    others: list[PstoreRecord] = []
    for record in sorted(records, key=_age):
        (parts if record.head else others).append(record)
    boots = [PstoreCrash(dumps=tuple(dumps)) for dumps in _boots(_dumps(parts))]
    crashes: list[PstoreCrash] = []
    rest: list[PstoreRecord] = []
    for boot in boots:
        if boot.tells_of_a_fault:
            crashes.append(boot)
        else:
            rest += (part for dump in boot.dumps for part in dump.parts)
    for backend in sorted({record.name.backend for record in others}):
        own = [record for record in others if record.name.backend == backend]
        rest += _attach(own, crashes)
    return Assembled(crashes=tuple(sorted(crashes, key=lambda crash: crash.time)), rest=tuple(rest))


def _attach(own: Sequence[PstoreRecord], crashes: list[PstoreCrash]) -> list[PstoreRecord]:
    """Gives one backend's records that are no dumps to its last crash, as they are of the last boot; returns what is no crash's."""
    backend = own[0].name.backend
    mates = [crash for crash in crashes if crash.dumps and crash.dumps[0].backend == backend]
    if mates:
        last = max(mates, key=lambda crash: crash.time)
        crashes[crashes.index(last)] = PstoreCrash(dumps=last.dumps, others=tuple(own))
        return []
    alone = PstoreCrash(others=tuple(own))
    # A dump that can't be read is still one.
    if any(record.name.type == DMESG and not record.readable for record in own) or _is_fatal(alone.text()):
        crashes.append(alone)
        return []
    return list(own)


def _dumps(parts: Iterable[PstoreRecord]) -> list[Dump]:
    """Parts of one dump have the same first line but for their number, and were written in one go."""
    found: list[tuple[str, int, list[PstoreRecord]]] = []
    open_dumps: dict[tuple[str, str, int], tuple[list[PstoreRecord], set[int]]] = {}
    for part in parts:
        if part.head is None:
            continue
        key = (part.name.backend, part.head.reason, part.head.count)
        dump, numbers = open_dumps.get(key, ([], set()))
        if not dump or part.head.part in numbers or part.time - dump[-1].time > SAME_DUMP_SECONDS:
            dump, numbers = open_dumps[key] = ([], set())
            found.append((part.head.reason, part.head.count, dump))
        dump.append(part)
        numbers.add(part.head.part)
    return [Dump(reason=reason, count=count, parts=tuple(sorted(dump, key=_number, reverse=True))) for reason, count, dump in found]


def _boots(dumps: Iterable[Dump]) -> list[list[Dump]]:
    """The dumps of each boot, in their order."""
    boots: list[list[Dump]] = []
    latest: dict[str, list[Dump]] = {}
    for dump in sorted(dumps, key=lambda dump: (dump.time, dump.count)):
        boot = latest.get(dump.backend)
        if boot and _same_boot(boot[-1], dump):
            boot.append(dump)
        else:
            boots.append([dump])
            latest[dump.backend] = boots[-1]
    return boots


def _same_boot(earlier: Dump, later: Dump) -> bool:
    """The kernel counts its dumps from 1, and its clock begins at 0, whenever it boots."""
    if later.count <= earlier.count:
        return False
    before, after = earlier.parts[-1].last, later.parts[-1].last
    if before is None or after is None:
        return later.time - earlier.time <= SAME_DUMP_SECONDS
    passed = after - before
    return passed >= 0 and abs(later.time - earlier.time - passed) <= SAME_BOOT_SECONDS


def _until(earlier: Dump, later: Dump) -> Iterator[bytes]:
    """The text of a dump up to where the next one begins; nothing when all of it is in the next one."""
    if _found(_first_lines(earlier), _lines(later.text())):
        return
    wanted = _first_lines(later)
    window: deque[bytes] = deque()
    for line in _lines(earlier.text()):
        window.append(line)
        if len(window) == OVERLAP:
            if [*window] == wanted:
                return
            yield window.popleft()
    tail = list(window)
    same = next((size for size in range(len(tail), 0, -1) if tail[-size:] == wanted[:size]), 0)
    yield from tail[: len(tail) - same]
    if not same:
        yield BETWEEN


def _first_lines(dump: Dump) -> list[bytes]:
    return list(itertools.islice(_lines(dump.text()), OVERLAP))


def _found(wanted: list[bytes], lines: Iterable[bytes]) -> bool:
    window: deque[bytes] = deque(maxlen=len(wanted))
    for line in lines:
        window.append(line)
        if [*window] == wanted:
            return True
    return False


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """With their ends; one that is longer than any line comes in several."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line + b"\n" for line in lines)
        while len(rest) > MAX_LINE:
            yield rest[:MAX_LINE]
            rest = rest[MAX_LINE:]
    if rest:
        yield rest + b"\n"


def _is_fatal(pieces: Iterable[bytes]) -> bool:
    told = read_pieces(pieces)
    return told is not None and told.fatal


def _gaps_after(numbers: Sequence[int]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Of falling numbers: after which of them some are missing, and the first and the last of those."""
    for number, following in itertools.pairwise((*numbers, 0)):
        if number - following > 1:
            yield number, (following + 1, number - 1)


def _gap_text(first: int, last: int) -> bytes:
    what = f"part {first} is" if first == last else f"parts {first} to {last} are"
    return f"[kdumpd: {what} missing here]\n".encode()


def _age(record: PstoreRecord) -> tuple[float, int, int, str]:
    # In the order of their writing, as the ids of ERST and EFI rise.
    return (record.time, record.name.id, record.name.copy, record.file)


def _number(record: PstoreRecord) -> int:
    return record.head.part if record.head else 0
