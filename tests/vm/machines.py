# SPDX-License-Identifier: LGPL-2.1-or-later
"""Machines that a story can begin with: a fresh one, and one that is installed, configured, rebooted and armed."""

import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.vm.guest import ORDINARY_FIRMWARE, SECURE_FIRMWARE, Firmware, Guest, qemu_argv
from tests.vm.image import SECURE_OVMF_VARS, Image, base_image, cache_folder, making

LOGS = Path(__file__).resolve().parents[2] / "build/vm-logs"
ARMED = "armed"
BOTH = "with-kdump-tools"
POLICY = "crashkernel: 192M\n"


@dataclass(frozen=True)
class Machine:
    """The disks of a machine in its own folder."""

    disk: Path
    firmware_variables: Path
    firmware: Firmware = ORDINARY_FIRMWARE

    def guest(self, name: str) -> Guest:
        """This machine, powered off; the consoles of its boots go to build/vm-logs/NAME."""
        return Guest(self.disk, self.argv, logs=empty_logs(name))

    @property
    def argv(self) -> list[str]:
        """What starts it."""
        return qemu_argv(self.disk, self.firmware_variables, self.firmware)


def empty_logs(name: str) -> Path:
    """Where the consoles of a guest go, without those of an earlier run."""
    logs = LOGS / name
    shutil.rmtree(logs, ignore_errors=True)
    return logs


def machine_in(folder: Path) -> Machine:
    return Machine(folder / "disk.qcow2", folder / "firmware.qcow2")


def fresh_machine(folder: Path) -> Machine:
    """A machine that was never booted, on an overlay of the base image."""
    image = base_image()
    machine = machine_in(folder)
    _overlay(image, machine)
    return machine


def armed_machine(deb: Path) -> Machine:
    """A machine with the snapshot ARMED, made once for each combination of image, package and recipe."""
    recipe = Path(__file__).read_bytes() + Path(__file__).with_name("guest.py").read_bytes()
    image = base_image()
    key = hashlib.sha256(image.key.encode() + deb.read_bytes() + recipe).hexdigest()[:12]
    folder = cache_folder() / f"armed-{key}"
    with making("armed"):
        if not folder.exists():
            # Nobody needs the others: the images are gigabytes, and what is armed is made of one of them.
            for old in {*cache_folder().glob("armed-*"), *cache_folder().glob("image-*")} - {image.disk.parent}:
                shutil.rmtree(old)
            _arm_in(folder, deb)
    return machine_in(folder)


def _arm_in(folder: Path, deb: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="arming-") as scratch:
        half = Path(scratch) / "half"
        half.mkdir()
        with fresh_machine(half).guest("armed-machine") as guest:
            guest.boot()
            # A server that was installed by an installer has a grub.cfg of its own making.
            guest.run("update-grub")
            install(guest, deb)
            guest.write("/etc/kdumpd.yaml", POLICY)
            guest.run("systemctl enable --now kdumpd")
            guest.reboot()
            guest.save(ARMED)
        half.rename(folder)


def copy_of(machine: Machine, folder: Path) -> Machine:
    """The same with disks of its own: QEMU shares none with another QEMU."""
    copy = machine_in(folder)
    shutil.copy(machine.disk, copy.disk)
    shutil.copy(machine.firmware_variables, copy.firmware_variables)
    return copy


def add_kdump_tools(machine: Machine) -> None:
    """Gives an armed machine the snapshot BOTH, in which Debian's kdump-tools was installed after kdumpd."""
    done = machine.disk.with_name(BOTH)
    if done.exists():
        return
    with machine.guest(BOTH) as guest:
        guest.restore(ARMED)
        # Its package makes the initrd of the system anew, which takes minutes here.
        guest.run("apt-get install --yes /root/kdump-tools.deb", deadline=2 * guest.deadlines.command)
        guest.save(BOTH)
    done.touch()


def secure_machine(armed: Machine, folder: Path) -> Machine:
    """A copy of an armed machine, powered off, in a case whose firmware starts only what is signed."""
    disk, variables = folder / "disk.qcow2", folder / "firmware.qcow2"
    shutil.copy(armed.disk, disk)
    subprocess.run(["qemu-img", "snapshot", "-a", ARMED, str(disk)], check=True)
    _to_qcow2(SECURE_OVMF_VARS, variables)
    return Machine(disk, variables, SECURE_FIRMWARE)


def _to_qcow2(source: Path, target: Path) -> None:
    # QEMU stores snapshots in every writable drive, so that of the firmware has to be able to hold them too.
    subprocess.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", str(source), str(target)], check=True)


def install(guest: Guest, deb: Path) -> None:
    """Installs the package as an administrator does, with apt."""
    guest.write("/root/kdumpd.deb", deb.read_bytes())
    guest.run("apt-get install --yes /root/kdumpd.deb")


def _overlay(image: Image, machine: Machine) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(image.disk), str(machine.disk)], check=True)
    shutil.copy(image.firmware_variables, machine.firmware_variables)
