# SPDX-License-Identifier: LGPL-2.1-or-later
"""One record of pstore: what its name and its first line tell, and its text, piece by piece."""

import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from kdumpd.capture.folders import EARLIEST, LATEST

# No backend keeps a log of this size; what inflates to more is no log.
MAX_TEXT = 64 << 20
# Enough for a line with a time, and for what ramoops puts at the end.
EDGE = 4 << 10
# ramoops appends how its error correction went (fs/pstore/ram_core.c, persistent_ram_ecc_string()).
TRAILER_ROOM = 128
DMESG = "dmesg"
UNKNOWN = "unknown"

# TYPE-BACKEND-ID (fs/pstore/inode.c); "=2" is capture/pstore.py's, for another record of the same name.
_NAME = re.compile(
    r"(?P<type>[a-z][a-z0-9-]{0,30}?)-(?P<backend>[a-z0-9_]{1,40})-(?P<id>\d{1,20})(?P<z>\.enc\.z)?(?:=(?P<copy>\d{1,9}))?"
)
_HEAD = re.compile(rb"(?P<reason>[A-Z][a-z]{1,15})#(?P<count>\d{1,9}) Part(?P<part>\d{1,9})\r?\n")
_TRAILER = re.compile(rb"\n?ECC: (?:No errors detected|\d{1,10} Corrected bytes, \d{1,10} unrecoverable blocks)\n\Z")
_TIME = re.compile(rb"^(?:<\d{1,3}>)?\[ *(\d{1,12}\.\d{6})\]", re.MULTILINE)
BACKENDS = frozenset({"efi", "efi_pstore", "ramoops", "erst", "pstore_blk", "mtdpstore", "nvram"})
_EFI = ("efi", "efi_pstore")
# (time * 100 + part) * 1000 + count (drivers/firmware/efi/efi-pstore.c, generic_id()).
_EFI_TIME = 100_000

Pieces = Callable[[], Iterator[bytes]]


@dataclass(frozen=True, kw_only=True)
class Name:
    """What the name of a record tells. `copy` counts the records of one name."""

    type: str
    backend: str
    id: int
    compressed: bool = False
    copy: int = 1


@dataclass(frozen=True, kw_only=True)
class Head:
    """The first line of a dump of the log. `count` is the number of this dump since the kernel booted; part 1 is the newest."""

    reason: str
    count: int
    part: int


@dataclass(frozen=True, kw_only=True)
class PstoreRecord:
    """A record. `time` is the crash's as far as the backend knows it; `first` and `last` are the first and the last time, in
    seconds of uptime, that its text tells. `head` is None where there is none, or where the record can't be inflated. `size` is
    that of its text.
    """

    file: str
    name: Name
    time: float
    head: Head | None = None
    size: int = 0
    first: float | None = None
    last: float | None = None
    raw: Pieces

    @property
    def readable(self) -> bool:
        """Whether there is any text. One that is compressed by something else than deflate has none."""
        return self.size > 0

    def text(self) -> Iterator[bytes]:
        """What the kernel wrote, without what pstore and its backend put to it."""
        return _body(_plain(self.name, self.raw()), self.name)


def parse_name(file: str) -> Name | None:
    """None: this is no record's name."""
    found = _NAME.fullmatch(unquote(file, errors="replace"))
    if found is None:
        return None
    backend = found["backend"] if found["backend"] in BACKENDS else UNKNOWN
    return Name(type=found["type"], backend=backend, id=int(found["id"]), compressed=bool(found["z"]), copy=int(found["copy"] or 1))


def read_record(file: str, modified: float, raw: Pieces) -> PstoreRecord | None:
    """Reads a record once, from begin to end, and keeps only what it tells of itself; None: by its name it is none."""
    name = parse_name(file)
    if name is None:
        return None
    begin, end, size = b"", b"", 0
    head = _HEAD.match(_beginning(_plain(name, raw()))) if name.type == DMESG else None
    for piece in _body(_plain(name, raw()), name):
        begin += piece[: EDGE - len(begin)]
        end = (end + piece)[-EDGE:]
        size += len(piece)
    first, last = _TIME.search(begin), [*_TIME.finditer(end)]
    return PstoreRecord(
        file=file,
        name=name,
        time=_time(name, modified),
        head=Head(reason=head["reason"].decode(), count=int(head["count"]), part=int(head["part"])) if head else None,
        # What was not inflated is not text, whatever came out of it.
        size=0 if name.compressed and name.type == DMESG and head is None else size,
        first=float(first[1]) if first else None,
        last=float(last[-1][1]) if last else None,
        raw=raw,
    )


def inflate(pieces: Iterable[bytes], *, limit: int = MAX_TEXT) -> Iterator[bytes]:
    """As much as can be inflated of what pstore has deflated, which has no header (fs/pstore/platform.c); at most `limit` bytes."""
    engine, left = zlib.decompressobj(-15), limit
    for piece in pieces:
        rest = piece
        while rest and left > 0 and not engine.eof:
            try:
                text = engine.decompress(rest, min(left, 256 << 10))
            except zlib.error:
                return
            rest, left = engine.unconsumed_tail, left - len(text)
            if text:
                yield text


def _plain(name: Name, pieces: Iterable[bytes]) -> Iterator[bytes]:
    return inflate(pieces) if name.compressed else _limited(pieces)


def _limited(pieces: Iterable[bytes]) -> Iterator[bytes]:
    left = MAX_TEXT
    for piece in pieces:
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return


def _beginning(pieces: Iterator[bytes]) -> bytes:
    begin = b""
    for piece in pieces:
        begin += piece[:EDGE]
        if len(begin) >= TRAILER_ROOM:
            break
    return begin


def _body(pieces: Iterator[bytes], name: Name) -> Iterator[bytes]:
    """Without the first line of a dump, and without the last one of ramoops."""
    held = b""
    pieces = _without_head(pieces) if name.type == DMESG else pieces
    for piece in pieces:
        text = held + piece
        if len(text) > TRAILER_ROOM:
            yield text[:-TRAILER_ROOM]
        held = text[-TRAILER_ROOM:]
    if rest := _TRAILER.sub(b"", held) if name.backend == "ramoops" else held:
        yield rest


def _without_head(pieces: Iterator[bytes]) -> Iterator[bytes]:
    begin = b""
    for piece in pieces:
        begin += piece
        if len(begin) >= TRAILER_ROOM:
            break
    found = _HEAD.match(begin)
    yield begin[found.end() :] if found else begin
    yield from pieces


def _time(name: Name, modified: float) -> float:
    """The file's time is the record's (pstore_mkfile()), unless something has copied it; EFI's names tell it as well."""
    own = name.id // _EFI_TIME
    return float(own) if name.backend in _EFI and EARLIEST <= own <= LATEST else modified
