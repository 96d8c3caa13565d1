# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make bench`: what kdumpd costs a machine, most of it measured in the guest beside kdump-tools, in one run."""

import argparse
import functools
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.bench.capture import measure_capture
from tests.bench.crashes import describe_here, measure_crashes
from tests.bench.daemon import TOP, measure_daemon
from tests.bench.report import with_sections
from tests.vm.emulator import emulator
from tests.vm.machines import BOTH, Machine, add_kdump_tools, armed_machine

REPORT = TOP / "docs/benchmarks.md"
PACKAGES = "systemd kexec-tools makedumpfile kdump-tools"
IN_A_GUEST = {"capture": ("The capture", measure_capture), "daemon": ("The daemon", measure_daemon)}
HERE = {"crashes": ("The crashes", measure_crashes)}
TITLES = {name: title for name, (title, _) in (*IN_A_GUEST.items(), *HERE.items())}


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench")
    parser.add_argument("deb", type=Path)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure: {', '.join(TITLES)}; all when none is named")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(TITLES):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(TITLES)}")
    measured = dict(measure(arguments.deb, arguments.parts or list(TITLES)))
    report = with_sections(REPORT.read_text(), measured, list(TITLES.values()))
    REPORT.write_text(report)
    print(report)
    return 0


def measure(deb: Path, parts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The titles and the texts of the sections."""
    for name in [name for name in parts if name in HERE]:
        title, measure_here = HERE[name]
        yield title, section(title, describe_here(), measure_here)
    if guests := [name for name in parts if name in IN_A_GUEST]:
        machine = armed_machine(deb)
        add_kdump_tools(machine)
        place = describe(machine)
        for name in guests:
            title, measure_there = IN_A_GUEST[name]
            yield title, section(title, place, functools.partial(measure_there, machine))


def section(title: str, place: str, lines: Callable[[], list[str]]) -> str:
    print(f"{title} …", flush=True)
    return "\n".join([f"{place} Measured on {time.strftime('%Y-%m-%d')}.", "", *lines()])


def describe(machine: Machine) -> str:
    """The machine and the versions, in one line."""
    with machine.guest("bench-versions") as guest:
        guest.restore(BOTH)
        kernel = guest.run("uname -r").stdout.strip()
        versions = guest.run(f"dpkg-query -W -f '${{Package}} ${{Version}}, ' kdumpd {PACKAGES}").stdout.strip().rstrip(",")
    qemu = f"QEMU {emulator().version} without KVM on {platform.machine()}"
    return f"Guest: 2 CPUs, 2 GiB, ext4 on virtio, {qemu}; kernel {kernel}; {versions}."


if __name__ == "__main__":
    sys.exit(main())
