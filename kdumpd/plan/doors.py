# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where in the dump kernel's boot the capture begins: in the initrd, or where that can't reach a store, under systemd."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from kdumpd.host.facts import Facts
from kdumpd.host.mounted import Mounted
from kdumpd.host.mounts import escape_for_unit, mount_unit
from kdumpd.host.storage import LayerKind
from kdumpd.policy.model import Loader

UDEV_UNITS = ("systemd-udevd.service", "systemd-udev-trigger.service")
MULTIPATH_UNIT = "multipathd.service"


class Door(StrEnum):
    """Who starts the capture: our /init, or systemd."""

    INITRD = "initrd"
    SYSTEMD = "systemd"


@dataclass(frozen=True, kw_only=True)
class Way:
    """`direct`: /init mounts the root by itself, without udev and without the generator's scripts. `reason`: why the capture
    does not begin as soon as it could; empty where it does.
    """

    door: Door
    direct: bool
    reason: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        if self.door is Door.SYSTEMD:
            return f"by systemd, because {self.reason}"
        if not self.direct:
            return f"by the initrd, after its own scripts have mounted /, because {self.reason}"
        return "by the initrd, as soon as / is mounted"


@dataclass(frozen=True, kw_only=True)
class Units:
    """What has to be started for the mounts that are systemd's: `wanted` without waiting for it, `awaited` before the capture."""

    wanted: tuple[str, ...]
    awaited: tuple[str, ...]


def way(facts: Facts, *, loader: Loader = Loader.KDUMPD) -> Way:
    """How the first store is reached. A second one that takes longer does not hold up the first."""
    direct = not facts.root_obstacle
    if loader is Loader.KDUMP_TOOLS:
        return Way(door=Door.SYSTEMD, direct=False, reason="kdump-tools makes an initrd of its own")
    needed = (*facts.state, *(store.mount for store in facts.stores[:1] if store.mount))
    if obstacle := next((mount.obstacle for mount in needed if mount.obstacle), None):
        return Way(door=Door.SYSTEMD, direct=direct, reason=obstacle)
    return Way(door=Door.INITRD, direct=direct, reason=facts.root_obstacle)


def units(facts: Facts) -> Units:
    """What systemd has to do before and while the capture runs, so that every store can be mounted.

    The devices appear by udev's rules: those of lvm2 and mdadm activate what is complete. A mount of /dev/mapper/NAME pulls in
    the unit that opens it (systemd-cryptsetup-generator 252 makes dev-mapper-NAME.device.requires); one by UUID does not. No
    one waits for a store: the capture itself starts its mount, with a time limit.
    """
    state = [mount for mount in facts.state if mount.obstacle]
    mounts = [*state, *(store.mount for store in facts.stores if store.mount and store.mount.obstacle)]
    if not mounts:
        return Units(wanted=(), awaited=())
    awaited = [*UDEV_UNITS, *_multipath(mounts), *(mount_unit(mount.point) for mount in state)]
    return Units(wanted=tuple(dict.fromkeys(_crypt(mounts, facts))), awaited=tuple(dict.fromkeys(awaited)))


def _multipath(mounts: list[Mounted]) -> Iterator[str]:
    if any(mount.storage and LayerKind.MULTIPATH in mount.storage.kinds for mount in mounts):
        yield MULTIPATH_UNIT


def _crypt(mounts: list[Mounted], facts: Facts) -> Iterator[str]:
    """But for what the initrd has opened on its way to the root."""
    open_already = set(facts.storage.layers) if facts.storage else set()
    for mount in mounts:
        for layer in mount.storage.layers if mount.storage else ():
            if layer.kind is LayerKind.LUKS and layer not in open_already:
                yield f"systemd-cryptsetup@{escape_for_unit(layer.name)}.service"
