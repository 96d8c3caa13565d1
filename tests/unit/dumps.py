# SPDX-License-Identifier: LGPL-2.1-or-later
"""Small dumps, and ELF files with a build-id and nothing else."""

import struct
from pathlib import Path

from tests.unit.vmcores import VMCOREINFO, Ring, parse

INFO = parse(VMCOREINFO)
RELEASE, BUILD_ID = INFO["OSRELEASE"], INFO["BUILD-ID"]
BLOCK = 4096
OFFSET = 2 * BLOCK


def write_kdump(path: Path, info: str = VMCOREINFO, *, order: str = "<") -> Path:
    """The headers of a compressed dump, as makedumpfile writes them (diskdump_mod.h), and its VMCOREINFO."""
    utsname = b"".join(word.ljust(65, b"\0") for word in (b"Linux", b"host", RELEASE.encode(), b"#1", b"x86_64", b""))
    header = struct.pack(f"{order}8si390s6x2QIi", b"KDUMP   ", 6, utsname, 0, 0, 0, BLOCK)
    sub = struct.pack(f"{order}Q2i2Q2Q", 0, 31, 0, 0, 0, OFFSET, len(info))
    path.write_bytes(header.ljust(BLOCK, b"\0") + sub.ljust(BLOCK, b"\0") + info.encode())
    return path


def write_elf_dump(path: Path) -> Path:
    path.write_bytes(Ring().core())
    return path


def vmlinux(build_id: str = BUILD_ID, *, order: str = "<") -> bytes:
    """Two notes, as in a kernel, of which the second is the build-id, in a section."""
    notes = _note(b"Xen", 6, b"linux\0", order) + _note(b"GNU", 3, bytes.fromhex(build_id), order)
    ident = b"\x7fELF" + bytes([2, 1 if order == "<" else 2, 1]) + bytes(9)
    header = struct.pack(f"{order}16s2HI3QI6H", ident, 2, 62, 1, 0, 0, 64, 0, 64, 56, 0, 64, 2, 0)
    sections = bytes(64) + struct.pack(f"{order}2I4Q2I2Q", 0, 7, 0, 0, 192, len(notes), 0, 0, 4, 0)
    return header + sections + notes


def write_vmlinux(path: Path, build_id: str = BUILD_ID) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(vmlinux(build_id))
    return path


def _note(name: bytes, kind: int, content: bytes, order: str) -> bytes:
    padded = name.ljust(len(name) // 4 * 4 + 4, b"\0")
    return struct.pack(f"{order}3I", len(name) + 1, len(content), kind) + padded + content + bytes(-len(content) % 4)
