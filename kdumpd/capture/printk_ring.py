# SPDX-License-Identifier: LGPL-2.1-or-later
"""Our own reader of the dead kernel's log, for when there is no other: the ring buffer of Linux 5.10 and newer.

The ring (kernel/printk/printk_ringbuffer.h) is three arrays: descriptors, which say the state of a record and where its text is;
infos, which say its time and length; and the text. The record with the id N has the descriptor and the info number N modulo
their count. What is damaged in there costs its own record, and never more time or memory than the ring is large.
"""

import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .elf_core import ElfCore
from .program import SaveError
from .vmcoreinfo import vmcoreinfo_of

WORD = 8
# The state of a record is in the two upper bits of its descriptor's first word, its id in the others.
ID_BITS = 62
RESERVED, COMMITTED, FINALIZED, REUSABLE = range(4)
# A position in the text counts up for ever, modulo 2^64; the kernel's odd ones mean that there is no text.
POSITIONS = 1 << 64
# The kernel takes no log_buf_len= above 1 GiB, and has a descriptor for every 32 bytes of text.
MAX_TEXT_BITS = 30
MAX_COUNT_BITS = 26
MAX_STRUCT = 4096
STEP = 64 << 10
UNPRINTABLE = re.compile(rb"[^\t -~]")


class Layout:
    """Where the dead kernel has its structures and their fields, in the words of its VMCOREINFO."""

    def __init__(self, info: Mapping[str, str]) -> None:
        self._info = info

    def symbol(self, name: str) -> int:
        return self._number(f"SYMBOL({name})", 16)

    def size(self, structure: str) -> int:
        size = self._number(f"SIZE({structure})", 10)
        if not 0 < size <= MAX_STRUCT:
            raise SaveError(f"VMCOREINFO is damaged: SIZE({structure})={size}")
        return size

    def offset(self, *fields: str) -> int:
        """The offset of a field of a field."""
        return sum(self._number(f"OFFSET({field})", 10) for field in fields)

    def _number(self, key: str, base: int) -> int:
        try:
            return int(self._info[key], base)
        except KeyError:
            raise SaveError(f"VMCOREINFO has no {key}") from None
        except ValueError:
            raise SaveError(f"VMCOREINFO is damaged: {key}={self._info[key][:40]}") from None


class Region:
    """One array in the dead kernel's memory, read in steps: a call for each record would take most of the time."""

    def __init__(self, core: ElfCore, address: int, size: int) -> None:
        if not core.has(address, size):
            raise SaveError(f"the log of the crashed kernel is damaged: its {size} bytes at {address:#x} are not in the memory")
        self._core, self._address, self._size = core, address, size
        self._begin, self._step = 0, b""

    def read(self, offset: int, size: int) -> bytes:
        """The bytes there, which must be inside."""
        if not self._begin <= offset <= offset + size <= self._begin + len(self._step):
            self._step = self._core.read(self._address + offset, min(max(size, STEP), self._size - offset))
            self._begin = offset
        at = offset - self._begin
        return self._step[at : at + size]


class Structures(Region):
    """An array of structures."""

    def __init__(self, core: ElfCore, address: int, size: int, count: int) -> None:
        super().__init__(core, address, size * count)
        self._element = size

    def __getitem__(self, index: int) -> bytes:
        return self.read(index * self._element, self._element)


class PrintkRing:
    """The log of the dead kernel. `skipped` counts the records that were damaged, or that it was just writing."""

    def __init__(self, core: ElfCore, info: Mapping[str, str]) -> None:
        if "SYMBOL(prb)" not in info:
            raise SaveError("the crashed kernel is older than 5.10: it keeps its log in another form")
        self.skipped = 0
        self._core = core
        layout = Layout(info)
        ring = core.read(self._field(core.read(layout.symbol("prb"), WORD), 0, WORD), layout.size("printk_ringbuffer"))
        counter = layout.offset("atomic_long_t.counter")
        descriptors, text = layout.offset("printk_ringbuffer.desc_ring"), layout.offset("printk_ringbuffer.text_data_ring")

        count_bits = self._field(ring, descriptors + layout.offset("prb_desc_ring.count_bits"), 4)
        size_bits = self._field(ring, text + layout.offset("prb_data_ring.size_bits"), 4)
        if count_bits > MAX_COUNT_BITS or size_bits > MAX_TEXT_BITS:
            raise SaveError(f"the log of the crashed kernel is damaged: 2^{count_bits} records in 2^{size_bits} bytes")
        self._count, self._text_size = 1 << count_bits, 1 << size_bits
        self._head = self._field(ring, descriptors + layout.offset("prb_desc_ring.head_id") + counter, WORD)

        pointers = [descriptors + layout.offset(f"prb_desc_ring.{name}") for name in ("descs", "infos")]
        descs, infos = (self._field(ring, pointer, WORD) for pointer in pointers)
        self._descriptors = Structures(core, descs, layout.size("prb_desc"), self._count)
        self._infos = Structures(core, infos, layout.size("printk_info"), self._count)
        self._text = Region(core, self._field(ring, text + layout.offset("prb_data_ring.data"), WORD), self._text_size)

        self._state = layout.offset("prb_desc.state_var") + counter
        self._begin = layout.offset("prb_desc.text_blk_lpos", "prb_data_blk_lpos.begin")
        self._next = layout.offset("prb_desc.text_blk_lpos", "prb_data_blk_lpos.next")
        self._time = layout.offset("printk_info.ts_nsec")
        self._length = layout.offset("printk_info.text_len")

    def lines(self, *, last: int | None = None, until: float = math.inf) -> Iterator[bytes]:
        """The lines as dmesg(1) shows them, the oldest first; or those of the `last` records only.

        Raises:
            SaveError: the time (of time.monotonic()) is `until`, or the memory can't be read.
        """
        wanted = self._count if last is None else min(last, self._count)
        # All descriptors, not those from the ring's tail to its head: the others are free anyway, and a damaged tail can't mislead.
        for number in range(self._head + 1 - wanted, self._head + 1):
            if time.monotonic() >= until:
                raise SaveError("there was no time left to read the whole log")
            yield from self._record(number % self._count)

    def _record(self, index: int) -> list[bytes]:
        """The lines of one record; none if it is free, unfinished or damaged."""
        descriptor = self._descriptors[index]
        word = self._field(descriptor, self._state, WORD)
        state, record = word >> ID_BITS, word & ((1 << ID_BITS) - 1)
        # A descriptor that was never used is all zero.
        if state == REUSABLE or word == 0:
            return []
        text = self._text_of(record, descriptor, index) if state != RESERVED and record % self._count == index else None
        if text is None:
            self.skipped += 1
            return []
        seconds, rest = divmod(self._field(self._infos[index], self._time, 8), 10**9)
        stamp = b"[%5d.%06d] " % (seconds, rest // 1000)
        # On each line, as in dmesg(1). vmcore-dmesg 2.0.25 has it on the first only, so that the others can pose as records.
        return [stamp + UNPRINTABLE.sub(_escaped, line) + b"\n" for line in text.split(b"\n")]

    def _text_of(self, record: int, descriptor: bytes, index: int) -> bytes | None:
        """The text, or None if it is not where the descriptor says."""
        begin, end = (self._field(descriptor, at, WORD) for at in (self._begin, self._next))
        if begin & 1 and end & 1:
            return b""
        last = (end - 1) % POSITIONS
        # A block that does not fit before the end of the ring begins at its start.
        start = begin % self._text_size if begin // self._text_size == last // self._text_size else 0
        room = last % self._text_size + 1 - start - WORD
        # Each block begins with the id of its record.
        if room < 0 or self._field(self._text.read(start, WORD), 0, WORD) != record:
            return None
        return self._text.read(start + WORD, min(room, self._field(self._infos[index], self._length, 2)))

    def _field(self, structure: bytes, offset: int, size: int) -> int:
        field = structure[offset : offset + size]
        if offset < 0 or len(field) < size:
            raise SaveError(f"VMCOREINFO is damaged: a field at {offset} in a structure of {len(structure)} bytes")
        return self._core.number(field)


@contextmanager
def open_log(vmcore: Path) -> Iterator[PrintkRing]:
    """The log in a core file.

    Raises:
        SaveError: it can't be read, is not there, or is that of a kernel before 5.10.
    """
    with ElfCore(vmcore) as core:
        yield PrintkRing(core, vmcoreinfo_of(core))


def log_tail(vmcore: Path, lines: int) -> list[str]:
    """The last lines of the log, at most so many, without reading the others.

    Raises:
        SaveError: it can't be read, is not there, or is that of a kernel before 5.10.
    """
    with open_log(vmcore) as log:
        return [line.decode("ascii").rstrip("\n") for line in log.lines(last=lines)][-lines:]


def _escaped(byte: re.Match[bytes]) -> bytes:
    return b"\\x%02x" % ord(byte[0])
