# SPDX-License-Identifier: LGPL-2.1-or-later
"""The build-id of an ELF file: which build of a kernel a vmlinux is the symbols of. Nothing in the file is trusted."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from kdumpd.errors import HostError

ELF64 = b"\x7fELF\x02"
BYTE_ORDERS = {1: "<", 2: ">"}
# include/uapi/linux/elf.h: from Elf64_Ehdr e_shoff, e_shentsize, e_shnum; from Elf64_Shdr sh_type, sh_offset, sh_size; Elf64_Nhdr.
HEADER = "40x Q 10x 2H 2x"
SECTION = "4x I 16x 2Q 24x"
SECTION_SIZE = 64
NOTE = "3I"
NOTE_SIZE = 12
SHT_NOTE = 7
NT_GNU_BUILD_ID = 3
OWNER = b"GNU\0"
# The notes of a vmlinux have some 500 bytes.
MAX_NOTES = 1 << 20


def read_build_id(path: Path) -> str | None:
    """The build-id in hexadecimal digits, or None for an ELF file without one.

    The sections are read, not the program headers: those of a file that has nothing but symbols (SUSE's vmlinux.debug) are
    copied from the kernel, and point nowhere.

    Raises:
        HostError: it can't be read, or is not a whole ELF file.
    """
    try:
        with path.open("rb") as file:
            return next(_build_ids(file), None)
    except OSError as problem:
        raise HostError(f"cannot read {path}: {problem.strerror}") from problem
    except (ValueError, struct.error, OverflowError) as problem:
        raise HostError(
            f"{path} is not a vmlinux: {problem}", hint="give the uncompressed kernel with debug symbols, an ELF file"
        ) from problem


def _build_ids(file: BinaryIO) -> Iterator[str]:
    header = _at(file, 0, 64)
    if not header.startswith(ELF64) or header[5] not in BYTE_ORDERS:
        raise ValueError("it does not begin as a 64-bit ELF file")
    order = BYTE_ORDERS[header[5]]
    start, size, count = struct.unpack(order + HEADER, header)
    if count and size != SECTION_SIZE:
        raise ValueError(f"its section headers have {size} bytes, not {SECTION_SIZE}")
    for kind, offset, length in struct.iter_unpack(order + SECTION, _at(file, start, count * SECTION_SIZE)):
        if kind == SHT_NOTE and length <= MAX_NOTES:
            yield from _in_notes(_at(file, offset, length), order)


def _in_notes(notes: bytes, order: str) -> Iterator[str]:
    at = 0
    while at + NOTE_SIZE <= len(notes):
        name_size, size, kind = struct.unpack_from(order + NOTE, notes, at)
        # Name and content are padded to four bytes each.
        begin = at + NOTE_SIZE + (name_size + 3 & ~3)
        if kind == NT_GNU_BUILD_ID and notes[at + NOTE_SIZE : at + NOTE_SIZE + name_size] == OWNER:
            yield notes[begin : begin + size].hex()
        at = begin + (size + 3 & ~3)


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    content = os.pread(file.fileno(), size, offset)
    if len(content) < size:
        raise ValueError(f"it ends at {offset + len(content):#x}, and {size} bytes at {offset:#x} are needed")
    return content
