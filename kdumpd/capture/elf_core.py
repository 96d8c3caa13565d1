# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads an ELF core: the notes, and the memory of the dead kernel by its virtual addresses. Nothing in there is trusted."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from .program import SaveError

ELF64 = b"\x7fELF\x02"
BYTE_ORDERS: dict[int, Literal["little", "big"]] = {1: "little", 2: "big"}
# include/uapi/linux/elf.h: Elf64_Ehdr from e_phoff to e_phnum, Elf64_Phdr.
HEADER_SIZE = 64
HEADER = struct.Struct("32x Q 8x I 3H 6x")
SEGMENT = struct.Struct("2I 6Q")
PT_LOAD = 1
PT_NOTE = 4
NOTE_HEADER_SIZE = 12
# Each CPU leaves its registers in a note of some 400 bytes, and the kernel knows 8192 CPUs at most.
MAX_NOTES = 8 << 20


class Segment(NamedTuple):
    """Where in the file a part of the memory is."""

    offset: int
    address: int
    size: int


class ElfCore:
    """An open core file, /proc/vmcore or a copy of it. Whatever is wrong with it is a SaveError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as problem:
            raise SaveError(f"cannot read {path}: {problem.strerror}") from problem
        try:
            self._read_headers()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._file)

    def number(self, content: bytes) -> int:
        """An unsigned number, in the byte order of the dead kernel."""
        return int.from_bytes(content, self._byte_order)

    def notes(self) -> Iterator[tuple[bytes, bytes]]:
        """Name and content of every note."""
        total = sum(segment.size for segment in self._notes)
        if total > MAX_NOTES:
            raise SaveError(f"{self._path} is damaged: its notes have {total} bytes, and {MAX_NOTES} would be many")
        for segment in self._notes:
            content = self._at(segment.offset, segment.size)
            at = 0
            while at + NOTE_HEADER_SIZE <= len(content):
                name_size, size = (self.number(content[field : field + 4]) for field in (at, at + 4))
                # Name and content are padded to four bytes each.
                name = at + NOTE_HEADER_SIZE
                begin = name + (name_size + 3 & ~3)
                yield content[name : name + name_size].rstrip(b"\0"), content[begin : begin + size]
                at = begin + (size + 3 & ~3)

    def has(self, address: int, size: int) -> bool:
        """Whether the file has these bytes of the memory."""
        return self._segment(address, size) is not None

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes of the memory, at a virtual address."""
        segment = self._segment(address, size)
        if segment is None:
            raise SaveError(f"{self._path} has no {size} bytes of memory at {address:#x}")
        return self._at(segment.offset + address - segment.address, size)

    def _segment(self, address: int, size: int) -> Segment | None:
        fit = (load for load in self._loads if load.address <= address and address + size <= load.address + load.size)
        return next(fit, None)

    def _read_headers(self) -> None:
        header = self._at(0, HEADER_SIZE)
        if not header.startswith(ELF64) or header[len(ELF64)] not in BYTE_ORDERS:
            raise SaveError(f"{self._path} is not the core of a 64-bit kernel")
        self._byte_order = BYTE_ORDERS[header[len(ELF64)]]
        mark = "<" if self._byte_order == "little" else ">"
        offset, _, _, size, count = struct.unpack(mark + HEADER.format, header)
        if size != SEGMENT.size:
            raise SaveError(f"{self._path} is damaged: its segment headers have {size} bytes, not {SEGMENT.size}")
        table = self._at(offset, count * size)
        self._loads: list[Segment] = []
        self._notes: list[Segment] = []
        for kind, _, place, address, _, stored, _, _ in struct.iter_unpack(mark + SEGMENT.format, table):
            found = {PT_LOAD: self._loads, PT_NOTE: self._notes}.get(kind)
            if found is not None:
                found.append(Segment(place, address, stored))

    def _at(self, offset: int, size: int) -> bytes:
        try:
            content = os.pread(self._file, size, offset)
        except (OSError, OverflowError) as problem:
            raise SaveError(f"cannot read {size} bytes of {self._path} at {offset:#x}: {problem}") from problem
        if len(content) < size:
            raise SaveError(f"{self._path} ends at {offset + len(content):#x}, and {size} bytes at {offset:#x} are needed")
        return content
