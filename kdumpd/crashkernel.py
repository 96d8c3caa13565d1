# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernel's whole `crashkernel=` grammar, as values (kernel/crash_reserve.c; before Linux 6.9 kernel/crash_core.c)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from kdumpd.units import GIB, MIB, SIZE_UNITS, format_size

TIB = GIB << 10
UNITS = {**SIZE_UNITS, "T": TIB, "t": TIB}
# x86 looks for a place at a multiple of this (CRASH_ALIGN). Since Linux 6.7 that holds for a given offset too: any other
# one fails as "memory is in use".
ALIGNMENT = 16 * MIB
# Firmware keeps some memory for itself, so the kernel rounds the total up before it looks for a range (since Linux 6.0).
RAM_GRANULE = 128 * MIB
# memparse() drops the bits that do not fit (lib/cmdline.c): 16777216T is zero.
TOO_LARGE = 1 << 64


class CrashkernelError(ValueError):
    """The kernel would refuse a text, or understand something else: a lower-case fact, and the way out as a hint."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, kw_only=True)
class Range:
    """What a machine reserves that has at least `start` and less than `end` bytes of RAM; by default every machine."""

    size: int
    start: int = 0
    end: int | None = None

    @property
    def span(self) -> str:
        return f"{_format(self.start)}-{_format(self.end) if self.end else ''}"

    def holds(self, ram: int) -> bool:
        return self.start <= ram and (self.end is None or ram < self.end)


@dataclass(frozen=True, kw_only=True)
class Crashkernel:
    """What to reserve. `str()` is the canonical spelling, which `parse_crashkernel` reads back.

    Without `offset` the kernel chooses the place. `high` asks for one above 4G, and `low` bytes below for devices that
    reach no further; None is the kernel's default: on x86 256M, more for a large swiotlb=.
    """

    ranges: tuple[Range, ...]
    offset: int | None = None
    high: bool = False
    low: int | None = None

    def __str__(self) -> str:
        # What every machine reserves is written without its range.
        text = ",".join(f"{one.span}:{_format(one.size)}" for one in self.ranges).removeprefix("0-:")
        if self.high:
            return f"{text},high" + (f" {_format(self.low)},low" if self.low else "")
        return f"{text}@{_format(self.offset)}" if self.offset else text

    def parameters(self) -> tuple[str, ...]:
        """The words for the kernel command line."""
        return tuple(f"crashkernel={word}" for word in str(self).split())

    def minimum(self) -> int:
        """The smallest size that any machine reserves for the dump kernel to run in, so without `low`."""
        return min(one.size for one in self.ranges)

    def reserved_for(self, ram: int) -> int | None:
        """Bytes that the kernel tries to reserve on a machine with `ram` bytes; None when no range holds, or it has too few.

        `ram` is what the firmware gives (memblock_phys_mem_size()); MemTotal lacks the kernel itself and the reservation.
        `low` is not counted. /sys/kernel/kexec_crash_size shows the sum since Linux 6.5 (16c6006af4d4), and there a plain
        size that found room above 4G only has brought the default of `low` too.
        """
        rounded = -(-ram // RAM_GRANULE) * RAM_GRANULE
        return next((one.size for one in self.ranges if one.holds(rounded) and one.size < ram), None)


def parse_crashkernel(text: str) -> Crashkernel:
    """The value of crashkernel=; the two words `512M,high 128M,low` stand for two such parameters.

    Raises:
        CrashkernelError: the kernel would refuse it, or read something else than what it seems to say.
    """
    words = text.split()
    match sorted(map(_split_suffix, words or [""])):
        case [("", word)]:
            return _unsuffixed(word)
        case [("high", high)]:
            return Crashkernel(ranges=(Range(size=_size(high)),), high=True)
        case [("high", high), ("low", low)]:
            return Crashkernel(ranges=(Range(size=_size(high)),), high=True, low=_size(low))
        case [("low", low)]:
            raise CrashkernelError(f'"{low},low" has no ",high" beside it', hint=f"write {_format(_size(low))}")
        case _:
            # Of several plain ones the kernel takes the last, and ignores ,high and ,low for it.
            hint = "the kernel splits at blanks; only SIZE,high and SIZE,low go together"
            raise CrashkernelError(f'"{" ".join(words)}" is {len(words)} parameters', hint=hint)


def _split_suffix(word: str) -> tuple[str, str]:
    """`high`, `low` or nothing, and what stands before it."""
    before, _, suffix = word.rpartition(",")
    if suffix == "cma":
        # Before Linux 6.17 (35c18f2933c5) it is even taken for the last plain value, a wrong one: nothing is reserved.
        raise CrashkernelError('",cma" is not supported', hint="leave it out: what programs have in that memory can't be dumped")
    if suffix not in ("high", "low"):
        return "", word
    if ":" in before or "@" in before:
        raise CrashkernelError(f'"{before}" does not go with ",{suffix}"', hint=f"write a single size, like 512M,{suffix}")
    return suffix, before


def _unsuffixed(word: str) -> Crashkernel:
    """`SIZE` or `RANGE:SIZE,...`, both with or without `@OFFSET`."""
    if word and "" in word.split(","):
        raise CrashkernelError(f'"{word}" has nothing on one side of a comma')
    sizes, at, place = word.partition("@")
    place, comma, rest = place.partition(",")
    if comma:
        # The kernel would not look at the rest.
        raise CrashkernelError(f'"@{place}" is not at the end', hint=f"write {sizes},{rest}@{place}")
    offset = _offset(place) if at else None
    if ":" in sizes:
        return Crashkernel(ranges=_in_order([_range(entry) for entry in sizes.split(",")]), offset=offset)
    size, comma, suffix = sizes.partition(",")
    if comma:
        raise CrashkernelError(f'",{suffix}" is not known, expected ,high or ,low')
    return Crashkernel(ranges=(Range(size=_size(size)),), offset=offset)


def _range(entry: str) -> Range:
    span, colon, size = entry.partition(":")
    start, dash, end = span.partition("-")
    if not (colon and dash):
        raise CrashkernelError(f'"{entry}" is not a range and its size', hint="write it like 2G-4G:192M")
    one = Range(start=_number(start), end=_number(end) if end else None, size=_size(size))
    if one.end is not None and one.end <= one.start:
        raise CrashkernelError(f'the range "{span}" is empty')
    if one.end is not None and one.end <= one.size:
        raise CrashkernelError(f'"{entry}" takes more than such a machine has')
    return one


def _in_order(ranges: Sequence[Range]) -> tuple[Range, ...]:
    """The kernel takes the first range that holds. Only an ordered list says the same to people."""
    for one, after in pairwise(ranges):
        if after.start <= one.start:
            raise CrashkernelError(f'the range "{after.span}" comes after "{one.span}"', hint="put the smaller machines first")
        if one.end is None:
            raise CrashkernelError(f'the range "{one.span}" has no end', hint=f"write {one.span}{_format(after.start)}")
        if after.start < one.end:
            raise CrashkernelError(f'the ranges "{one.span}" and "{after.span}" overlap')
    return tuple(ranges)


def _offset(text: str) -> int:
    offset = _number(text)
    if offset == 0:
        raise CrashkernelError(f'the offset "{text}" is zero', hint="the kernel takes it for none; leave it out")
    if offset % ALIGNMENT:
        nearest = max(1, (offset + ALIGNMENT // 2) // ALIGNMENT) * ALIGNMENT
        raise CrashkernelError(f'the offset "{text}" is not a multiple of 16M', hint=f"write @{_format(nearest)}")
    return offset


def _size(text: str) -> int:
    if (size := _number(text)) == 0:
        raise CrashkernelError(f'"{text}" reserves nothing')
    return size


def _number(text: str) -> int:
    """Bytes of `256M`, `512K`, `1G` or `1T`; 0 needs no unit."""
    if based := re.match("(?=0[0-9Xx])(0[Xx][0-9A-Fa-f]+|0[0-7]*)([KMGTkmgt]?)", text):
        digits, unit = based.groups()
        value = int(digits, 16 if "x" in digits.lower() else 8) % TOO_LARGE
        raise CrashkernelError(f'"{text}" is not decimal', hint=f"the kernel reads {value}{unit}; write no 0 in front")
    if not (match := re.fullmatch("([0-9]+)([A-Za-z]*)", text)):
        raise CrashkernelError(f'"{text}" is not a size', hint="write a whole number and its unit, like 192M")
    number, unit = match.groups()
    if not unit and number != "0":
        raise CrashkernelError(f'"{text}" has no unit', hint=f"the kernel reads bytes; write {text}M")
    if unit and unit not in UNITS:
        hint = f"write {number}{unit[0]}" if unit[0] in UNITS else None
        raise CrashkernelError(f'"{unit}" is not a unit, expected K, M, G or T', hint=hint)
    # The length comes first: int() has an error of its own for thousands of digits.
    if len(number) > len(str(TOO_LARGE)) or (size := int(number) * UNITS.get(unit, 1)) >= TOO_LARGE:
        raise CrashkernelError(f'"{text}" is more than 64 bits')
    return size


def _format(size: int) -> str:
    return f"{size // TIB}T" if size and size % TIB == 0 else format_size(size)
