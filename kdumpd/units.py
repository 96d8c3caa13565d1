# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sizes and durations as people write them, and back. Both raise ValueError with a text fit for a policy error."""

import re
from collections.abc import Mapping

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
# The kernel's memparse() takes these suffixes as powers of 1024, in either case (lib/cmdline.c).
SIZE_UNITS = {"K": KIB, "M": MIB, "G": GIB, "k": KIB, "m": MIB, "g": GIB}
# No size and no duration of this world has more.
MOST_DIGITS = 18
DURATION_UNITS = {"s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600}


def parse_size(text: str) -> int:
    """Bytes of `256M`, `512K` or `1G`.

    Raises:
        ValueError: not a whole number with a unit.
    """
    return _parse(text, SIZE_UNITS, kind="size", expected="K, M or G")


def parse_duration(text: str) -> int:
    """Seconds of `30s`, `5min` or `1h`.

    Raises:
        ValueError: not a whole number with a unit.
    """
    return _parse(text, DURATION_UNITS, kind="duration", expected="s, min or h")


def format_size(size: int) -> str:
    """The exact size in the largest unit that divides it: `192M`, `1G`; bytes when none does."""
    for unit in ("G", "M", "K"):
        if size and size % SIZE_UNITS[unit] == 0:
            return f"{size // SIZE_UNITS[unit]}{unit}"
    return str(size)


def approximate_size(size: int) -> str:
    """A size for people: one decimal, in the largest unit that leaves at least 1."""
    for unit in ("G", "M", "K"):
        if size >= SIZE_UNITS[unit]:
            return f"{size / SIZE_UNITS[unit]:.1f}{unit}".replace(".0", "")
    return f"{size}B"


def format_duration(seconds: int) -> str:
    """The exact duration in the largest unit that divides it: `30s`, `5min`, `1h`."""
    for unit in ("h", "min"):
        if seconds and seconds % DURATION_UNITS[unit] == 0:
            return f"{seconds // DURATION_UNITS[unit]}{unit}"
    return f"{seconds}s"


def _parse(text: str, units: Mapping[str, int], *, kind: str, expected: str) -> int:
    match = re.fullmatch(r"([0-9]+)\s*([A-Za-z]*)", text)
    if not match:
        raise ValueError(f'"{text}" is not a {kind}')
    number, unit = match.groups()
    if not unit:
        raise ValueError(f'"{text}" has no unit')
    if unit not in units:
        raise ValueError(f'"{unit}" is not a unit, expected {expected}')
    # int() has an error of its own for thousands of digits.
    if len(number) > MOST_DIGITS:
        raise ValueError(f'"{text}" has more than {MOST_DIGITS} digits')
    return int(number) * units[unit]
