# SPDX-License-Identifier: LGPL-2.1-or-later
"""Machines that a story can begin with: a fresh one, and one that is installed, configured, rebooted and armed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.vm.cache import cached, key_of, scratch_folder
from tests.vm.emulator import emulator, qemu_img
from tests.vm.guest import Guest, qemu_argv
from tests.vm.image import Image, base_image, make_firmware_variables
from tests.vm.systems import BOOKWORM, BootLoader, Firmware, System

LOGS = Path(__file__).resolve().parents[2] / "build/vm-logs"
FRESH = "fresh"
ARMED = "armed"
BOTH = "with-kdump-tools"
POLICY = "crashkernel: 192M\n"
# How an installer leaves the boot loader: installed, with entries of its own making.
BOOT_LOADER_SETUP = {
    (BootLoader.GRUB, Firmware.UEFI): "update-grub",
    (BootLoader.GRUB, Firmware.SECURE_BOOT): "update-grub",
    (BootLoader.GRUB, Firmware.BIOS): "grub-install /dev/vda && update-grub",
    (BootLoader.SYSTEMD_BOOT, Firmware.UEFI): (
        "bootctl install && kernel-install add $(uname -r) /boot/vmlinuz-$(uname -r) /boot/initrd.img-$(uname -r)"
    ),
}
# The disk has no boot loader yet where only its own installer can put one there.
STARTED_DIRECTLY = {(BootLoader.GRUB, Firmware.BIOS), (BootLoader.SYSTEMD_BOOT, Firmware.UEFI)}


@dataclass(frozen=True)
class Machine:
    """The disks of a machine in its own folder."""

    folder: Path
    system: System = BOOKWORM

    @property
    def disk(self) -> Path:
        return self.folder / "disk.qcow2"

    @property
    def firmware_variables(self) -> Path:
        return self.folder / "firmware.qcow2"

    @property
    def argv(self) -> list[str]:
        """What starts it."""
        return qemu_argv(self.disk, self.firmware_variables, self.system.firmware)

    def guest(self, name: str) -> Guest:
        """This machine, powered off; the consoles of its boots go to build/vm-logs/NAME."""
        return Guest(self.disk, self.argv, logs=empty_logs(name))


def empty_logs(name: str) -> Path:
    """Where the consoles of a guest go, without those of an earlier run."""
    logs = LOGS / name
    shutil.rmtree(logs, ignore_errors=True)
    return logs


def new_machine(folder: Path, system: System = BOOKWORM) -> Machine:
    """A machine that was never booted, on an overlay of the base image."""
    machine = Machine(folder, system)
    qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base_image(system).disk, machine.disk)
    make_firmware_variables(system.firmware, machine.firmware_variables)
    return machine


def fresh_machine(system: System = BOOKWORM) -> Machine:
    """A machine with the snapshot FRESH: just booted, as an installer leaves it, kdumpd was never there."""
    image = base_image(system)
    return Machine(cached(f"fresh-{system}", machine_key(image), lambda folder: _first_boot(folder, image)), system)


def armed_machine(deb: Path, system: System = BOOKWORM) -> Machine:
    """A machine with the snapshot ARMED, made once for each combination of system, emulator, package and recipe."""
    fresh = fresh_machine(system)
    key = machine_key(base_image(system), deb.read_bytes())
    return Machine(cached(f"armed-{system}", key, lambda folder: _arm(folder, fresh, deb)), system)


def machine_key(image: Image, *more: bytes) -> str:
    """A snapshot is for the emulator that made it."""
    recipes = [Path(__file__).with_name(name).read_bytes() for name in ("machines.py", "guest.py")]
    return key_of(image.key, emulator().version, *recipes, *more)


def _first_boot(folder: Path, image: Image) -> None:
    system = image.system
    way = (system.boot_loader, system.firmware)
    machine = new_machine(folder, system)
    with machine.guest(f"first-boot-{system}") as guest:
        if way in STARTED_DIRECTLY:
            with _started_directly(machine, image) as first:
                first.boot()
                first.run(BOOT_LOADER_SETUP[way])
                first.shut_down()
            guest.boot()
        else:
            guest.boot()
            guest.run(BOOT_LOADER_SETUP[way])
        guest.save(FRESH)


def _started_directly(machine: Machine, image: Image) -> Guest:
    command_line = "root=/dev/vda2 ro console=ttyS0,115200"
    words = ["-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", command_line]
    return Guest(machine.disk, [*machine.argv, *words], logs=empty_logs(f"installer-{machine.system}"))


def _arm(folder: Path, fresh: Machine, deb: Path) -> None:
    with copy_of(fresh, folder).guest(f"armed-machine-{fresh.system}") as guest:
        guest.restore(FRESH)
        install(guest, deb)
        guest.write("/etc/kdumpd.yaml", POLICY)
        guest.run("systemctl enable --now kdumpd")
        guest.reboot()
        guest.save(ARMED)


def copy_of(machine: Machine, folder: Path) -> Machine:
    """The same with disks of its own: QEMU shares none with another QEMU."""
    for disk in (machine.disk, machine.firmware_variables):
        if disk.exists():
            shutil.copy(disk, folder / disk.name)
    return replace(machine, folder=folder)


@contextmanager
def borrowed(machine: Machine) -> Iterator[Machine]:
    """A copy for as long as it is needed."""
    with scratch_folder("borrowed") as folder:
        yield copy_of(machine, folder)


def add_kdump_tools(machine: Machine) -> None:
    """Gives an armed machine the snapshot BOTH, in which Debian's kdump-tools was installed after kdumpd."""
    done = machine.folder / BOTH
    if done.exists():
        return
    with machine.guest(BOTH) as guest:
        guest.restore(ARMED)
        # Its package makes the initrd of the system anew, which takes minutes here.
        guest.run("apt-get install --yes /root/kdump-tools.deb", deadline=2 * guest.deadlines.command)
        guest.save(BOTH)
    done.touch()


def without_snapshots(machine: Machine, folder: Path, snapshot: str = ARMED) -> Machine:
    """A copy as it is on its disk: a machine in another case can't go on from the memory of this one."""
    copy = copy_of(machine, folder)
    for disk in (copy.disk, copy.firmware_variables):
        qemu_img("snapshot", "-a", snapshot, disk)
    return copy


def secure_machine(armed: Machine, folder: Path) -> Machine:
    """A copy of an armed machine, powered off, in a case whose firmware starts only what is signed."""
    copy = without_snapshots(armed, folder)
    copy.firmware_variables.unlink()
    make_firmware_variables(Firmware.SECURE_BOOT, copy.firmware_variables)
    return replace(copy, system=replace(armed.system, firmware=Firmware.SECURE_BOOT))


def install(guest: Guest, deb: Path) -> None:
    """Installs the package as an administrator does, with apt."""
    guest.write("/root/kdumpd.deb", deb.read_bytes())
    guest.run("apt-get install --yes /root/kdumpd.deb")
