# SPDX-License-Identifier: LGPL-2.1-or-later
"""The last minutes of a log, as events and as a chart."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpd.crashes import timeline
from kdumpd.crashes.chart import MINUS, draw_bar, draw_timeline, span_text
from kdumpd.crashes.memory import Sort as Page
from kdumpd.crashes.timeline import Event, Sort, Timeline, read_timeline

DATA = Path(__file__).parents[1] / "data"
LOCKUP = "watchdog: BUG: soft lockup - CPU#0 stuck for 7s! [kc soft:144]"
WARNING = "WARNING: CPU: 1 PID: 144 at /build/kcrash/kcrash.c:20 kc_warn+0x16/0x1e [kcrash]: kcrash: a warning 7"


def read(tmp_path: Path, *lines: str) -> Timeline:
    (tmp_path / "dmesg.txt").write_text("".join(f"{line}\n" for line in lines))
    return read_timeline(tmp_path / "dmesg.txt")


def told(found: Timeline) -> list[tuple[Sort, str]]:
    return [(event.sort, event.text) for event in found.events]


@pytest.mark.parametrize(
    ("log", "before", "events"),
    [
        (
            "x86_64-6.1.192-kdump-null",
            [0.039, 0.026, 0.003],
            [
                (Sort.KDUMPD, "kdumpd marker: about to crash with null"),
                (Sort.MESSAGE, "kcrash: loading out-of-tree module taints kernel."),
                (Sort.FAULT, "BUG: kernel NULL pointer dereference, address: 0000000000000008"),
            ],
        ),
        (
            "x86_64-6.1.192-kdump-null-with-ftrace-dump",
            [0.030, 0.006, 0.002],
            [
                (Sort.KDUMPD, "kdumpd marker: about to crash with null"),
                (Sort.MESSAGE, "kcrash: loading out-of-tree module taints kernel."),
                (Sort.FAULT, "BUG: kernel NULL pointer dereference, address: 0000000000000008"),
            ],
        ),
        (
            "x86_64-6.1.192-kdump-soft",
            [7.356, 7.347, 0.032, 0.020],
            [
                (Sort.KDUMPD, "kdumpd marker: about to crash with soft"),
                (Sort.MESSAGE, "kcrash: loading out-of-tree module taints kernel."),
                (Sort.FAULT, LOCKUP),
                (Sort.FAULT, "Kernel panic - not syncing: softlockup: hung tasks"),
            ],
        ),
        (
            "x86_64-6.1.192-kdump-warn",
            [0.065, 0.054, 0.042, 0.014],
            [
                (Sort.KDUMPD, "kdumpd marker: about to crash with warn"),
                (Sort.MESSAGE, "kcrash: loading out-of-tree module taints kernel."),
                (Sort.WARNING, WARNING),
                (Sort.FAULT, "Kernel panic - not syncing: kernel: panic_on_warn set ..."),
            ],
        ),
    ],
)
def test_a_real_log_is_told_in_a_few_events(log: str, before: list[float], events: list[tuple[Sort, str]]) -> None:
    found = read_timeline(DATA / f"dmesg/{log}.txt")

    assert told(found) == events
    assert [event.before for event in found.events] == pytest.approx(before, abs=0.0006)


def test_of_a_log_with_levels_the_lines_of_an_oops_are_one_event() -> None:
    """All of them have the level of a warning or worse."""
    found = read_timeline(DATA / "pstore/6.1.192-ramoops/dmesg-ramoops-0")

    assert [text for sort, text in told(found) if sort is Sort.FAULT] == [
        "BUG: kernel NULL pointer dereference, address: 0000000000000008"
    ]
    after = [text for _, text in told(found)]
    assert after.index("BUG: kernel NULL pointer dereference, address: 0000000000000008") == len(after) - 1


@pytest.mark.parametrize(
    ("line", "sort"),
    [
        ("<4>[    1.000000] ata1.00: failed command: READ FPDMA QUEUED", Sort.DEVICE),
        ("<3>[    1.000000] nvme nvme0: I/O 12 QID 3 timeout, aborting", Sort.DEVICE),
        ("<4>[    1.000000] e1000e 0000:00:1f.6 eno1: NIC Link is Down", Sort.NETWORK),
        ("<2>[    1.000000] EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2", Sort.FILES),
        ("<0>[    1.000000] mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 5: bea0000000000108", Sort.HARDWARE),
        ("<3>[    1.000000] Out of memory: Killed process 4711 (java) total-vm:99kB", Sort.MEMORY),
        ("<4>[    1.000000] something odd", Sort.MESSAGE),
        ("<7>[    1.000000] kdumpd: test 0123abcd: begins", Sort.KDUMPD),
        # syslog's number has the facility too: 3 * 8 + 4, a warning of a daemon.
        ("<28>[    1.000000] something odd", Sort.MESSAGE),
        ("4,1234,1000000,-;something odd", Sort.MESSAGE),
        # A log without levels is judged by its words.
        ("[    1.000000] blk_update_request: I/O error, dev sda, sector 0", Sort.DEVICE),
        ("[    1.000000] XFS (dm-0): Corruption detected. Unmount and run xfs_repair", Sort.FILES),
    ],
)
def test_a_message_is_told_by_what_it_is_about(tmp_path: Path, line: str, sort: Sort) -> None:
    assert [found for found, _ in told(read(tmp_path, line))] == [sort]


@pytest.mark.parametrize(
    "line",
    [
        "<6>[    1.000000] ata1.00: failed command: READ FPDMA QUEUED",
        "6,1234,1000000,-;nvme nvme0: reset",
        "[    1.000000] EXT4-fs (sda1): mounted filesystem with ordered data mode",
        "[    1.000000] ",
        "",
    ],
)
def test_what_is_not_grave_is_not_told(tmp_path: Path, line: str) -> None:
    assert read(tmp_path, line) == Timeline()


def test_a_burst_of_the_same_message_is_one_event_with_a_count(tmp_path: Path) -> None:
    lines = [f"<4>[   {second}.000000] ata1: reset {second} of 0x{second:x}" for second in range(10, 40)]
    lines[7:7] = ["<4>[   16.500000] something else"]

    assert read(tmp_path, *lines).events == (
        Event(sort=Sort.DEVICE, text="ata1: reset 10 of 0xa", before=29.0, until=0.0, count=30),
        Event(sort=Sort.MESSAGE, text="something else", before=22.5, until=22.5),
    )


def test_the_same_message_minutes_later_is_another_event(tmp_path: Path) -> None:
    found = read(tmp_path, "<4>[   10.000000] ata1: reset", "<4>[  110.000000] ata1: reset")

    assert [(event.before, event.count) for event in found.events] == [(100.0, 1), (0.0, 1)]


def test_only_the_last_five_minutes_are_told(tmp_path: Path) -> None:
    found = read(tmp_path, "<4>[  100.000000] long ago", "<4>[  101.000000] just in time", "[  401.000000] the end")

    assert told(found) == [(Sort.MESSAGE, "just in time")]


def test_a_boot_begins_with_nothing_of_the_boot_before(tmp_path: Path) -> None:
    found = read(
        tmp_path, "<4>[  500.000000] odd", "[    0.000000] Linux version 6.1.0", "<4>[    2.000000] new", "[   3.000000] end"
    )

    assert found.events == (Event(sort=Sort.MESSAGE, text="new", before=1.0, until=1.0),)


def test_a_log_without_times_has_events_without_times(tmp_path: Path) -> None:
    found = read(tmp_path, "ata1: reset", "Kernel panic - not syncing: enough")

    assert [(event.sort, event.before) for event in found.events] == [(Sort.DEVICE, None), (Sort.FAULT, None)]
    assert draw_timeline(found.events) == ""


def test_of_too_many_events_the_last_are_told_and_the_rest_is_counted(tmp_path: Path) -> None:
    # In letters, for what differs in its numbers only is a burst.
    names = [f"{first}{second}" for first in "abcdefghijklmnop" for second in "abcdefghijklmnop"]
    found = read(tmp_path, *(f"<4>[    1.000000] odd {name}" for name in names))

    assert (len(found.events), found.left_out) == (200, 56)
    assert found.events[-1].text == "odd pp"


def test_of_a_long_log_only_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "TAIL", 4096)
    lines = ["<4>[    1.000000] at first", *["[    1.000000] nothing"] * 200, "<4>[    1.000000] at last"]

    assert told(read(tmp_path, *lines)) == [(Sort.MESSAGE, "at last")]


PIECES = st.sampled_from(
    [
        b"[    1.000000] ", b"<4>", b"[999999999999.9] ", b"\n", b"BUG: kernel NULL pointer dereference, address: 08\n",
        b"Kernel panic - not syncing: no\n", b"Linux version 6.1\n", b"Dumping ftrace buffer:\n", b"-" * 40 + b"\n",
        b"WARNING: CPU: 1 PID: 1 at a.c:1 f+0x1/0x2\n", b"mce: [Hardware Error]: x\n", b"Out of memory: Killed process 1 (a)\n",
        b"Call Trace:\n", b"ata1: reset\n", b"RIP: 0010:f+0x1/0x2\n",
    ]
)  # fmt: skip


@given(st.lists(PIECES | st.binary(max_size=40), max_size=60))
def test_no_bytes_are_too_odd_to_be_read_and_drawn(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    log = tmp_path_factory.mktemp("log") / "dmesg.txt"
    log.write_bytes(b"".join(pieces))
    found = read_timeline(log)

    assert all(event.before is None or event.until is None or event.before >= event.until >= 0 for event in found.events)
    assert "nan" not in draw_timeline(found.events)


def event(sort: Sort, before: float, until: float | None = None) -> Event:
    return Event(sort=sort, text="", before=before, until=before if until is None else until)


@pytest.mark.parametrize(
    ("longest", "labels"),
    [
        (0.0, ["end", "2 ms", "4 ms", "6 ms", "8 ms", "10 ms"]),
        (0.039, ["end", "10 ms", "20 ms", "30 ms", "40 ms", "50 ms"]),
        (7.4, ["end", "2 s", "4 s", "6 s", "8 s", "10 s"]),
        (1.9, ["end", "500 ms", "1 s", "1.5 s", "2 s"]),
        (299.0, ["end", "1 min", "2 min", "3 min", "4 min", "5 min"]),
        (1e12, ["end", "1 min", "2 min", "3 min", "4 min", "5 min"]),
    ],
)
def test_the_axis_is_as_long_as_the_events_need(longest: float, labels: list[str]) -> None:
    drawn = draw_timeline([event(Sort.FAULT, 0), event(Sort.DEVICE, longest)])

    assert re.findall(rf'text-anchor="\w+">{MINUS}?([^<]*)', drawn) == labels


def test_each_sort_has_a_lane_and_each_burst_a_line() -> None:
    drawn = draw_timeline([event(Sort.DEVICE, 8, until=2), event(Sort.FAULT, 0), event(Sort.FAULT, 1)])

    assert drawn.count("<circle") == 3
    assert drawn.count('class="burst device"') == 1
    assert re.findall(r'class="lane"[^>]*>([^<]*)', drawn) == ["fault", "device"]


def test_a_bar_is_divided_as_the_numbers_are() -> None:
    drawn = draw_bar({Page.KEPT: 1, Page.FREE: 3}, "the memory")

    assert '<rect class="kept" x="0.000%" y="0" width="25.000%"' in drawn
    assert '<rect class="free" x="25.000%" y="0" width="75.000%"' in drawn


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0026, "3 ms"),
        (1.0, "1 s"),
        (8.94, "8.9 s"),
        (59.97, "60 s"),
        (60, "1 min"),
        (123.4, "2 min 3 s"),
        (3725, "1 h 2 min"),
        (90000, "1 d 1 h"),
        (86399.9, "24 h"),
    ],
)
def test_times_are_told_as_people_say_them(seconds: float, text: str) -> None:
    assert span_text(seconds) == text
