# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where this machine has RAM, and what the running kernel keeps there."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kdumpd.files import read_text

RAM = "System RAM"
CRASH = "Crash kernel"
KERNEL = ("Kernel code", "Kernel rodata", "Kernel data", "Kernel bss")
# The kernel indents each level of resources by two blanks (kernel/resource.c, r_show).
IOMEM_LINE = re.compile(r"(?P<indent> *)(?P<first>[0-9a-f]+)-(?P<last>[0-9a-f]+) : (?P<name>.*)")


@dataclass(frozen=True, kw_only=True)
class MemoryRange:
    """Physical addresses from `start` up to, not including, `end`."""

    start: int
    end: int
    kind: str

    def contains(self, other: "MemoryRange") -> bool:
        return self.start <= other.start and other.end <= self.end

    def overlaps(self, other: "MemoryRange") -> bool:
        return self.start < other.end and other.start < self.end

    def __str__(self) -> str:
        # As /proc/iomem and the kernel log spell it: with the last address, not the end.
        return f"{self.start:#x}-{self.end - 1:#x}"


@dataclass(frozen=True, kw_only=True)
class IomemEntry:
    """One line of /proc/iomem; `depth` 0 is the top level."""

    depth: int
    range: MemoryRange


@dataclass(frozen=True, kw_only=True)
class MemoryMap:
    """`ram` is what the firmware says and stays the same; `usable` is what the running kernel's command line left of it."""

    ram: tuple[MemoryRange, ...]
    usable: tuple[MemoryRange, ...]
    kernel: tuple[MemoryRange, ...]
    crash: tuple[MemoryRange, ...]

    @property
    def total(self) -> int:
        return sum(memory.end - memory.start for memory in self.ram)


def read_memory_map(root: Path) -> MemoryMap | None:
    """The memory of this machine, or None when the kernel hides it from us: it shows addresses to root only."""
    entries = parse_iomem(read_text(root / "proc/iomem") or "")
    if entries is None:
        return None
    usable = tuple(entry.range for entry in entries if entry.depth == 0 and entry.range.kind == RAM)
    return MemoryMap(
        # A memmap= of the command line is cut out of /proc/iomem but not out of the firmware's own map, which is made
        # before the parameters are read (arch/x86/kernel/e820.c, e820_table_firmware). Only x86 has one.
        ram=_read_firmware_ram(root) or usable,
        usable=usable,
        kernel=tuple(entry.range for entry in entries if entry.range.kind in KERNEL),
        crash=tuple(entry.range for entry in entries if entry.range.kind == CRASH),
    )


def parse_iomem(text: str) -> tuple[IomemEntry, ...] | None:
    """All entries in the order of the file, or None when it says nothing: who may not know sees every address as zero."""
    entries = tuple(_parse_entries(text))
    return entries if any(entry.range.end > 1 for entry in entries) else None


def _parse_entries(text: str) -> Iterator[IomemEntry]:
    for line in filter(None, map(IOMEM_LINE.fullmatch, text.splitlines())):
        memory = MemoryRange(start=int(line["first"], 16), end=int(line["last"], 16) + 1, kind=line["name"])
        yield IomemEntry(depth=len(line["indent"]) // 2, range=memory)


def _read_firmware_ram(root: Path) -> tuple[MemoryRange, ...]:
    entries = map(_read_firmware_entry, (root / "sys/firmware/memmap").glob("*"))
    return tuple(sorted((memory for memory in entries if memory and memory.kind == RAM), key=lambda memory: memory.start))


def _read_firmware_entry(folder: Path) -> MemoryRange | None:
    first, last, kind = (read_text(folder / name) for name in ("start", "end", "type"))
    if first is None or last is None or kind is None:
        return None
    return MemoryRange(start=int(first, 16), end=int(last, 16) + 1, kind=kind.strip())
