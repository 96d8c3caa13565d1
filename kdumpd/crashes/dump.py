# SPDX-License-Identifier: LGPL-2.1-or-later
"""The saved memory of a crash: in which format it is, and of which kernel. Nothing in there is trusted."""

import os
import struct
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from kdumpd.capture import vmcore
from kdumpd.capture.elf_core import ElfCore
from kdumpd.capture.program import SaveError
from kdumpd.capture.vmcoreinfo import CrashedKernel, crashed_kernel, parse_vmcoreinfo, vmcoreinfo_of
from kdumpd.errors import HostError
from kdumpd.files import exists, open_plain

ELF = b"\x7fELF"
KDUMP = b"KDUMP   "
# makedumpfile's diskdump_mod.h: block_size of struct disk_dump_header, which fills the first block; offset_vmcoreinfo and
# size_vmcoreinfo of struct kdump_sub_header, which begins the second.
BLOCK_SIZE_AT = 428
VMCOREINFO_AT = 32
PAGE_SIZES = (4 << 10, 8 << 10, 16 << 10, 64 << 10)
# The kernel gives it a page (include/linux/vmcore_info.h).
MAX_VMCOREINFO = 64 << 10


class Format(StrEnum):
    """How makedumpfile wrote it."""

    ELF = "elf"
    KDUMP = "kdump"


@dataclass(frozen=True, kw_only=True)
class Dump:
    """A vmcore. `kernel` is what it says itself; an incomplete one lacks pages at its end."""

    path: Path
    format: Format
    kernel: CrashedKernel

    @property
    def incomplete(self) -> bool:
        return self.path.name == vmcore.INCOMPLETE


def find_dump(folder: Path) -> Dump | None:
    """The memory that was saved in the folder of a crash, or None.

    Raises:
        HostError: what is there is no dump.
    """
    path = next((path for name in (vmcore.FILE, vmcore.INCOMPLETE) if exists(path := folder / name)), None)
    return read_dump(path) if path else None


def read_dump(path: Path) -> Dump:
    """
    Raises:
        HostError: it can't be read, or is in neither format.
    """
    try:
        with open_plain(path) as opened:
            begin = os.pread(opened.fileno(), 1024, 0)
            info = _kdump_info(opened.fileno(), begin) if begin.startswith(KDUMP) else {}
    except OSError as problem:
        raise HostError(f"cannot read {path}: {problem.strerror}") from problem
    if begin.startswith(KDUMP):
        return Dump(path=path, format=Format.KDUMP, kernel=crashed_kernel(info))
    if begin.startswith(ELF):
        return Dump(path=path, format=Format.ELF, kernel=crashed_kernel(_elf_info(path)))
    raise HostError(f"{path} is no dump of a kernel: it begins with {begin[:8]!r}")


def _elf_info(path: Path) -> dict[str, str]:
    try:
        with ElfCore(path) as core:
            return vmcoreinfo_of(core)
    except SaveError:
        # The tool will say what it thinks of it.
        return {}


def _kdump_info(file: int, begin: bytes) -> dict[str, str]:
    """What is not there, as in a dump of an old kernel or a damaged one, is nothing."""
    try:
        order, block = next(
            (order, size)
            for order in "<>"
            if (size := struct.unpack_from(f"{order}i", begin, BLOCK_SIZE_AT)[0]) in PAGE_SIZES
        )  # fmt: skip
        offset, size = struct.unpack(f"{order}2Q", os.pread(file, 16, block + VMCOREINFO_AT))
        return parse_vmcoreinfo(os.pread(file, min(size, MAX_VMCOREINFO), offset))
    except (StopIteration, struct.error, OverflowError, OSError):
        return {}
