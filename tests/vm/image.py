# SPDX-License-Identifier: LGPL-2.1-or-later
"""Builds the guest: a Debian 12 server on a disk with an ESP and an ext4 root, from Debian's own packages.

No loop device and no mount is needed, so this works in a container: mmdebstrap makes the tree,
sfdisk the partition table, mtools the ESP and `mke2fs -d` the root file system.
"""

import contextlib
import fcntl
import hashlib
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
ESP_START, ESP_SIZE = 1 * MIB, 64 * MIB
ROOT_START, ROOT_SIZE = ESP_START + ESP_SIZE, 3072 * MIB
# Empty: for tests that have a store on a file system of its own.
SPARE_START, SPARE_SIZE = ROOT_START + ROOT_SIZE, 256 * MIB
ROOT_UUID = "6b64756d-7064-4000-8000-000000000001"
ESP_VOLUME_ID = "4B44-554D"

OVMF_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_VARS = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
# With the keys of Microsoft, which has signed Debian's shim, and Secure Boot switched on.
SECURE_OVMF_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd")
SECURE_OVMF_VARS = Path("/usr/share/OVMF/OVMF_VARS_4M.ms.fd")

SUITE = "bookworm"
SERVER_PACKAGES = (
    "apt", "dbus", "e2fsprogs", "initramfs-tools", "kmod", "less", "linux-image-cloud-amd64", "mount", "procps",
    "qemu-guest-agent", "systemd", "systemd-sysv", "udev", "util-linux-extra", "zstd",
)  # fmt: skip
BOOT_LOADER = ("grub-efi-amd64", "grub-efi-amd64-signed", "shim-signed")
# The guest has no network, so what the .deb depends on is there before apt installs it.
DEPENDENCIES_OF_THE_DEB = (
    "kexec-tools", "makedumpfile", "python3", "python3-gi", "python3-jinja2", "python3-pydbus",
    "python3-pyudev", "python3-yaml",
)  # fmt: skip
# These wait as packages in the guest's /root, for the stories in which they are there too; what they depend on is installed.
WAITING = {
    "kdump-tools": ("bsdextrautils", "busybox", "debconf", "file", "linux-base", "lsb-base", "ucf"),
    "dracut-core": ("cpio", "kpartx"),
    "rpm": ("debugedit", "librpmbuild9", "librpmsign9", "perl", "rpm-common", "rpm2cpio"),
}

# 00_header loads the GRUB modules that the signed image already has; what a hand-made first boot needs is this.
FIRST_GRUB_CFG = f"""\
search --no-floppy --fs-uuid --set=root {ROOT_UUID}
linux /boot/vmlinuz-{{release}} root=UUID={ROOT_UUID} ro console=ttyS0,115200
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
    """A bootable guest: `disk` and `firmware_variables` are qcow2, never booted themselves."""

    disk: Path
    firmware_variables: Path
    kernel_release: str
    key: str


def cache_folder() -> Path:
    """Where images, snapshots and consoles are kept: $KDUMPD_TEST_CACHE, else ~/.cache/kdumpd-tests."""
    folder = os.environ.get("KDUMPD_TEST_CACHE")
    return Path(folder) if folder else Path.home() / ".cache/kdumpd-tests"


def base_image() -> Image:
    """The image for what is in the archive now, built only when the cache has none.

    Raises:
        subprocess.CalledProcessError: a build tool failed; its output is on the terminal.
    """
    key = image_key()
    folder = cache_folder() / f"image-{key}"
    with making("image"):
        if not folder.exists():
            _build_in(folder)
    return Image(
        disk=folder / "disk.qcow2",
        firmware_variables=folder / "firmware.qcow2",
        kernel_release=(folder / "kernel-release").read_text(),
        key=key,
    )


@contextlib.contextmanager
def making(what: str) -> Iterator[None]:
    """One process makes it, the others wait for it."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build_in(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="building-") as scratch:
        _build(Path(scratch))
        (Path(scratch) / "finished").rename(folder)


def image_key() -> str:
    """A hash of what an image is made from: this file, and the versions that the archive has of its main parts."""
    wanted = (
        "linux-image-cloud-amd64", "systemd", "kexec-tools", "makedumpfile", "initramfs-tools", "grub-efi-amd64-signed",
        *WAITING,
    )  # fmt: skip
    policy = _output(["apt-cache", "policy", *wanted])
    versions = [line.strip() for line in policy.splitlines() if "Candidate:" in line]
    return hashlib.sha256(Path(__file__).read_bytes() + "\n".join(versions).encode()).hexdigest()[:12]


def _build(scratch: Path) -> None:
    tree = scratch / "tree"
    release = make_tree(
        tree, [*SERVER_PACKAGES, *BOOT_LOADER, *DEPENDENCIES_OF_THE_DEB, *itertools.chain.from_iterable(WAITING.values())]
    )
    # As root: the folder is ours, and the user that apt would rather be can not write into it.
    _run(["apt-get", "download", "--quiet=2", "-oAPT::Sandbox::User=root", *WAITING], folder=scratch)
    for name in WAITING:
        (deb,) = scratch.glob(f"{name}_*.deb")
        shutil.copy(deb, tree / f"root/{name}.deb")
    write_files(tree, {"etc/fstab": FSTAB, "etc/default/grub.d/console.cfg": GRUB_DEFAULTS})
    (tree / "boot/efi").mkdir(exist_ok=True)
    (tree / "boot/grub").mkdir(exist_ok=True)
    (tree / "boot/grub/grub.cfg").write_text(FIRST_GRUB_CFG.format(release=release))
    finished = scratch / "finished"
    finished.mkdir()
    raw = scratch / "disk.raw"
    _make_disk(raw, tree)
    _run(["qemu-img", "convert", "-q", "-O", "qcow2", str(raw), str(finished / "disk.qcow2")])
    _run(["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", str(OVMF_VARS), str(finished / "firmware.qcow2")])
    (finished / "kernel-release").write_text(release)
    raw.unlink()
    shutil.rmtree(tree)


def make_tree(tree: Path, packages: Iterable[str]) -> str:
    """Installs a server into a folder, and returns the release of its kernel."""
    _run([
        "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(packages)}",
        '--aptopt=Acquire::Languages "none"', "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
        SUITE, str(tree),
    ])  # fmt: skip
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
        disk.truncate(SPARE_START + SPARE_SIZE + MIB)
    esp_line = f"start={ESP_START // 512}, size={ESP_SIZE // 512}, type=uefi"
    root_line = f"start={ROOT_START // 512}, size={ROOT_SIZE // 512}, type=linux"
    spare_line = f"start={SPARE_START // 512}, size={SPARE_SIZE // 512}, type=linux"
    _run(["sfdisk", "--quiet", str(raw)], text=f"label: gpt\n{esp_line}\n{root_line}\n{spare_line}\n")

    esp = tree.parent / "esp.raw"
    _run(
        ["mkfs.vfat", "-C", "-F", "32", "-s", "1", "-i", ESP_VOLUME_ID.replace("-", ""), str(esp), str(ESP_SIZE // 1024)],
        quiet=True,
    )
    _run(["mmd", "-i", str(esp), "::/EFI", "::/EFI/BOOT", "::/EFI/debian"])
    boot = tree.parent / "grub.cfg"
    boot.write_text(f"search.fs_uuid {ROOT_UUID} root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n")
    for source, target in (
        (tree / "usr/lib/shim/shimx64.efi.signed", "::/EFI/BOOT/BOOTX64.EFI"),
        (tree / "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "::/EFI/BOOT/grubx64.efi"),
        (boot, "::/EFI/debian/grub.cfg"),
    ):
        _run(["mcopy", "-i", str(esp), str(source), target])
    with raw.open("r+b") as disk:
        disk.seek(ESP_START)
        disk.write(esp.read_bytes())
    _run([
        "mke2fs", "-q", "-t", "ext4", "-U", ROOT_UUID, "-d", str(tree), "-E", f"offset={ROOT_START}",
        str(raw), f"{ROOT_SIZE // 1024}k",
    ])  # fmt: skip


def _run(argv: Sequence[str], *, text: str = "", quiet: bool = False, folder: Path | None = None) -> None:
    subprocess.run(argv, check=True, input=text, text=True, stdout=subprocess.DEVNULL if quiet else None, cwd=folder)


def _output(argv: Sequence[str]) -> str:
    return subprocess.run(argv, check=True, text=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout


def _only(names: Iterable[str]) -> str:
    found = list(names)
    if len(found) != 1:
        raise RuntimeError(f"the guest has {len(found)} kernels, expected one: {found}")
    return found[0]
