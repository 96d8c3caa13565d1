# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the runs of the two tools say, as figures and tables."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tests.bench.report import UNKNOWN, Figure, middle, table
from tests.bench.rounds import Run
from tests.bench.tools import KDUMP_TOOLS, KDUMPD, Job, Tool, step_seconds

# Both tools, by what their consoles show. The first door of kdumpd has no systemd.
PHASES = {
    "panic to the first line of the dump kernel": ("panic", "kernel"),
    "kernel, to /init": ("kernel", "init"),
    "initrd, to systemd": ("init", "systemd"),
    "systemd, to the log on the disk": ("systemd", "dmesg"),
    "/init to the log on the disk": ("init", "dmesg"),
    "from there to the end": ("dmesg", "end"),
}
# kdumpd alone, by the uptimes in its status.json.
MILESTONES = ("init", "root", "python", "log_safe", "end")


def figures(
    runs: Sequence[Run],
    sizes: Mapping[str, tuple[int, int]],
    peaks: Iterable[int | None],
    smallest: Mapping[str, int | None],
) -> Iterator[Figure]:
    def seconds(job: Job, until: str) -> tuple[float | None, float | None]:
        ours, theirs = (middle(run.crash.between("panic", until) for run in _of(runs, tool, job)) for tool in (KDUMPD, KDUMP_TOOLS))
        return ours, theirs

    yield _compare("panic to the log on the disk", "s", seconds(Job.DMESG, "dmesg"), most=0.25, aim=0.13)
    yield _compare("panic to the power off or the reboot, the log alone", "s", seconds(Job.DMESG, "end"), most=0.25)
    yield _compare("panic to the memory on the disk", "s", seconds(Job.VMCORE, "vmcore"), most=0.50)
    for name, ours, theirs in zip(("packed", "unpacked"), sizes[KDUMPD.name], sizes[KDUMP_TOOLS.name], strict=True):
        yield _compare(f"dump initrd, {name}", "MB", (ours / 1e6, theirs / 1e6), most=0.40)
    yield _compare("smallest crashkernel=", "MiB", (smallest[KDUMPD.name], smallest[KDUMP_TOOLS.name]), most=0.80, aim=0.70)
    peak = middle(_number(run.status, "memory_kib", "peak_used") for run in _of(runs, KDUMPD, Job.DMESG))
    yield _compare("peak memory used in the dump kernel", "MiB", (_mebi(peak), _mebi(middle(peaks))), most=0.75)


def _compare(name: str, unit: str, both: tuple[float | None, float | None], *, most: float, aim: float | None = None) -> Figure:
    return Figure(name, both[0], unit, both[1], most=most, aim=aim, compared=True)


def breakdown(runs: Sequence[Run]) -> list[str]:
    """Where the time goes, as both consoles show it."""
    rows = []
    for name, (first, second) in PHASES.items():
        both = [middle(run.crash.between(first, second) for run in _of(runs, tool, Job.DMESG)) for tool in (KDUMPD, KDUMP_TOOLS)]
        rows.append(f"| {name} | {' | '.join(map(_seconds, both))} |")
    return table(("where the time goes, the log alone", "kdumpd", "kdump-tools"), rows)


def milestones(runs: Sequence[Run]) -> list[str]:
    """Where the time goes, as kdumpd's own status.json says; nothing when it does not."""
    ours = [run.status for run in _of(runs, KDUMPD, Job.DMESG)]
    kernel = middle(_number(status, "milestones", MILESTONES[0]) for status in ours)
    rows = [f"| start of the dump kernel to {MILESTONES[0]} | {_seconds(kernel)} |"] if kernel is not None else []
    for first, second in itertools.pairwise(MILESTONES):
        spans = [_difference(_number(status, "milestones", second), _number(status, "milestones", first)) for status in ours]
        if (span := middle(spans)) is not None:
            rows.append(f"| {first} to {second} | {_seconds(span)} |")
    for job in Job:
        took = middle(step_seconds(run.status, job) for run in _of(runs, KDUMPD, job))
        rows.append(f"| of that makedumpfile, {job} | {_seconds(took)} |")
    return table(("kdumpd's own clock", "median"), rows)


def failures(runs: Sequence[Run]) -> list[str]:
    failed = [f"- {str(run).strip()}" for run in runs if not run.succeeded]
    return ["Runs that failed, in which nothing was saved or no end came:", "", *failed, ""] if failed else []


def _of(runs: Iterable[Run], tool: Tool, job: Job) -> list[Run]:
    return [run for run in runs if run.tool is tool and run.job is job and run.succeeded]


def _number(status: Mapping[str, object], group: str, name: str) -> float | None:
    """A number in a group of a status.json; older ones lack some."""
    found = status.get(group)
    number = found.get(name) if isinstance(found, dict) else None
    return float(number) if isinstance(number, int | float) else None


def _difference(later: float | None, earlier: float | None) -> float | None:
    return None if later is None or earlier is None else later - earlier


def _mebi(kib: float | None) -> float | None:
    return None if kib is None else kib / 1024


def _seconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f} s"
