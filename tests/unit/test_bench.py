# SPDX-License-Identifier: LGPL-2.1-or-later
"""The arithmetic and the reading behind docs/benchmarks.md; what is measured is measured by `make bench`."""

import re

import pytest

from tests.bench.compare import breakdown, failures, milestones
from tests.bench.crash import Crash, Watch
from tests.bench.report import Figure, figures_table, middle, with_sections
from tests.bench.rounds import Run
from tests.bench.smallest import smallest_that_works
from tests.bench.tools import KDUMP_TOOLS, KDUMPD, Job, Tool, peak_kib

KDUMP_TOOLS_CONSOLE = """\
[  252.156465] Kernel panic - not syncing: sysrq triggered crash
[    0.000000] Linux version 6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org)
[    2.195830] Run /init as init process
[    5.814851] systemd[1]: systemd 252.39-1~deb12u2 running in system mode
[   18.257931] kdump-tools[242]: running makedumpfile --dump-dmesg /proc/vmcore /var/crash/202611230223/dmesg.202611230223.
[   18.382263] kdump-tools[242]: kdump-tools: saved dmesg content in /var/crash/202611230223.
[   18.481647] kdump-tools[242]: running makedumpfile -v -F /proc/vmcore | compress > /var/crash/202611230223/dump-incomplete.
[   18.617091] kdump-tools[242]: kdump-tools: saved vmcore in /var/crash/202611230223.
"""
KDUMPD_CONSOLE = """\
[   19.531221] Kernel panic - not syncing: sysrq triggered crash
[    8.522843] kdumpd: the log is safe in /var/crash/2026-11-22T23-39-59Z
[    8.546774] kdumpd: saving the memory: 35 %, 3.0 s to go
[    9.546774] kdumpd: the memory is saved: 29.7 MiB (7.6 s)
"""


def crash(**marks: float) -> Crash:
    return Crash(marks=marks, ended=20.0)


def ours(crash: Crash, **status: object) -> Run:
    steps = [{"name": "dmesg", "ok": True, "seconds": 0.2, "bytes": 1, "detail": ""}]
    return Run(tool=KDUMPD, job=Job.DMESG, crash=crash, status={"steps": steps, **status})


def test_the_middle_leaves_out_what_was_not_measured() -> None:
    assert middle([3.0, None, 1.0, 2.0]) == 2.0
    assert middle([None]) is None


@pytest.mark.parametrize(("value", "verdict"), [(1.0, "yes, and the aim"), (2.0, "yes"), (2.6, "**no**"), (None, "not measured")])
def test_a_comparison_is_judged_by_its_ratio(value: float | None, verdict: str) -> None:
    assert Figure("x", value, "s", 10.0, most=0.25, aim=0.13, compared=True).verdict == verdict


def test_a_figure_without_comparison_is_judged_by_its_value() -> None:
    assert str(Figure("memory", 41.0, "MB", most=40)) == "| memory | 41.00 MB |  |  | ≤ 40 MB | **no** |"


def test_what_kdump_tools_has_is_in_the_table_with_the_ratio() -> None:
    row = figures_table([Figure("time", 5.0, "s", 20.0, most=0.25, compared=True)])[2]

    assert row == "| time | 5.00 s | 20.00 s | 0.25 | ≤ 0.25 | yes |"


def test_a_section_that_is_measured_again_leaves_the_others() -> None:
    report = with_sections("# Benchmarks\n\n## A\n\nold a\n\n## B\n\nold b\n", {"A": "new a\n"}, ["A", "B"])

    assert report.endswith("## A\n\nnew a\n\n## B\n\nold b\n")
    assert with_sections(report, {}, ["A", "B"]) == report


@pytest.mark.parametrize(("needed", "found"), [(80, 80), (96, 96), (112, 112), (1000, None)])
def test_the_smallest_reservation_is_searched_down_and_when_the_first_fails_up(needed: int, found: int | None) -> None:
    assert smallest_that_works(lambda size: size >= needed, start=96) == found


@pytest.mark.parametrize(
    ("tool", "console", "seen"),
    [
        (KDUMP_TOOLS, KDUMP_TOOLS_CONSOLE, {"kernel": 1, "init": 2, "systemd": 3, "dmesg": 6, "vmcore": 7}),
        (KDUMPD, KDUMPD_CONSOLE, {"dmesg": 1, "vmcore": 3}),
    ],
    ids=["kdump-tools", "kdumpd"],
)
def test_what_was_saved_when_is_read_from_a_growing_console(tool: Tool, console: str, seen: dict[str, float]) -> None:
    watch = Watch(tool.marks)
    lines = console.splitlines(keepends=True)
    for number in range(len(lines)):
        watch.look("".join(lines[: number + 1]), now=100.0 + number)

    assert watch.crash(ended=110.0) == Crash(marks=seen, ended=10.0, console=console)


def test_a_dump_kernel_that_panics_too_is_not_waited_for() -> None:
    watch = Watch({"dmesg": re.compile("safe")})
    watch.look(KDUMPD_CONSOLE, 1.0)
    assert not watch.died_again

    watch.look(KDUMPD_CONSOLE + "[    2.1] Kernel panic - not syncing: System is deadlocked on memory\n", 2.0)
    assert watch.died_again


def test_the_peak_is_the_largest_difference_that_the_meter_has_printed() -> None:
    console = "bench: MemTotal 80000 MemAvailable 60000\nother\nbench: MemTotal 80000 MemAvailable 45000\n"

    assert peak_kib(console) == 35000
    assert peak_kib("nothing") is None


def test_a_capture_without_systemd_has_no_time_of_systemd() -> None:
    rows = breakdown([ours(crash(kernel=1.0, init=3.0, dmesg=5.5))])

    assert "| /init to the log on the disk | 2.50 s | ? |" in rows
    assert "| systemd, to the log on the disk | ? | ? |" in rows


def test_milestones_become_spans_and_missing_ones_are_left_out() -> None:
    uptimes = {"init": 2.0, "python": 3.5, "log_safe": 4.0}

    assert milestones([ours(crash(dmesg=5.0), milestones=uptimes)])[2:-1] == [
        "| start of the dump kernel to init | 2.00 s |",
        "| python to log_safe | 0.50 s |",
        "| of that makedumpfile, dmesg | 0.20 s |",
        "| of that makedumpfile, vmcore | ? |",
    ]


def test_a_run_without_an_end_or_that_put_nothing_on_record_has_failed() -> None:
    hanging = ours(Crash(marks={"dmesg": 5.0}))
    forgetful = Run(tool=KDUMPD, job=Job.DMESG, crash=crash(dmesg=5.0))

    assert failures([ours(crash(dmesg=5.0)), hanging, forgetful])[2:-1] == [
        "- kdumpd, dmesg: dmesg 5.00 s, end ?",
        "- kdumpd, dmesg: dmesg 5.00 s, end 20.00 s",
    ]


def test_a_figure_that_should_be_large_is_judged_by_its_least() -> None:
    assert str(Figure("speed", 101.0, "MB/s", least=50)) == "| speed | 101.00 MB/s |  |  | ≥ 50 MB/s | yes |"
    assert Figure("speed", 49.0, "MB/s", least=50).verdict == "**no**"
