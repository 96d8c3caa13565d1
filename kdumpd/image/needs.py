# SPDX-License-Identifier: LGPL-2.1-or-later
"""What of an ordinary initrd this machine's dump kernel does not need to reach its store."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from kdumpd.host.facts import Facts
from kdumpd.host.storage import LayerKind, Storage
from kdumpd.plan.doors import way


class Part(StrEnum):
    """Something that a generator puts into an initrd, and that can be left out. The hooks know these words."""

    FIRMWARE = "firmware"
    FSCK = "fsck"
    GRAPHICS = "graphics"
    NETWORK = "network"
    KEYBOARD = "keyboard"
    LVM = "lvm"
    LUKS = "luks"
    MD = "md"
    MULTIPATH = "multipath"
    DEVICE_MAPPER = "device-mapper"
    BTRFS = "btrfs"
    # The generator's own /init and what only that needs: udev, kmod, klibc.
    GENERATOR = "generator"


# Nobody sits there who would look or answer, and a file system that needs a repair does not get one in little memory.
# Firmware of the drivers on the way to the store stays; the hooks see to that.
NEVER = (Part.FIRMWARE, Part.FSCK, Part.GRAPHICS)
PART_OF_LAYER = {
    LayerKind.LVM: Part.LVM,
    LayerKind.LUKS: Part.LUKS,
    LayerKind.MD: Part.MD,
    LayerKind.MULTIPATH: Part.MULTIPATH,
}


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a dump initrd is made for.

    `direct`: our own /init mounts the root, by `modules`; else the generator's scripts do. `store_modules` are those for the
    stores on other disks.
    """

    direct: bool
    file_system: str
    modules: tuple[str, ...]
    store_modules: tuple[str, ...]
    unneeded: tuple[Part, ...]


def image_needs(facts: Facts) -> Needs:
    """What this machine's dump initrd has to do."""
    storage, direct = facts.storage, way(facts).direct
    return Needs(
        direct=direct,
        file_system=storage.file_system if storage else "",
        modules=(*(storage.modules if storage else ()), *facts.platform.watchdogs),
        store_modules=facts.store_modules,
        unneeded=unneeded(storage, direct=direct),
    )


def unneeded(storage: Storage | None, *, direct: bool) -> tuple[Part, ...]:
    """What may be left out; where the way to the root is not known, only what no dump needs."""
    by_way = (Part.GENERATOR,) if direct else ()
    return (*NEVER, *_by_storage(storage), *by_way) if storage else NEVER


def _by_storage(storage: Storage) -> Iterator[Part]:
    if storage.local:
        yield Part.NETWORK
    if LayerKind.OTHER not in storage.kinds:
        yield from (part for kind, part in PART_OF_LAYER.items() if kind not in storage.kinds)
    if LayerKind.LUKS not in storage.kinds:
        # Nobody is asked for a passphrase.
        yield Part.KEYBOARD
    if storage.kinds <= {LayerKind.MD}:
        yield Part.DEVICE_MAPPER
    if storage.file_system != "btrfs":
        yield Part.BTRFS
