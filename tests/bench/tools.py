# SPDX-License-Identifier: LGPL-2.1-or-later
"""The two that are compared: how each is made ready on the same machine, and how its work shows on the console."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar

from kdumpd.image.contents import FILE_LINE
from tests.bench.crash import Crash
from tests.vm.guest import Guest

# Both builds of an initrd take a minute in the emulated guest.
LOAD_DEADLINE = 600.0
LOADED = "/sys/kernel/kexec_crash_loaded"
RESERVED = "/sys/kernel/kexec_crash_size"
# What both kernels and both init systems say by themselves.
COMMON_MARKS = {
    "kernel": re.compile(r"^\[    0\.000000\] Linux version ", re.MULTILINE),
    "init": re.compile(r"Run /init as init process"),
    "systemd": re.compile(r"systemd\[1\]: systemd \d+"),
}
MEMORY = re.compile(r"bench: MemTotal (\d+) MemAvailable (\d+)")
# MemTotal minus the lowest MemAvailable, ten times a second, as the capture of kdumpd does by itself (capture/memory.py).
# Only new lows are written, and to the console, where nothing has to be saved.
MEMORY_METER = """\
lowest=999999999
while :; do
    while read -r name value unit; do
        case $name in
            MemTotal:) total=$value ;;
            MemAvailable:) available=$value; break ;;
        esac
    done </proc/meminfo
    if [ "$available" -lt "$lowest" ]; then
        lowest=$available
        echo "bench: MemTotal $total MemAvailable $available" >/dev/console
    fi
    sleep 0.1
done
"""
MEMORY_UNIT = """\
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/bin/sh /root/bench-memory
"""


class Job(StrEnum):
    """What a capture has to save."""

    DMESG = "dmesg"
    VMCORE = "vmcore"


class Tool(ABC):
    """One of the two. `marks` holds "dmesg" and "vmcore": the lines that say that the thing is on the disk. The search for the
    smallest reservation begins at `start_megabytes`, which is what it found before.
    """

    name: ClassVar[str]
    start_megabytes: ClassVar[int]
    marks: ClassVar[Mapping[str, re.Pattern[str]]]
    # Commands for the guest's shell; `initrd` prints the path of what is loaded.
    unload: ClassVar[str]
    load: ClassVar[str]
    initrd: ClassVar[str]

    @abstractmethod
    def prepare(self, guest: Guest) -> None:
        """Makes a machine on which kdumpd is armed and kdump-tools is installed ready for this one."""

    @abstractmethod
    def set_job(self, guest: Guest, job: Job) -> None:
        """Configures what a capture saves, and no more than that."""

    def snapshot(self, job: Job) -> str:
        return f"bench-{self.name}-{job}"

    def load_into(self, guest: Guest, size: int) -> bool:
        """Shrinks the reserved memory to `size` bytes and loads again; whether the kernel then has a dump kernel."""
        guest.run(f"{self.unload}; echo {size} > {RESERVED}; {self.load}", check=False, deadline=LOAD_DEADLINE)
        return guest.read(LOADED).strip() == "1" and int(guest.read(RESERVED)) == size

    def sizes(self, guest: Guest) -> tuple[int, int]:
        """Bytes of the loaded initrd, packed and unpacked: the sum of its files, as kdumpd's image/contents.py counts."""
        initrd = guest.run(self.initrd).stdout.strip()
        files = map(FILE_LINE.fullmatch, guest.run(f"lsinitramfs -l {initrd}").stdout.splitlines())
        return int(guest.run(f"stat -c %s {initrd}").stdout), sum(int(file["size"]) for file in files if file)


class Kdumpd(Tool):
    """Reports after fsync, then powers off."""

    name = "kdumpd"
    start_megabytes = 80
    marks: ClassVar = {
        **COMMON_MARKS,
        "dmesg": re.compile(r"kdumpd: the log is safe"),
        "vmcore": re.compile(r"kdumpd: the memory is saved"),
    }
    unload = "kdumpd disarm"
    load = "kdumpd arm"
    initrd = 'python3 -c \'import json; print(json.load(open("/var/lib/kdumpd/last-loaded.json"))["initrd"])\''

    def prepare(self, guest: Guest) -> None:
        guest.run("kdumpd apply --yes", deadline=LOAD_DEADLINE)

    def set_job(self, guest: Guest, job: Job) -> None:
        vmcore = "{level: 31, compress: zlib}" if job is Job.VMCORE else "off"
        guest.write("/etc/kdumpd.yaml", f"crashkernel: 192M\ncapture:\n  vmcore: {vmcore}\n")
        guest.run("kdumpd apply --yes", deadline=LOAD_DEADLINE)


class KdumpTools(Tool):
    """Reports the dmesg, syncs, and says that it goes on to the vmcore, which it saves and reports; then it reboots."""

    name = "kdump-tools"
    start_megabytes = 104
    marks: ClassVar = {
        **COMMON_MARKS,
        # kdump-config prints this after the sync that follows "saved dmesg content in …".
        "dmesg": re.compile(r"running makedumpfile .* \| compress > "),
        # Before its sync: whether a later line reaches the console is a race of journald against `reboot -f`.
        "vmcore": re.compile(r"kdump-tools: saved vmcore in "),
    }
    unload = "kdump-config unload"
    load = "kdump-config load"
    initrd = "readlink -f /var/lib/kdump/initrd.img"

    def prepare(self, guest: Guest) -> None:
        """Gives the machine back to it, with the settings and the udev rule of its own package."""
        guest.run("systemctl disable --now kdumpd kdumpd-early; kdumpd disarm; rm -f /etc/udev/rules.d/50-kdump-tools.rules")
        self.set_job(guest, Job.VMCORE)
        # The first load builds its initrd.
        guest.run(self.load, deadline=LOAD_DEADLINE)

    def set_job(self, guest: Guest, job: Job) -> None:
        """It has no setting for the dmesg alone: with -v, makedumpfile prints its version in the place of saving the memory."""
        arguments = "-F -c -d 31" if job is Job.VMCORE else "-v"
        guest.run(f"sed '$aMAKEDUMP_ARGS=\"{arguments}\"' /usr/share/kdump-tools/kdump-tools.conf > /etc/default/kdump-tools; sync")

    def add_memory_meter(self, guest: Guest) -> None:
        """From when systemd starts units in the dump kernel until the machine ends."""
        guest.write("/root/bench-memory", MEMORY_METER)
        guest.write("/etc/systemd/system/bench-memory.service", MEMORY_UNIT)
        wants = "/etc/systemd/system/kdump-tools-dump.service.wants"
        guest.run(f"mkdir -p {wants}; ln -sf ../bench-memory.service {wants}; sync")


KDUMPD, KDUMP_TOOLS = Kdumpd(), KdumpTools()


def peak_kib(console: str) -> int | None:
    """What the memory meter has seen at most, None when it has not run."""
    samples = [int(total) - int(available) for total, available in MEMORY.findall(console)]
    return max(samples, default=None)


def read_status(guest: Guest) -> dict[str, object]:
    """status.json of the newest crash, off the disk of a guest without power; empty when there is none."""
    folders = sorted(name for name in guest.list_folder("/var/crash") if name.endswith("Z"))
    found: dict[str, object] = json.loads(guest.read(f"/var/crash/{folders[-1]}/status.json")) if folders else {}
    return found


def step_seconds(status: Mapping[str, object], name: str) -> float | None:
    """How long a step of a status.json took, None when it did not work."""
    steps = status.get("steps")
    found = [step["seconds"] for step in steps if step["name"] == name and step["ok"]] if isinstance(steps, list) else []
    return float(found[-1]) if found else None


def succeeded(crash: Crash, job: Job) -> bool:
    """Whether what was to be saved is on the disk, and the machine came to an end by itself."""
    return job in crash.marks and crash.ended is not None
