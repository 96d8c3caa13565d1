# SPDX-License-Identifier: LGPL-2.1-or-later
"""kdumpd's capture against that of kdump-tools: same guest, same kernel, same disk, same run, in turn."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.bench.compare import breakdown, failures, figures, milestones
from tests.bench.crash import CrashingGuest
from tests.bench.report import figures_table
from tests.bench.rounds import Run, one_crash
from tests.bench.smallest import smallest_reservation
from tests.bench.tools import KDUMP_TOOLS, KDUMPD, Job, Tool, peak_kib, read_status, succeeded
from tests.vm.cache import scratch_folder
from tests.vm.guest import VmError
from tests.vm.machines import BOTH, LOGS, Machine, copy_of

ROUNDS = int(os.environ.get("KDUMPD_BENCH_ROUNDS", "5"))
METHOD = """\
Seconds of wall time on the host, from the line "Kernel panic - not syncing" on the serial console, medians of {rounds} rounds in
which the two take turns; every crash starts from a snapshot of the same machine, armed with crashkernel=192M.

- The log counts as durable at kdumpd's "the log is safe", printed after fsync, and at the line that kdump-config prints after the
  `sync` that follows its "saved dmesg content".
- kdump-tools can't save the log alone. For those rounds its MAKEDUMP_ARGS is `-v`: makedumpfile prints its version where it
  would save the memory; from the log to the end it then took 0.4 s when that was looked at.
- The memory is whole at kdumpd's line of the step, printed after fsync, and at "saved vmcore" of kdump-tools, printed before its
  sync. Both with level 31 and zlib.
- Unpacked is the sum of the files that `lsinitramfs -l` lists.
- The smallest reservation: {captures} captures of {captures}, the log alone, in steps of 8 MB. The reservation of the running
  kernel is shrunk through /sys/kernel/kexec_crash_size and the dump kernel loaded again.
- Peak memory: MemTotal minus the lowest MemAvailable, sampled ten times a second: by kdumpd from its first line of Python on; for
  kdump-tools by a shell loop that systemd starts first, in rounds of their own. The log alone.
"""


def measure_capture(machine: Machine) -> list[str]:
    """The lines of its section."""
    with (
        scratch_folder("bench") as scratch,
        guest_on_a_copy(machine, scratch) as guest,
    ):
        sizes = {tool.name: prepare(guest, tool) for tool in (KDUMPD, KDUMP_TOOLS)}
        runs = list(timed_runs(guest))
        peaks = list(peaks_of_kdump_tools(guest))
        smallest = {tool.name: smallest_reservation(guest, tool, 2 * ROUNDS) for tool in (KDUMPD, KDUMP_TOOLS)}
    return [
        METHOD.format(rounds=ROUNDS, captures=2 * ROUNDS),
        *figures_table(figures(runs, sizes, peaks, smallest)),
        *breakdown(runs),
        *milestones(runs),
        *failures(runs),
    ]


def guest_on_a_copy(machine: Machine, folder: Path) -> CrashingGuest:
    """The snapshots of a benchmark are gigabytes, and go with this folder."""
    copy = copy_of(machine, folder)
    return CrashingGuest(copy.disk, copy.argv, logs=LOGS / "bench-capture")


def prepare(guest: CrashingGuest, tool: Tool) -> tuple[int, int]:
    """Leaves a snapshot for each job, and returns the sizes of the initrd."""
    print(f"  {tool.name}: making ready", flush=True)
    guest.kill()
    guest.restore(BOTH)
    tool.prepare(guest)
    for job in Job:
        tool.set_job(guest, job)
        guest.save(tool.snapshot(job))
    return tool.sizes(guest)


def timed_runs(guest: CrashingGuest) -> Iterator[Run]:
    for number in range(ROUNDS):
        print(f"round {number + 1} of {ROUNDS}", flush=True)
        for job in Job:
            for tool in (KDUMPD, KDUMP_TOOLS):
                crash = one_crash(guest, tool, tool.snapshot(job))
                run = Run(tool=tool, job=job, crash=crash, status=_status(guest) if tool is KDUMPD else {})
                print(run, flush=True)
                yield run


def _status(guest: CrashingGuest) -> Mapping[str, object]:
    try:
        return read_status(guest)
    except (VmError, ValueError) as problem:
        print(f"  no status.json: {problem}", flush=True)
        return {}


def peaks_of_kdump_tools(guest: CrashingGuest) -> Iterator[int | None]:
    for number in range(ROUNDS):
        crash = one_crash(guest, KDUMP_TOOLS, KDUMP_TOOLS.snapshot(Job.DMESG), before=KDUMP_TOOLS.add_memory_meter)
        peak = peak_kib(crash.console) if succeeded(crash, Job.DMESG) else None
        print(f"  memory of {KDUMP_TOOLS.name}, round {number + 1}: {peak} KiB", flush=True)
        yield peak
