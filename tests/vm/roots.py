# SPDX-License-Identifier: LGPL-2.1-or-later
"""Machines whose root is on something else than a plain ext4 partition, armed.

No loop device and no device-mapper is needed here: a helper machine, which has all the disks, makes them by the ordinary commands
(make-roots.sh). It is the server itself, on an ext4 that `mke2fs -d` fills, with that script for its init.

All of them are started by QEMU itself, without firmware and boot loader, which saves half a minute for each boot.
"""

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.vm.cache import cached, key_of, scratch_folder
from tests.vm.emulator import emulator, qemu_img
from tests.vm.guest import FLUSHED_TO_FILE, TIMEOUT_FACTOR, Guest, bare_machine
from tests.vm.image import DEPENDENCIES_OF_THE_DEB, image_key, make_tree, write_files
from tests.vm.machines import ARMED, POLICY, empty_logs
from tests.vm.systems import BOOKWORM

TOOLS = ("btrfs-progs", "busybox", "cryptsetup", "cryptsetup-initramfs", "fdisk", "lvm2", "mdadm", "xfsprogs")
SCRIPT = Path(__file__).with_name("make-roots.sh")
SCRIPT_IN_TREE, LAYOUTS_IN_TREE = "root/make-roots.sh", "root/layouts"
ALL_MADE = "all roots are made"
MAKING_DEADLINE = 600 * TIMEOUT_FACTOR
DISK_SIZE = "2G"
SERVER_SIZE = "1200M"
SYSTEM_INITRD, INITRD_WITH_KEY = "initrd", "initrd-with-key"
KEY = "etc/keys/system.key"

UUIDS = {
    name: f"6b64756d-7064-4000-8000-00000000001{number}" for number, name in enumerate(("xfs", "dump", "btrfs", "array", "luks"))
}
# What nobody looks at; each takes seconds of a boot on an emulated CPU.
MORE_MASKED_UNITS = (
    "e2scrub_reap.service", "getty.target", "lvm2-monitor.service", "mdmonitor.service", "systemd-journal-flush.service",
    "systemd-update-utmp.service", "systemd-user-sessions.service",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A way to have a root: its disks, what the kernel is told of it, and what is in /etc for it.

    `way` is what `kdumpd status` says of the capture.
    """

    name: str
    disks: tuple[str, ...]
    root: str
    files: Mapping[str, str] = field(repr=False)
    way: str
    initrd: str = SYSTEM_INITRD

    def __str__(self) -> str:
        return self.name


DIRECTLY = "by the initrd, as soon as / is mounted"
BY_ITS_SCRIPTS = "by the initrd, after its own scripts have mounted /, because / is on {}"
XFS = Layout(
    name="xfs",
    disks=("xfs", "dump"),
    root=f"root=UUID={UUIDS['xfs']}",
    files={
        "etc/fstab": f"UUID={UUIDS['xfs']} / xfs defaults 0 0\nUUID={UUIDS['dump']} /srv/dump ext4 defaults 0 2\n",
        "srv/dump/not-mounted": "",
    },
    way=DIRECTLY,
)
BTRFS = Layout(
    name="btrfs",
    disks=("btrfs",),
    root=f"root=UUID={UUIDS['btrfs']} rootflags=subvol=@",
    files={"etc/fstab": f"UUID={UUIDS['btrfs']} / btrfs subvol=@ 0 0\n"},
    way=DIRECTLY,
)
LVM = Layout(
    name="lvm",
    disks=("first", "second"),
    root="root=/dev/mapper/server-root",
    files={
        "etc/fstab": "/dev/mapper/server-root / ext4 errors=remount-ro 0 1\n",
        "etc/mdadm/mdadm.conf": f"HOMEHOST <ignore>\nARRAY /dev/md0 metadata=1.2 UUID={UUIDS['array'].replace('-', '')}\n",
    },
    way=BY_ITS_SCRIPTS.format("LVM on MD RAID"),
)
LUKS = Layout(
    name="luks",
    disks=("luks",),
    root="root=/dev/mapper/system",
    files={
        "etc/fstab": "/dev/mapper/system / ext4 errors=remount-ro 0 1\n",
        "etc/crypttab": f"system UUID={UUIDS['luks']} /{KEY} luks,initramfs\n",
        "etc/cryptsetup-initramfs/conf-hook": f'KEYFILE_PATTERN="/{KEY}"\n',
        "etc/initramfs-tools/conf.d/umask": "UMASK=0077\n",
        KEY: "a key that everybody may know\n",
    },
    way=BY_ITS_SCRIPTS.format("LUKS"),
    initrd=INITRD_WITH_KEY,
)
LAYOUTS = (XFS, BTRFS, LVM, LUKS)
CRASHKERNEL = "crashkernel=192M"


@dataclass(frozen=True)
class RootMachine:
    """The disks of one machine in its own folder, and what starts it."""

    folder: Path
    kernel: Path
    initrd: Path
    layout: Layout

    @property
    def disks(self) -> list[Path]:
        return [_disk(self.folder, name) for name in self.layout.disks]

    def guest(self, name: str) -> Guest:
        """This machine, powered off; the consoles of its boots go to build/vm-logs/NAME."""
        command_line = f"{self.layout.root} ro console=ttyS0,115200 {CRASHKERNEL}"
        argv = [*_started(self.kernel, self.initrd, command_line), *_drives(self.disks)]
        return Guest(self.disks[0], argv, logs=empty_logs(name))


def armed_root_machine(deb: Path, layout: Layout) -> RootMachine:
    """A machine with the snapshot ARMED, made once for each combination of image, package and recipe."""
    made = _disks_of_all(deb)
    key = key_of(made.name, emulator().version)
    return _machine(made, cached(f"armed-root-{layout}", key, lambda folder: _arm(folder, made, layout)), layout)


def _arm(folder: Path, made: Path, layout: Layout) -> None:
    for name in layout.disks:
        _overlay(_disk(made, name), _disk(folder, name))
    with _machine(made, folder, layout).guest(f"armed-{layout}") as guest:
        guest.boot()
        guest.run("systemctl enable --now kdumpd")
        guest.save(ARMED)


def _machine(made: Path, folder: Path, layout: Layout) -> RootMachine:
    return RootMachine(folder, made / "vmlinuz", made / layout.initrd, layout)


def _disks_of_all(deb: Path) -> Path:
    """The folder with the disks of all layouts, with the package installed; they are never booted themselves."""
    recipe = [path.read_bytes() for path in (Path(__file__), SCRIPT, Path(__file__).with_name("guest.py"))]
    return cached("roots", key_of(image_key(BOOKWORM), deb.read_bytes(), *recipe), lambda finished: _build(finished, deb))


def _build(finished: Path, deb: Path) -> None:
    with scratch_folder("roots") as scratch:
        _fill(scratch, finished, deb)


def _fill(scratch: Path, finished: Path, deb: Path) -> None:
    tree = scratch / "tree"
    release = make_tree(tree, BOOKWORM, [*DEPENDENCIES_OF_THE_DEB, *TOOLS])
    for unit in MORE_MASKED_UNITS:
        (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")
    shutil.copy(deb, tree / "root/kdumpd.deb")
    _run(["chroot", str(tree), "dpkg", "--install", "/root/kdumpd.deb"], quiet=True)
    write_files(tree, {"etc/kdumpd.yaml": POLICY})
    write_files(tree / LAYOUTS_IN_TREE, {"uuids": "".join(f"{name.upper()}_UUID={uuid}\n" for name, uuid in UUIDS.items())})
    for layout in LAYOUTS:
        write_files(tree / LAYOUTS_IN_TREE / layout.name, layout.files)
    shutil.copy(SCRIPT, tree / SCRIPT_IN_TREE)
    (tree / SCRIPT_IN_TREE).chmod(0o755)
    server = scratch / "server.raw"
    _run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(server), SERVER_SIZE], quiet=True)

    shutil.copy(tree / f"boot/vmlinuz-{release}", finished / "vmlinuz")
    shutil.copy(tree / f"boot/initrd.img-{release}", finished / SYSTEM_INITRD)
    write_files(tree, LUKS.files)
    # It complains of all that a chroot has not, but does what the option "initramfs" in crypttab asks for.
    _run(["chroot", str(tree), "mkinitramfs", "-o", "/root/initrd", release], quiet=True)
    shutil.move(tree / "root/initrd", finished / INITRD_WITH_KEY)
    shutil.rmtree(tree)
    _make_disks(server, finished)


def _make_disks(server: Path, finished: Path) -> None:
    disks = [_disk(finished, name) for layout in LAYOUTS for name in layout.disks]
    for disk in disks:
        qemu_img("create", "-q", "-f", "qcow2", disk, DISK_SIZE)
    command_line = f"root=/dev/vda ro console=ttyS0,115200 panic=-1 init=/{SCRIPT_IN_TREE}"
    logs = empty_logs("make-roots")
    logs.mkdir(parents=True)
    console = logs / "console.log"
    _run(
        [
            "setpriv", "--pdeathsig", "KILL", *_started(finished / "vmlinuz", finished / SYSTEM_INITRD, command_line),
            "-no-reboot", "-action", "shutdown=poweroff", "-serial", f"file:{console}",
            "-drive", f"if=none,id=server,format=raw,cache=unsafe,file={server}", "-device", "virtio-blk-pci,drive=server",
            *_drives(disks),
        ],
        deadline=MAKING_DEADLINE,
    )  # fmt: skip
    if ALL_MADE not in console.read_text(errors="replace"):
        raise RuntimeError(f"the roots could not be made, see {console}")


def _started(kernel: Path, initrd: Path, command_line: str) -> list[str]:
    return [*bare_machine("q35,hpet=off"), "-kernel", str(kernel), "-initrd", str(initrd), "-append", command_line]


def _drives(disks: Sequence[Path]) -> Iterator[str]:
    """What udev links in /dev/disk/by-id is virtio-SERIAL."""
    for disk in disks:
        yield from ("-drive", f"if=none,id={disk.stem},format=qcow2,{FLUSHED_TO_FILE},file={disk}")
        yield from ("-device", f"virtio-blk-pci,drive={disk.stem},serial={disk.stem}")


def _disk(folder: Path, name: str) -> Path:
    return folder / f"{name}.qcow2"


def _overlay(base: Path, overlay: Path) -> None:
    qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, overlay)


def _run(argv: Sequence[str], *, quiet: bool = False, deadline: float | None = None) -> None:
    output = subprocess.DEVNULL if quiet else None
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=deadline)
