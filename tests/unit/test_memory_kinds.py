# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the memory was, by the report of makedumpfile in a capture.log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.crashes.memory import Sort, parse_memory

# As makedumpfile 1.7.2 says it, and the capture notes it.
LOG = """\
[     5.20] the log is safe in /var/crash/2026-11-23T01-02-03Z: 3 KiB (0.2 s)
[    11.02] makedumpfile: Original pages  : 0x0000000000001000
[    11.02] makedumpfile: Excluded pages   : 0x0000000000000700
[    11.02] makedumpfile: in ELF format : 0x0000000000000700
[    11.02] makedumpfile: Pages filled with zero  : 0x0000000000000100
[    11.02] makedumpfile: Non-private cache pages : 0x0000000000000080
[    11.02] makedumpfile: Private cache pages     : 0x0000000000000040
[    11.02] makedumpfile: User process data pages : 0x0000000000000200
[    11.02] makedumpfile: Free pages              : 0x0000000000000300
[    11.02] makedumpfile: Hwpoison pages          : 0x0000000000000000
[    11.02] makedumpfile: Offline pages           : 0x0000000000000040
[    11.02] makedumpfile: Remaining pages  : 0x0000000000000900
[    11.02] makedumpfile: Memory Hole     : 0x0000000000000100
[    11.02] makedumpfile: Total pages     : 0x0000000000001100
[    11.03] the memory is saved: 12 MiB (4.8 s)
"""


def test_pages_are_told_by_their_sort() -> None:
    memory = parse_memory(LOG)

    assert memory is not None
    assert memory.pages == {
        Sort.KEPT: 0x900,
        Sort.FREE: 0x300,
        Sort.USER: 0x200,
        Sort.CACHE: 0xC0,
        Sort.ZERO: 0x100,
        Sort.OTHER: 0x40,
    }
    assert memory.total == 0x1000


def test_what_a_dump_at_a_low_level_did_not_sort_out_is_kept() -> None:
    memory = parse_memory(
        LOG.replace("0x0000000000000200", "0x0000000000000000").replace("0x0000000000000300", "0x0000000000000000")
    )

    assert memory is not None
    assert memory.pages == {Sort.KEPT: 0xE00, Sort.CACHE: 0xC0, Sort.ZERO: 0x100, Sort.OTHER: 0x40}


def test_of_two_captures_in_one_log_the_last_counts() -> None:
    first = LOG.replace("Free pages              : 0x0000000000000300", "Another kind of pages   : 0x0000000000000fff")

    assert parse_memory(first + LOG) == parse_memory(LOG)


@pytest.mark.parametrize(
    "log",
    [
        "",
        "[    11.02] the memory is saved: 12 MiB (4.8 s)\n",
        "makedumpfile: Original pages  : 0x0000000000000000\n",
        # More of one kind than there are pages.
        LOG.replace("0x0000000000000300", "0x0000000000001001"),
        # A count that went below zero.
        LOG.replace("0x0000000000001000", "0xfffffffffffffff0"),
        LOG.replace("makedumpfile: ", ""),
    ],
)
def test_a_log_without_a_report_that_adds_up_tells_nothing(log: str) -> None:
    assert parse_memory(log) is None


@given(st.lists(st.tuples(st.sampled_from(LOG.splitlines()), st.integers(0, 1 << 64))))
def test_whatever_the_numbers_are_the_parts_make_the_whole(lines: list[tuple[str, int]]) -> None:
    memory = parse_memory("\n".join(f"{line.rpartition(':')[0]}: 0x{number:016x}" for line, number in lines))

    assert memory is None or (min(memory.pages.values()) > 0 and memory.total < 1 << 52)
