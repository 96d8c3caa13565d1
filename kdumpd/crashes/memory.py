# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the memory of a dead kernel was, by the report that makedumpfile gave when it saved it."""

import re
from dataclasses import dataclass
from enum import StrEnum

# A line of capture.log. The names are those of print_report() in makedumpfile.c, 1.6.6 to 1.7.9.
_LINE = re.compile(r"makedumpfile: (?P<name>\w[\w -]*?)\s*: 0x(?P<pages>[0-9a-f]{1,16})\b")
_ALL = "Original pages"
# Larger than any machine, so it is a count that went below zero (makedumpfile's ELF statistics did before 1.6.7).
_TOO_MANY = 1 << 52


class Sort(StrEnum):
    """What a page was used for."""

    KEPT = "kept in the dump"
    FREE = "free"
    USER = "programs"
    CACHE = "file cache"
    ZERO = "only zeros"
    OTHER = "broken, offline or persistent"


_SORTS = {
    "Pages filled with zero": Sort.ZERO,
    "Non-private cache pages": Sort.CACHE,
    "Private cache pages": Sort.CACHE,
    "User process data pages": Sort.USER,
    "Free pages": Sort.FREE,
    "Hwpoison pages": Sort.OTHER,
    "Offline pages": Sort.OTHER,
    "pmem metadata pages": Sort.OTHER,
    "pmem userdata pages": Sort.OTHER,
}


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Pages of each sort; what makedumpfile did not leave out, and so did not sort, is `KEPT`."""

    pages: dict[Sort, int]

    @property
    def total(self) -> int:
        return sum(self.pages.values())


def parse_memory(log: str) -> Memory | None:
    """The last report in the text of a capture.log; None when there is none, or none that adds up."""
    found: dict[str, int] = {}
    for line in _LINE.finditer(log):
        if line["name"] == _ALL:
            found.clear()
        found[line["name"]] = int(line["pages"], 16)
    everything = found.get(_ALL, 0)
    pages: dict[Sort, int] = dict.fromkeys(Sort, 0)
    for name, sort in _SORTS.items():
        pages[sort] += found.get(name, 0)
    pages[Sort.KEPT] = everything - sum(pages.values())
    if not 0 < everything < _TOO_MANY or pages[Sort.KEPT] < 0:
        return None
    return Memory(pages={sort: count for sort, count in pages.items() if count})
