# SPDX-License-Identifier: LGPL-2.1-or-later
"""The systems that kdumpd is tried on: a test names the one that it needs."""

from dataclasses import dataclass
from enum import Enum

from tests.vm.archive import Archive


class Generator(Enum):
    """The package that makes the system's initrd."""

    INITRAMFS_TOOLS = "initramfs-tools"
    DRACUT = "dracut"


class BootLoader(Enum):
    """The program that starts the kernel."""

    GRUB = "GRUB"
    SYSTEMD_BOOT = "systemd-boot"


class Firmware(Enum):
    """The firmware of the virtual machine."""

    UEFI = "UEFI"
    SECURE_BOOT = "UEFI with Secure Boot"
    BIOS = "BIOS"


@dataclass(frozen=True, kw_only=True)
class System:
    """A server as an installer leaves it, on an ext4 root."""

    name: str
    archive: Archive
    kernel: str = "linux-image-cloud-amd64"
    generator: Generator = Generator.INITRAMFS_TOOLS
    boot_loader: BootLoader = BootLoader.GRUB
    firmware: Firmware = Firmware.UEFI

    def __str__(self) -> str:
        return self.name

    @property
    def parts(self) -> str:
        """What it is made of beside its packages."""
        return f"{self.generator.value}, {self.boot_loader.value}, {self.firmware.value}"


GENERIC_KERNEL = "linux-image-amd64"
BOOKWORM = System(name="bookworm", archive=Archive("bookworm"))
TRIXIE = System(name="trixie", archive=Archive("trixie"))
# The two that every capability of kdumpd is tried on.
DEBIANS = (BOOKWORM, TRIXIE)
MATRIX = (
    BOOKWORM,
    System(name="bookworm-backports", archive=Archive("bookworm", backports=True)),
    System(name="bookworm-generic", archive=Archive("bookworm"), kernel=GENERIC_KERNEL),
    System(name="bookworm-secure-boot", archive=Archive("bookworm"), firmware=Firmware.SECURE_BOOT),
    TRIXIE,
    System(name="trixie-backports", archive=Archive("trixie", backports=True)),
    System(name="trixie-generic", archive=Archive("trixie"), kernel=GENERIC_KERNEL),
    System(name="trixie-secure-boot", archive=Archive("trixie"), firmware=Firmware.SECURE_BOOT),
    System(name="trixie-dracut", archive=Archive("trixie"), generator=Generator.DRACUT),
    System(name="trixie-systemd-boot", archive=Archive("trixie"), boot_loader=BootLoader.SYSTEMD_BOOT),
    System(name="trixie-bios", archive=Archive("trixie"), firmware=Firmware.BIOS),
    System(name="testing", archive=Archive("testing")),
)
