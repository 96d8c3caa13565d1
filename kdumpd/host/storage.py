# SPDX-License-Identifier: LGPL-2.1-or-later
"""What lies between this machine and its root file system, on which the stores are: layers, disks and their drivers."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from kdumpd.files import exists, read_text
from kdumpd.host.modules import builtin_modules, is_loaded


class LayerKind(StrEnum):
    """What makes one block device out of others. OTHER: a device-mapper target that is none of these."""

    LVM = "lvm"
    LUKS = "luks"
    MD = "md"
    MULTIPATH = "multipath"
    OTHER = "other"


# How the uuid of a device-mapper device begins tells who made it (lvm, cryptsetup, multipath; kpartx puts partN- before that).
OWNERS = (
    (re.compile(r"LVM-"), LayerKind.LVM),
    (re.compile(r"CRYPT-"), LayerKind.LUKS),
    (re.compile(r"(part\d+-)?mpath-"), LayerKind.MULTIPATH),
)
MODULES_OF_LAYER = {
    LayerKind.LVM: ("dm_mod",),
    LayerKind.LUKS: ("dm_mod", "dm_crypt"),
    LayerKind.MULTIPATH: ("dm_mod", "dm_multipath"),
    LayerKind.OTHER: ("dm_mod",),
    LayerKind.MD: ("md_mod",),
}
MODULES_OF_LEVEL = {"raid4": "raid456", "raid5": "raid456", "raid6": "raid456"}
# An iSCSI session, a Ceph image, and what has no parent but the kernel itself (nbd, loop, NVMe over fabrics).
NOT_A_LOCAL_DISK = re.compile(r"/session\d+/|/devices/rbd/|/devices/virtual/")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One device that is made of others."""

    kind: LayerKind
    name: str
    uuid: str | None


@dataclass(frozen=True, kw_only=True)
class Storage:
    """The way to a file system: the layers from the top, and all modules that it takes in the running kernel, built in or not.

    `local`: every disk was found and is attached to this machine, not to a network.
    """

    device: str
    file_system: str
    layers: tuple[Layer, ...]
    modules: tuple[str, ...]
    local: bool

    @property
    def kinds(self) -> frozenset[LayerKind]:
        return frozenset(layer.kind for layer in self.layers)


def read_storage(root: Path, release: str) -> Storage | None:
    """What the root file system is on, or None when /proc does not tell."""
    mount = _root_mount(root)
    if mount is None:
        return None
    number, file_system, source = mount
    stack = list(dict.fromkeys(part for device in _devices(root, number, source) for part in _stack(device)))
    layers = [(device, layer) for device in stack if (layer := _layer(device))]
    disks = [path for device in stack if not _layer(device) for path in _controllers(device)]
    names = {file_system, *_layer_modules(layers), *(name for disk in disks for name in _drivers(root, disk))}
    builtin = builtin_modules(root, release)
    return Storage(
        device=source,
        file_system=file_system,
        layers=tuple(layer for _, layer in layers),
        modules=tuple(sorted(name for name in names if name in builtin or is_loaded(root, name))),
        local=bool(disks) and not any(NOT_A_LOCAL_DISK.search(str(disk)) for disk in disks),
    )


def _root_mount(root: Path) -> tuple[str, str, str] | None:
    """Device number, type and source of what is mounted at / (mountinfo is in proc(5)); the last one hides the others."""
    found = None
    for line in (read_text(root / "proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[4] == "/":
            file_system, source = after.split()[:2]
            found = (before.split()[2], file_system, source)
    return found


def _devices(root: Path, number: str, source: str) -> list[Path]:
    """The block devices of a mount, in /sys/devices. A btrfs has a number of its own, and may lie on several."""
    device = root / "sys/dev/block" / number
    if exists(device):
        return [device.resolve()]
    name = (root / source.lstrip("/")).resolve().name
    for members in (root / "sys/fs/btrfs").glob("*/devices"):
        if exists(members / name):
            return [member.resolve() for member in sorted(members.iterdir())]
    return []


def _stack(device: Path) -> Iterator[Path]:
    """A device and all that it is made of; of a partition the whole disk."""
    whole = device.parent if exists(device / "partition") else device
    yield whole
    for part in sorted((whole / "slaves").glob("*")):
        yield from _stack(part.resolve())


def _layer(device: Path) -> Layer | None:
    uuid = read_text(device / "dm/uuid")
    if uuid is not None:
        kind = next((kind for begins, kind in OWNERS if begins.match(uuid)), LayerKind.OTHER)
        return Layer(kind=kind, name=(read_text(device / "dm/name") or device.name).strip(), uuid=uuid.strip() or None)
    return Layer(kind=LayerKind.MD, name=device.name, uuid=None) if exists(device / "md") else None


def _layer_modules(layers: Iterable[tuple[Path, Layer]]) -> Iterator[str]:
    for device, layer in layers:
        yield from MODULES_OF_LAYER[layer.kind]
        level = (read_text(device / "md/level") or "").strip()
        yield MODULES_OF_LEVEL.get(level, level)


def _controllers(disk: Path) -> Iterator[Path]:
    """Where to begin to look for drivers: the disk, or where NVMe has made one of several paths (multipath), each of these."""
    if "/virtual/nvme-subsystem/" not in f"{disk}/":
        yield disk
        return
    for path in sorted(disk.parent.glob("nvme[0-9]*")):
        if path.is_symlink():
            yield path.resolve()


def _drivers(root: Path, disk: Path) -> Iterator[str]:
    """The modules that drive a disk, its controller, and what that hangs on."""
    for device in (disk, *disk.parents):
        if device == root / "sys/devices" or device == device.parent:
            return
        module = device / "driver/module"
        if exists(module):
            yield module.resolve().name
