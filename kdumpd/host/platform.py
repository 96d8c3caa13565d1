# SPDX-License-Identifier: LGPL-2.1-or-later
"""What kind of machine this is, as far as a dump kernel behaves differently on it."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from kdumpd.files import read_text

EC2 = "Amazon EC2"


@dataclass(frozen=True, kw_only=True)
class Platform:
    """`machine` is the architecture as `uname -m` says it, `boot_apic` the local APIC of the CPU that the firmware started
    (x86 only). `has_watchdog`: there is a hardware watchdog; `watchdogs` are the modules that drive them, as far as they are
    modules."""

    machine: str
    xen: bool = False
    ec2: bool = False
    boot_apic: int | None = None
    has_watchdog: bool = False
    watchdogs: tuple[str, ...] = ()

    @property
    def x86(self) -> bool:
        return self.machine in ("x86_64", "i686")


def read_platform(root: Path) -> Platform:
    """What /proc and /sys say; a fact that is not there is as good as an ordinary machine."""
    # Linux 6.1 has the machine in /proc too (kernel.arch).
    # One that is only software is no device of anything.
    watchdogs = [path for path in (root / "sys/class/watchdog").glob("watchdog*") if (path / "device").exists()]
    machine = (read_text(root / "proc/sys/kernel/arch") or os.uname().machine).strip()
    return Platform(
        machine=machine,
        xen=(read_text(root / "sys/hypervisor/type") or "").strip() == "xen",
        ec2=(read_text(root / "sys/class/dmi/id/sys_vendor") or "").strip() == EC2,
        boot_apic=_boot_apic(read_text(root / "proc/cpuinfo") or ""),
        has_watchdog=bool(watchdogs),
        watchdogs=tuple(sorted({name for path in watchdogs if (name := _module(path))})),
    )


def _boot_apic(cpuinfo: str) -> int | None:
    """Of CPU 0, as the hardware numbers it: the kernel may have renumbered what is under "apicid"."""
    found = re.search(r"^initial apicid\s*:\s*(\d+)$", cpuinfo, re.MULTILINE)
    return int(found[1]) if found else None


def _module(watchdog: Path) -> str | None:
    module = watchdog / "device/driver/module"
    return module.resolve().name if module.exists() else None
