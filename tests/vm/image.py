# SPDX-License-Identifier: LGPL-2.1-or-later
"""Builds a guest: a server on a disk with an ESP and an ext4 root, from Debian's own packages.

No loop device and no mount is needed, so this works in a container: mmdebstrap makes the tree,
sfdisk the partition table, mtools the ESP and `mke2fs -d` the root file system.
"""

import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.vm.cache import cached, key_of, scratch_folder
from tests.vm.emulator import emulator, qemu_img
from tests.vm.systems import BOOKWORM, BootLoader, Firmware, System

MIB = 1 << 20
ESP_START, ESP_SIZE = 1 * MIB, 256 * MIB
ROOT_START, ROOT_SIZE = ESP_START + ESP_SIZE, 3072 * MIB
# Empty: for tests that have a store on a file system of its own.
SPARE_START, SPARE_SIZE = ROOT_START + ROOT_SIZE, 256 * MIB
# GRUB of a BIOS keeps its core there.
CORE_START, CORE_SIZE = SPARE_START + SPARE_SIZE, 1 * MIB
# What mke2fs of Debian 13 turns on and GRUB of Debian 12 can't read.
UNKNOWN_TO_OLD_GRUB = "^metadata_csum_seed,^orphan_file"
BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
ROOT_UUID = "6b64756d-7064-4000-8000-000000000001"
ESP_VOLUME_ID = "4B44-554D"

# The keys of Microsoft, which has signed Debian's shim, are in the second, with Secure Boot switched on.
FIRMWARE_VARIABLES = {Firmware.UEFI: "OVMF_VARS_4M.fd", Firmware.SECURE_BOOT: "OVMF_VARS_4M.ms.fd"}

SERVER_PACKAGES = (
    "apt", "dbus", "e2fsprogs", "kmod", "less", "mount", "procps", "qemu-guest-agent", "systemd", "systemd-sysv", "udev",
    "util-linux-extra", "zstd",
)  # fmt: skip
# GRUB's signed image is what a machine with UEFI boots; grub-install puts the other one on the disk of a BIOS.
BOOT_LOADER_PACKAGES = {
    (BootLoader.GRUB, Firmware.UEFI): ("grub-efi-amd64", "grub-efi-amd64-signed", "shim-signed"),
    (BootLoader.GRUB, Firmware.SECURE_BOOT): ("grub-efi-amd64", "grub-efi-amd64-signed", "shim-signed"),
    (BootLoader.GRUB, Firmware.BIOS): ("grub-pc",),
    (BootLoader.SYSTEMD_BOOT, Firmware.UEFI): ("systemd-boot",),
}
# The guest has no network, so what the .deb depends on is there before apt installs it.
DEPENDENCIES_OF_THE_DEB = (
    "kexec-tools", "makedumpfile", "python3", "python3-gi", "python3-jinja2", "python3-pydbus",
    "python3-pyudev", "python3-yaml",
)  # fmt: skip
# These wait as packages in the guest's /root, for the stories in which they are there too; what they need is installed.
WAITING = ("kdump-tools", "dracut-core", "rpm")

# 00_header loads the GRUB modules that the signed image already has; what a hand-made first boot needs is this.
COMMAND_LINE = f"root=UUID={ROOT_UUID} ro console=ttyS0,115200"
FIRST_GRUB_CFG = f"""\
search --no-floppy --fs-uuid --set=root {ROOT_UUID}
linux /boot/vmlinuz-{{release}} {COMMAND_LINE}
initrd /boot/initrd.img-{{release}}
boot
"""
FSTAB = f"UUID={ROOT_UUID} / ext4 errors=remount-ro 0 1\nUUID={ESP_VOLUME_ID} /boot/efi vfat umask=0077 0 1\n"
GRUB_DEFAULTS = """\
# The test harness reads the serial console; without quiet it sees where a boot hangs.
GRUB_CMDLINE_LINUX="console=ttyS0,115200"
GRUB_CMDLINE_LINUX_DEFAULT=
GRUB_TIMEOUT=0
GRUB_DISABLE_OS_PROBER=true
"""
GUEST_FILES = {
    "etc/hostname": "guest\n",
    "etc/hosts": "127.0.0.1 localhost guest\n",
    "etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf": (
        "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --keep-baud 115200 %I linux\n"
    ),
    "etc/systemd/journald.conf.d/persistent.conf": "[Journal]\nStorage=persistent\n",
}
# They would start minutes into a test and take the emulated CPU away from it.
MASKED_UNITS = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer")


@dataclass(frozen=True, kw_only=True)
class Image:
    """A bootable guest that was never booted: its disk, and kernel and initrd of it beside, for whoever starts it directly."""

    folder: Path
    key: str
    system: System

    @property
    def disk(self) -> Path:
        return self.folder / "disk.qcow2"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.img"

    @property
    def kernel_release(self) -> str:
        return (self.folder / "kernel-release").read_text()


def base_image(system: System = BOOKWORM) -> Image:
    """The image of a system for what is in the archive now, built only when the cache has none.

    Raises:
        subprocess.CalledProcessError: a build tool failed; its output is on the terminal.
    """
    key = image_key(system)
    return Image(folder=cached(f"image-{system}", key, lambda folder: _build(folder, system)), key=key, system=system)


@cache
def image_key(system: System) -> str:
    """A hash of what an image is made from: this file, the system, and the versions of its main parts in the archive."""
    parts = ("systemd", "kexec-tools", "makedumpfile", "python3", system.generator.value, *_boot_loader(system), *WAITING)
    versions = system.archive.versions(*parts)
    return key_of(Path(__file__).read_bytes(), repr(system), _kernel_package(system), *versions.values())


def _kernel_package(system: System) -> str:
    """The package with the kernel itself. The one that always depends on the newest is pinned below those of the suite."""
    return system.archive.dependency(system.kernel, "linux-image-")


def _boot_loader(system: System) -> tuple[str, ...]:
    return BOOT_LOADER_PACKAGES[system.boot_loader, system.firmware]


def _build(finished: Path, system: System) -> None:
    with scratch_folder("image") as scratch:
        tree = scratch / "tree"
        needs = {package for name in WAITING for package in system.archive.needs(name)} - set(WAITING)
        release = make_tree(tree, system, [*_boot_loader(system), *DEPENDENCIES_OF_THE_DEB, *sorted(needs)])
        for name in WAITING:
            system.archive.download(name, tree / "root")
        write_files(tree, {"etc/fstab": FSTAB, "etc/kernel/cmdline": COMMAND_LINE + "\n"})
        (tree / "boot/efi").mkdir(exist_ok=True)
        if system.boot_loader is BootLoader.GRUB:
            (tree / "boot/grub").mkdir(exist_ok=True)
            write_files(tree, {
                "etc/default/grub.d/console.cfg": GRUB_DEFAULTS,
                "boot/grub/grub.cfg": FIRST_GRUB_CFG.format(release=release),
            })  # fmt: skip
        raw = scratch / "disk.raw"
        _make_disk(raw, tree)
        qemu_img("convert", "-q", "-O", "qcow2", raw, finished / "disk.qcow2")
        shutil.copy(tree / f"boot/vmlinuz-{release}", finished / "vmlinuz")
        shutil.copy(tree / f"boot/initrd.img-{release}", finished / "initrd.img")
        (finished / "kernel-release").write_text(release)


def make_firmware_variables(firmware: Firmware, target: Path) -> None:
    """The store of a new machine's UEFI. As qcow2: QEMU keeps snapshots in every writable drive."""
    if firmware in FIRMWARE_VARIABLES:
        qemu_img("convert", "-q", "-f", "raw", "-O", "qcow2", emulator().firmware(FIRMWARE_VARIABLES[firmware]), target)


def make_tree(tree: Path, system: System, packages: Iterable[str]) -> str:
    """Installs a server into a folder, and returns the release of its kernel."""
    system.archive.make_tree(
        tree,
        [*SERVER_PACKAGES, system.generator.value, _kernel_package(system), *packages],
        variant="minbase",
        options=["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"],
    )
    write_files(tree, GUEST_FILES)
    for unit in MASKED_UNITS:
        mask = tree / "etc/systemd/system" / unit
        mask.unlink(missing_ok=True)
        mask.symlink_to("/dev/null")
    _run(["chroot", str(tree), "passwd", "--quiet", "--delete", "root"])
    return _only(path.name.removeprefix("vmlinuz-") for path in (tree / "boot").glob("vmlinuz-*"))


def write_files(tree: Path, files: Mapping[str, str]) -> None:
    """Puts configuration into a tree that was never booted."""
    for name, text in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _make_disk(raw: Path, tree: Path) -> None:
    with raw.open("wb") as disk:
        disk.truncate(CORE_START + CORE_SIZE + MIB)
    esp_line = f"start={ESP_START // 512}, size={ESP_SIZE // 512}, type=uefi"
    root_line = f"start={ROOT_START // 512}, size={ROOT_SIZE // 512}, type=linux"
    spare_line = f"start={SPARE_START // 512}, size={SPARE_SIZE // 512}, type=linux"
    core_line = f"start={CORE_START // 512}, size={CORE_SIZE // 512}, type={BIOS_BOOT}"
    _run(["sfdisk", "--quiet", str(raw)], text=f"label: gpt\n{esp_line}\n{root_line}\n{spare_line}\n{core_line}\n")

    esp = tree.parent / "esp.raw"
    _run(
        ["mkfs.vfat", "-C", "-F", "32", "-s", "1", "-i", ESP_VOLUME_ID.replace("-", ""), str(esp), str(ESP_SIZE // 1024)],
        quiet=True,
    )
    _run(["mmd", "-i", str(esp), "::/EFI", "::/EFI/BOOT", "::/EFI/debian"])
    boot = tree.parent / "grub.cfg"
    boot.write_text(f"search.fs_uuid {ROOT_UUID} root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n")
    shim = tree / "usr/lib/shim/shimx64.efi.signed"
    if shim.exists():
        for source, target in (
            (shim, "::/EFI/BOOT/BOOTX64.EFI"),
            (tree / "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "::/EFI/BOOT/grubx64.efi"),
            (boot, "::/EFI/debian/grub.cfg"),
        ):
            _run(["mcopy", "-i", str(esp), str(source), target])
    with raw.open("r+b") as disk:
        disk.seek(ESP_START)
        disk.write(esp.read_bytes())
    _run([
        "mke2fs", "-q", "-t", "ext4", "-O", UNKNOWN_TO_OLD_GRUB, "-U", ROOT_UUID, "-d", str(tree), "-E", f"offset={ROOT_START}",
        str(raw), f"{ROOT_SIZE // 1024}k",
    ])  # fmt: skip


def _run(argv: Sequence[str], *, text: str = "", quiet: bool = False) -> None:
    subprocess.run(argv, check=True, input=text, text=True, stdout=subprocess.DEVNULL if quiet else None)


def _only(names: Iterable[str]) -> str:
    found = list(names)
    if len(found) != 1:
        raise RuntimeError(f"the guest has {len(found)} kernels, expected one: {found}")
    return found[0]
