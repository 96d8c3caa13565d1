# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fake machines: a root directory with the files that kdumpd looks at, and stub programs that record their calls."""

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from kdumpd.apply.apply import apply_plan
from kdumpd.apply.look import look
from kdumpd.crashkernel import parse_crashkernel
from kdumpd.host import layout
from kdumpd.host.efi import EFIVARS, Variable
from kdumpd.host.facts import Facts
from kdumpd.plan.kernel_values import HUNG_TASK_TIMEOUT, REBOOT_AFTER, SYSCTL_OF_FAULT, sysctl_path
from kdumpd.plan.make import make_plan
from kdumpd.policy.model import Policy

# A policy that says the size, so that a test need not know what `auto` comes to.
POLICY = Policy(crashkernel=parse_crashkernel("192M"))
CATALOG = Path(__file__).parents[2] / "units/kdumpd.catalog"
RELEASE = "6.1.0-56-cloud-amd64"
COMMAND_LINE = f"BOOT_IMAGE=/boot/vmlinuz-{RELEASE} root=UUID=1 ro console=ttyS0,115200 quiet"
GRUB_CFG = f"""\
menuentry 'Debian GNU/Linux' {{
\tlinux\t/boot/vmlinuz-{RELEASE} root=UUID=1 ro console=ttyS0,115200 quiet
}}
menuentry 'Debian GNU/Linux, (recovery mode)' {{
\tlinux\t/boot/vmlinuz-{RELEASE} root=UUID=1 ro single console=ttyS0,115200
}}
menuentry 'UEFI Firmware Settings' {{
\tfwsetup
}}
"""


HOOKS = Path(__file__).parents[2] / "packaging/initramfs-tools"
DISK = "pci0000:00/0000:00:04.0/virtio1/block/vda"
INITRD_LIST = f"""\
drwxr-xr-x   3 root     root            0 Nov 22 22:28 .
lrwxrwxrwx   1 root     root            7 Nov 22 22:28 bin -> usr/bin
-rwxr-xr-x   1 root     root     15000000 Nov 22 22:28 init
-rw-r--r--   1 root     root           13 Nov 22 22:28 etc/kdumpd-image
-rw-r--r--   1 root     root        61745 Nov 16 10:17 usr/lib/modules/{RELEASE}/kernel/drivers/virtio/virtio_pci.ko
-rw-r--r--   1 root     root        58209 Nov 16 10:17 usr/lib/modules/{RELEASE}/kernel/drivers/block/virtio_blk.ko.xz
"""


def bzimage(release: str = RELEASE, *, version: int = 0x20F, init_size: int = 53_968_896, paragraphs: int = 0) -> bytes:
    """The beginning of a kernel image for x86 (Documentation/arch/x86/boot.rst)."""
    head = bytearray(4096)
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, version)
    struct.pack_into("<I", head, 0x260, init_size)
    struct.pack_into("<I", head, 0x1F4, paragraphs)
    struct.pack_into("<H", head, 0x20E, 0x800)
    about = f"{release} (debian-kernel@lists.debian.org) #1 SMP".encode()
    head[0xA00 : 0xA00 + len(about)] = about
    return bytes(head)


class Stubs:
    """Programs in front of PATH that do what a test says, and note how they were called."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    def add(self, name: str, script: str = "") -> None:
        path = self._folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self._folder}/calls\n{script}\n')
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        log = self._folder / "calls"
        return log.read_text().splitlines() if log.exists() else []


class Journald:
    """What kdumpd sends to the journal's socket."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        listener.setblocking(False)

    def entries(self) -> list[dict[str, str]]:
        """All that came since the last time."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(_unpack(self._listener.recv(1 << 20)))
        return found


def _unpack(datagram: bytes) -> dict[str, str]:
    """The long form of journald's native protocol: name, newline, 64 bits of length, value, newline."""
    fields = {}
    while datagram:
        name, _, rest = datagram.partition(b"\n")
        end = 8 + int.from_bytes(rest[:8], "little")
        fields[name.decode()] = rest[8:end].decode()
        assert rest[end : end + 1] == b"\n"
        datagram = rest[end + 1 :]
    return fields


class FakeMachine:
    """A Debian machine below `root`; by default nothing is set up and no memory is reserved."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/cmdline", COMMAND_LINE + "\n")
        # 192 MiB and the 632 KiB below 1 MiB, which a dump kernel has too.
        self.write(
            "proc/zoneinfo", "Node 0, zone DMA\n  pages free 1\n        present  158\nNode 0, zone DMA32\n        present  49152\n"
        )
        self.write("proc/uptime", "5.50 1.00\n")
        self.write("proc/meminfo", "MemTotal:  155144 kB\nMemFree: 130000 kB\nMemAvailable: 120816 kB\n")
        self.write("proc/sys/kernel/osrelease", RELEASE + "\n")
        self.write("proc/sys/kernel/arch", "x86_64\n")
        self.write("proc/sys/kernel/random/boot_id", "boot-1\n")
        for name in (REBOOT_AFTER, HUNG_TASK_TIMEOUT, *SYSCTL_OF_FAULT.values()):
            self.write(sysctl_path(name).lstrip("/"), "0\n")
        self.write("proc/sys/kernel/sysrq", "438\n")
        # 2 GiB of RAM in blocks of 128 MiB.
        self.write("sys/devices/system/memory/block_size_bytes", "8000000\n")
        for block in range(16):
            (root / f"sys/devices/system/memory/memory{block}").mkdir()
        for name in ("present", "online"):
            self.write(f"sys/devices/system/cpu/{name}", "0-3\n")
        self.write("sys/kernel/kexec_crash_size", "0\n")
        self.write("sys/kernel/kexec_crash_loaded", "0\n")
        self.write("etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=quiet\n")
        self.write("etc/initramfs-tools/initramfs.conf", "MODULES=most\n")
        self.write("boot/grub/grub.cfg", GRUB_CFG)
        self.write(f"boot/vmlinuz-{RELEASE}", "kernel")
        self.write(f"lib/modules/{RELEASE}/modules.dep", "")
        self.write(f"lib/modules/{RELEASE}/modules.builtin", "kernel/fs/ext4/ext4.ko\n")
        self.add_root_disk()
        shutil.copytree(HOOKS, root / layout.INITRAMFS_HOOKS)
        (root / "var").mkdir()

    def add_root_disk(self) -> None:
        """A virtio disk with a partition that is mounted at /, as in most clouds."""
        self.write("proc/self/mountinfo", "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n")
        self.write(f"sys/devices/{DISK}/vda1/partition", "1\n")
        self.link("sys/dev/block/254:1", f"sys/devices/{DISK}/vda1")
        for device, module in (("virtio1", "virtio_blk"), ("", "virtio_pci")):
            self.add_driver(f"sys/devices/{DISK.partition('/virtio1')[0]}/{device}", module)

    def add_disk(self, name: str, number: str, uuid: str = "") -> str:
        """One more virtio disk, of which udev knows the file system's UUID."""
        device = f"sys/devices/{DISK.replace('virtio1', name)}".replace("vda", name)
        self.write(f"{device}/dev", f"{number}\n")
        self.link(f"sys/dev/block/{number}", device)
        if uuid:
            self.write(f"run/udev/data/b{number}", f"S:disk/by-uuid/{uuid}\nE:ID_FS_UUID={uuid}\nE:ID_FS_TYPE=ext4\n")
        return device

    def mount(
        self, point: str, number: str, source: str, file_system: str = "ext4", *, options: str = "rw", folder: str = "/"
    ) -> None:
        """As mountinfo shows it; not in /etc/fstab."""
        before = self.read("proc/self/mountinfo")
        self.write(
            "proc/self/mountinfo",
            f"{before}40 22 {number} {folder} {point} rw,relatime shared:2 - {file_system} {source} {options}\n",
        )

    def add_lvm(self, number: str, *parts: str, name: str = "vg-dump", uuid: str = "LVM-AbCd") -> str:
        """A device-mapper device, as a rule of LVM."""
        device = f"sys/devices/virtual/block/dm-{number.partition(':')[2]}"
        self.write(f"{device}/dm/uuid", f"{uuid}\n")
        self.write(f"{device}/dm/name", f"{name}\n")
        for part in parts:
            self.link(f"{device}/slaves/{part.rpartition('/')[2]}", part)
        self.link(f"sys/dev/block/{number}", device)
        return device

    def add_driver(self, device: str, module: str) -> None:
        """A loaded module that drives a device."""
        self.write(f"sys/module/{module}/initstate", "live\n")
        self.link(f"{device}/driver", f"sys/bus/any/drivers/{module}")
        self.link(f"sys/bus/any/drivers/{module}/module", f"sys/module/{module}")

    def link(self, name: str, target: str) -> None:
        """A relative symbolic link, as in /sys. The target becomes a folder where it is not there."""
        path, to = self.root / name, self.root / target
        path.parent.mkdir(parents=True, exist_ok=True)
        to.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.path.relpath(to, path.parent))

    def add_generator(self, stubs: "Stubs", *, lists: str = INITRD_LIST) -> None:
        """initramfs-tools, whose initrd has what is listed."""
        # mkinitramfs -d CONF -o IMAGE RELEASE
        stubs.add("mkinitramfs", 'echo initrd > "$4"')
        (self.root / "initrd-list").write_text(lists)
        stubs.add("lsinitramfs", f"cat {self.root}/initrd-list")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def write_bytes(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)

    def set_variable(self, variable: Variable, value: bytes) -> Path:
        """As efivarfs shows it: four bytes of attributes, then the value."""
        path = self.root / EFIVARS / variable.value
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x06\0\0\0" + value)
        return path

    def read(self, name: str) -> str:
        return (self.root / name).read_text()

    def reserve(self, size: int = 192 << 20, parameter: str = "crashkernel=192M") -> None:
        """As after a reboot through GRUB."""
        self.write("proc/cmdline", f"{COMMAND_LINE} {parameter}\n")
        self.write("boot/grub/grub.cfg", GRUB_CFG.replace("quiet", f"quiet {parameter}"))
        self.write("sys/kernel/kexec_crash_size", f"{size}\n")

    def facts(self, policy: Policy | None = None) -> Facts:
        return look(policy or POLICY, self.root)

    def update_grub(self) -> str:
        """A script that makes grub.cfg as grub-mkconfig does: it sources the defaults, and pastes what they set."""
        defaults = self.root / "etc/default"
        return f"""\
set -e
. {defaults}/grub
for file in {defaults}/grub.d/*.cfg; do [ ! -e "$file" ] || . "$file"; done
sed -e 's/ *$//' > {self.root}/boot/grub/grub.cfg.new << END
menuentry 'Debian GNU/Linux' {{
	linux	/boot/vmlinuz root=UUID=1 ro $GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT
}}
menuentry 'Debian GNU/Linux, (recovery mode)' {{
	linux	/boot/vmlinuz root=UUID=1 ro single $GRUB_CMDLINE_LINUX
}}
END
mv {self.root}/boot/grub/grub.cfg.new {self.root}/boot/grub/grub.cfg"""


def armed(machine: FakeMachine) -> Facts:
    """Reserves memory, applies POLICY, and looks again."""
    machine.reserve()
    facts = machine.facts()
    apply_plan(make_plan(POLICY, facts), facts, machine.root, lambda text: None)
    return machine.facts()


def forget_hardware(machine: FakeMachine) -> None:
    """Makes the record of what was loaded as a kdumpd wrote it that knew nothing of hotplug."""
    record = json.loads(machine.read("var/lib/kdumpd/last-loaded.json"))
    machine.write(
        "var/lib/kdumpd/last-loaded.json", json.dumps({key: record[key] for key in record if key not in ("memory", "cpus")})
    )


@contextlib.contextmanager
def file_system(folder: Path, kib: int) -> Iterator[Path]:
    """A file system of so many KiB: a real ENOSPC."""
    folder.mkdir(parents=True)
    # Not by PATH: a test may have a stub there, and would then fill the disk of this machine.
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["/usr/bin/umount", folder], check=True)


def fill(disk: Path, free: int) -> None:
    """Leaves so many KiB."""
    space = os.statvfs(disk)
    (disk / "ballast").write_bytes(b"x" * (space.f_bavail * space.f_frsize - free * 1024))
