# SPDX-License-Identifier: LGPL-2.1-or-later
"""A crashed kernel's memory, small: an ELF core with the VMCOREINFO of a real kernel and a log ring of our own."""

import struct
from pathlib import Path
from typing import Literal

from kdumpd.capture.printk_ring import FINALIZED, REUSABLE, Layout

VMCOREINFOS = {path.stem: path.read_text() for path in (Path(__file__).parents[1] / "data/vmcoreinfo").glob("*.txt")}
VMCOREINFO = VMCOREINFOS["x86_64-6.1.192"]
NO_TEXT, EMPTY_LINE = 1, 3
ID_MASK, POSITION_MASK = (1 << 62) - 1, (1 << 64) - 1
# Where the memory is in the file, and the arrays of the ring in the memory: enough for 128 records in 32 KiB of text.
NOTES, MEMORY = 0x400, 0x2000
DESCRIPTORS, INFOS, TEXT, SEGMENT = 0x1000, 0x4000, 0x8000, 0x10000


def parse(vmcoreinfo: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in vmcoreinfo.splitlines())


class Ring:
    """The kernel's ring buffer, filled as kernel/printk/printk_ringbuffer.c does it, and what dmesg should make of it."""

    def __init__(
        self,
        vmcoreinfo: str = VMCOREINFO,
        *,
        count_bits: int = 5,
        size_bits: int = 10,
        order: Literal["little", "big"] = "little",
        exact_fit: bool = False,
    ) -> None:
        self.vmcoreinfo, self.order, self.exact_fit = vmcoreinfo, order, exact_fit
        self.layout = Layout(parse(vmcoreinfo))
        self.count_bits, self.size_bits = count_bits, size_bits
        self.count, self.size = 1 << count_bits, 1 << size_bits
        self.descriptors = [bytearray(self.layout.size("prb_desc")) for _ in range(self.count)]
        self.infos = [bytearray(self.layout.size("printk_info")) for _ in range(self.count)]
        self.text = bytearray(self.size)
        # Both numbers begin one lap before they overflow.
        self.head = -(self.count + 1) & ID_MASK
        self.position = -self.size & POSITION_MASK
        # Where the kernel thinks that the newest record is; None is the truth.
        self.claimed_head: int | None = None
        self.set_state(self.head, REUSABLE)
        self.living: list[tuple[int, int | None]] = []

    def word(self, value: int, size: int = 8) -> bytes:
        return value.to_bytes(size, self.order)

    def put(self, structure: bytearray, offset: int, value: int, size: int = 8) -> None:
        structure[offset : offset + size] = self.word(value, size)

    def set_state(self, record: int, state: int) -> None:
        self.put(self.descriptors[record % self.count], self.layout.offset("prb_desc.state_var"), record | state << 62)

    def set_block(self, record: int, begin: int, end: int) -> None:
        for name, position in (("begin", begin), ("next", end)):
            offset = self.layout.offset("prb_desc.text_blk_lpos", f"prb_data_blk_lpos.{name}")
            self.put(self.descriptors[record % self.count], offset, position)

    def add(
        self, text: bytes | None, *, nanoseconds: int = 1_234_567_890, state: int = FINALIZED, length: int | None = None
    ) -> int:
        """Stores a record over the oldest ones, and returns its id. None is a text that the kernel had no room for."""
        self.head = (self.head + 1) & ID_MASK
        if len(self.living) == self.count:
            self.free_oldest()
        begin, end = (NO_TEXT, NO_TEXT) if text is None else (EMPTY_LINE, EMPTY_LINE) if not text else self.store(text)
        self.set_state(self.head, state)
        self.set_block(self.head, begin, end)
        info = self.infos[self.head % self.count]
        self.put(info, self.layout.offset("printk_info.ts_nsec"), nanoseconds)
        self.put(info, self.layout.offset("printk_info.text_len"), len(text or b"") if length is None else length, 2)
        self.living.append((self.head, None if begin & 1 else begin))
        return self.head

    def store(self, text: bytes) -> tuple[int, int]:
        size = 8 + len(text) + -len(text) % 8
        begin, start = self.position, self.position % self.size
        # Before 6.18 a block that would fit exactly went to the start of the ring, too.
        wraps = start + size > self.size or (start + size == self.size and not self.exact_fit)
        self.position = (begin + size + (self.size - start if wraps else 0)) & POSITION_MASK
        while any(old is not None and (self.position - old) & POSITION_MASK > self.size for _, old in self.living):
            self.free_oldest()
        start = 0 if wraps else start
        self.text[start : start + 8 + len(text)] = self.word(self.head) + text
        return begin, self.position

    def free_oldest(self) -> None:
        record, _ = self.living.pop(0)
        self.set_state(record, REUSABLE)

    def structure(self, base: int) -> bytes:
        """The struct printk_ringbuffer."""
        structure = bytearray(self.layout.size("printk_ringbuffer"))
        head = self.head if self.claimed_head is None else self.claimed_head
        tail = self.living[0][0] if self.living else self.head
        for name, value in (("descs", base + DESCRIPTORS), ("infos", base + INFOS), ("head_id", head), ("tail_id", tail)):
            self.put(structure, self.layout.offset("printk_ringbuffer.desc_ring", f"prb_desc_ring.{name}"), value)
        self.put(structure, self.layout.offset("printk_ringbuffer.desc_ring", "prb_desc_ring.count_bits"), self.count_bits, 4)
        self.put(structure, self.layout.offset("printk_ringbuffer.text_data_ring", "prb_data_ring.data"), base + TEXT)
        self.put(structure, self.layout.offset("printk_ringbuffer.text_data_ring", "prb_data_ring.size_bits"), self.size_bits, 4)
        return bytes(structure)

    def core(self) -> bytearray:
        """The ELF core: headers, notes, and the memory from the page on that the ring's symbols are in."""
        prb, static = self.layout.symbol("prb"), self.layout.symbol("printk_rb_static")
        base = prb & -0x1000
        memory = bytearray(SEGMENT)
        for at, content in (
            (prb - base, self.word(static)),
            (static - base, self.structure(base)),
            (DESCRIPTORS, b"".join(self.descriptors)),
            (INFOS, b"".join(self.infos)),
            (TEXT, self.text),
        ):
            memory[at : at + len(content)] = content
        notes = self.note(b"CORE", 1, bytes(336)) + self.note(b"VMCOREINFO", 0, self.vmcoreinfo.rstrip("\n").encode())
        headers = self.headers([(4, NOTES, 0, len(notes)), (1, MEMORY, base, SEGMENT)])
        return bytearray(headers.ljust(NOTES, b"\0") + notes.ljust(MEMORY - NOTES, b"\0") + memory)

    def headers(self, segments: list[tuple[int, int, int, int]]) -> bytes:
        mark, data = ("<", 1) if self.order == "little" else (">", 2)
        ident = b"\x7fELF" + bytes([2, data, 1]) + bytes(9)
        header = struct.pack(mark + "16s2HI3QI6H", ident, 4, 62, 1, 0, 64, 0, 0, 64, 56, len(segments), 0, 0, 0)
        return header + b"".join(
            struct.pack(mark + "2I6Q", kind, 0, offset, address, 0, size, size, 0) for kind, offset, address, size in segments
        )

    def note(self, name: bytes, kind: int, content: bytes) -> bytes:
        padded = name + bytes(4 - len(name) % 4)
        return (
            b"".join(self.word(number, 4) for number in (len(name) + 1, len(content), kind))
            + padded
            + content
            + bytes(-len(content) % 4)
        )


def write_core(path: Path, ring: Ring) -> Path:
    path.write_bytes(ring.core())
    return path
