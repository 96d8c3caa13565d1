# SPDX-License-Identifier: LGPL-2.1-or-later
"""What of an ordinary initrd this machine's dump kernel does not need to reach its store."""

from collections.abc import Iterator
from enum import StrEnum

from kdumpd.host.storage import LayerKind, Storage


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


# Nobody sits there who would look or answer, and a file system that needs a repair does not get one in little memory.
# Firmware of the drivers on the way to the store stays; the hooks see to that.
NEVER = (Part.FIRMWARE, Part.FSCK, Part.GRAPHICS)
PART_OF_LAYER = {
    LayerKind.LVM: Part.LVM,
    LayerKind.LUKS: Part.LUKS,
    LayerKind.MD: Part.MD,
    LayerKind.MULTIPATH: Part.MULTIPATH,
}


def unneeded(storage: Storage | None) -> tuple[Part, ...]:
    """What may be left out; where the way to the store is not known, only what no dump needs."""
    return (*NEVER, *_by_storage(storage)) if storage else NEVER


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


def pstore_modules(*, has_efi: bool) -> tuple[str, ...]:
    """Backends of pstore that nothing loads by itself in a dump kernel without udev. That of ACPI is built in."""
    return ("efi_pstore",) if has_efi else ()
