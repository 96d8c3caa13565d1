# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which memory and CPUs there are now, as a dump kernel is told of them when it is loaded."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from kdumpd.files import read_text

# Of each zone its place and its pages, which change when memory goes on or off line (mm/memory_hotplug.c,
# adjust_present_page_count). A balloon moves `managed` and MemTotal only, so those are of no use here.
ZONE = re.compile(r"^(?:Node .*| +(?:spanned|present|start_pfn:) +\d+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What the ELF core header of a dump kernel is made from: kexec writes it once, when the dump kernel is loaded.

    `memory` is a digest, to be compared only. `kernel_follows_*`: the running kernel itself tells the dump kernel that is
    loaded now of what comes and goes.
    """

    memory: str
    cpus: str
    kernel_follows_memory: bool
    kernel_follows_cpus: bool


def read_hardware(root: Path) -> Hardware:
    """A few milliseconds and no privilege, also where memory has ten thousand blocks."""
    devices = root / "sys/devices/system"
    present, online = ((read_text(devices / "cpu" / name) or "").strip() for name in ("present", "online"))
    return Hardware(
        memory=_memory_digest(devices / "memory", root / "proc/zoneinfo"),
        cpus=f"present {present}, online {online}",
        kernel_follows_memory=_kernel_follows(devices / "memory"),
        kernel_follows_cpus=_kernel_follows(devices / "cpu"),
    )


def _memory_digest(blocks: Path, zoneinfo: Path) -> str:
    found = os.listdir(blocks) if blocks.is_dir() else []  # noqa: PTH208 - ten thousand Paths take twice as long
    names = sorted(name for name in found if name.startswith("memory"))
    zones = ZONE.findall(read_text(zoneinfo) or "")
    return hashlib.sha256("\n".join([*names, *zones]).encode()).hexdigest()[:12]


def _kernel_follows(devices: Path) -> bool:
    # Since Linux 6.5 on x86. It is of the dump kernel that is loaded now, and 0 while none is: 1 after kexec_file_load, or when
    # kexec_load was asked for it with a flag that kexec-tools before 2.0.28 did not know (kernel/crash_core.c,
    # crash_check_hotplug_support; crash_check_update_elfcorehdr before 6.10).
    return (read_text(devices / "crash_hotplug") or "").strip() == "1"
