# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make bench`: what kdumpd costs a machine, measured in the guest beside kdump-tools, in one run."""

import argparse
import platform
import sys
import time
from pathlib import Path

from tests.bench.capture import measure_capture
from tests.bench.daemon import TOP, measure_daemon
from tests.bench.report import with_sections
from tests.vm.machines import BOTH, Machine, add_kdump_tools, armed_machine

REPORT = TOP / "docs/benchmarks.md"
PACKAGES = "systemd kexec-tools makedumpfile kdump-tools"
PARTS = {"capture": ("The capture", measure_capture), "daemon": ("The daemon", measure_daemon)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench")
    parser.add_argument("deb", type=Path)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure: {', '.join(PARTS)}; all when none is named")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    machine = armed_machine(arguments.deb)
    add_kdump_tools(machine)
    place = describe(machine)
    measured = {}
    for name in arguments.parts or PARTS:
        title, measure = PARTS[name]
        print(f"{title} …", flush=True)
        measured[title] = "\n".join([f"{place} Measured on {time.strftime('%Y-%m-%d')}.", "", *measure(machine)])
    report = with_sections(REPORT.read_text(), measured, [title for title, _ in PARTS.values()])
    REPORT.write_text(report)
    print(report)
    return 0


def describe(machine: Machine) -> str:
    """The machine and the versions, in one line."""
    with machine.guest("bench-versions") as guest:
        guest.restore(BOTH)
        kernel = guest.run("uname -r").stdout.strip()
        versions = guest.run(f"dpkg-query -W -f '${{Package}} ${{Version}}, ' kdumpd {PACKAGES}").stdout.strip().rstrip(",")
    return f"Guest: 2 CPUs, 2 GiB, ext4 on virtio, QEMU without KVM on {platform.machine()}; kernel {kernel}; {versions}."


if __name__ == "__main__":
    sys.exit(main())
