# SPDX-License-Identifier: LGPL-2.1-or-later
"""What lies between this machine and a file system, the root's or that of a store: layers, disks and their drivers."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from kdumpd.files import exists, read_text
from kdumpd.host.crypttab import asks_a_person
from kdumpd.host.luks import NEXT_TO_NOTHING, UnlockMemory, one_after_the_other
from kdumpd.host.modules import builtin_modules, is_loaded
from kdumpd.host.mounts import MountEntry, mount_at, read_mounts


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
NAMES = {
    LayerKind.LVM: "LVM",
    LayerKind.LUKS: "LUKS",
    LayerKind.MD: "MD RAID",
    LayerKind.MULTIPATH: "multipath",
    LayerKind.OTHER: "device-mapper",
}
MODULES_OF_LAYER = {
    LayerKind.LVM: ("dm_mod",),
    LayerKind.LUKS: ("dm_mod", "dm_crypt"),
    LayerKind.MULTIPATH: ("dm_mod", "dm_multipath"),
    LayerKind.OTHER: ("dm_mod",),
    LayerKind.MD: ("md_mod",),
}
MODULES_OF_LEVEL = {"raid4": "raid456", "raid5": "raid456", "raid6": "raid456"}
# In udev's database, /run/udev/data/bMAJOR:MINOR.
UUID_OF_FILE_SYSTEM = re.compile(r"^E:ID_FS_UUID=(.+)$", re.MULTILINE)
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

    `local`: every disk was found and is attached to this machine, not to a network. `devices`: how many there are at the top,
    which only btrfs can have more than one of. `asks`: the LUKS volumes on the way that somebody has to open by hand.
    `unlock_memory`: what it takes to open them, as far as this user may see.
    """

    device: str
    file_system: str
    layers: tuple[Layer, ...]
    modules: tuple[str, ...]
    local: bool
    devices: int = 1
    asks: tuple[str, ...] = ()
    unlock_memory: UnlockMemory = NEXT_TO_NOTHING

    @property
    def obstacle(self) -> str:
        """Why mount(8) alone can't mount it, in words that follow "it is"; empty where it can."""
        if self.layers:
            return " ".join(dict.fromkeys(f"on {NAMES[layer.kind]}" for layer in self.layers))
        if not self.local:
            return "not on a disk of this machine"
        return f"on {self.devices} devices" if self.devices > 1 else ""

    @property
    def kinds(self) -> frozenset[LayerKind]:
        return frozenset(layer.kind for layer in self.layers)


def read_storage(root: Path, release: str, point: str = "/") -> Storage | None:
    """What the file system that is mounted at `point` is on, or None when /proc does not tell."""
    mount = mount_at(read_mounts(root), point)
    if mount is None:
        return None
    devices = _devices(root, mount)
    stack = list(dict.fromkeys(part for device in devices for part in _stack(device)))
    layers = [(device, layer) for device in stack if (layer := _layer(device))]
    disks = [path for device in stack if not _layer(device) for path in _controllers(device)]
    names = {mount.type, *_layer_modules(layers), *(name for disk in disks for name in _drivers(root, disk))}
    builtin = builtin_modules(root, release)
    return Storage(
        device=mount.source,
        file_system=mount.type,
        layers=tuple(layer for _, layer in layers),
        modules=tuple(sorted(name for name in names if name in builtin or is_loaded(root, name))),
        local=bool(disks) and not any(NOT_A_LOCAL_DISK.search(str(disk)) for disk in disks),
        devices=len(devices) or 1,
        asks=tuple(layer.name for _, layer in layers if layer.kind is LayerKind.LUKS and asks_a_person(root, layer.name)),
        unlock_memory=one_after_the_other(_encrypted(root, layers)),
    )


def stable_source(root: Path, mount: MountEntry) -> str:
    """What is mounted, by a name that another kernel knows too: by udev's record, else by its links; else as it is called now."""
    for device in _devices(root, mount):
        record = read_text(root / "run/udev/data" / f"b{(read_text(device / 'dev') or '').strip()}") or ""
        links = root / "dev/disk/by-uuid"
        linked = [link.name for link in sorted(links.glob("*")) if link.resolve().name == device.name]
        if found := next(iter([*UUID_OF_FILE_SYSTEM.findall(record), *linked]), None):
            return f"UUID={found}"
    return mount.source


def _devices(root: Path, mount: MountEntry) -> list[Path]:
    """The block devices of a mount, in /sys/devices. A btrfs has a number of its own, and may lie on several."""
    device = root / "sys/dev/block" / mount.number
    if exists(device):
        return [device.resolve()]
    name = (root / mount.source.lstrip("/")).resolve().name
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


def _encrypted(root: Path, layers: Iterable[tuple[Path, Layer]]) -> Iterator[Path]:
    """The devices with what is encrypted on them."""
    for device, layer in layers:
        if layer.kind is LayerKind.LUKS:
            yield from (root / "dev" / slave.name for slave in sorted((device / "slaves").glob("*")))


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
