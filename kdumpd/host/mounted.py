# SPDX-License-Identifier: LGPL-2.1-or-later
"""File systems beside the root's: what a dump kernel has to know to mount one of them, and whether it takes systemd to do so."""

import re
from dataclasses import dataclass
from pathlib import Path

from kdumpd.host import layout
from kdumpd.host.mounts import MountEntry, has_mount_unit, mount_at, mounts_on_the_way, read_fstab, read_mounts
from kdumpd.host.storage import Storage, read_storage, stable_source
from kdumpd.parameters import values

# Without these, another folder would be mounted, or nothing. What else is in mountinfo are habits and limits of a normal boot,
# and some of it can't be given back to mount(8) in every kernel.
NEEDED_OPTIONS = ("subvol=", "logdev=", "rtdev=")
# What an /init that knows nothing of volumes can mount by itself.
SIMPLE_FILE_SYSTEMS = ("ext2", "ext3", "ext4", "xfs", "btrfs")
# What /init can find without udev; /dev/disk/… and /dev/mapper/… are udev's work.
SIMPLE_ROOT = re.compile(r"(UUID|LABEL|PARTUUID|PARTLABEL)=.+|/dev/[^/]+")


@dataclass(frozen=True, kw_only=True)
class Mounted:
    """A file system that is mounted (`now`), or that /etc/fstab would mount, anywhere but at /.

    `source` is a name that another boot knows too. `folder` is what of the file system is mounted there. `on_root`: it is the
    root's own file system once more, as a rule a subvolume. `inside` is the mount that has to be there before, if that is not
    one on the way to /var/lib/kdumpd, which come first in any case. `has_unit`: systemd knows how to mount it. `storage` is
    None where nobody can tell.
    """

    point: str
    source: str
    type: str
    options: str = ""
    folder: str = "/"
    now: bool = True
    on_root: bool = False
    inside: str = ""
    has_unit: bool = True
    storage: Storage | None

    @property
    def obstacle(self) -> str:
        """Why nobody but systemd can mount it in a dump kernel, in words; empty where mount(8) can."""
        if not self.now:
            return f"{self.point} is not mounted now"
        if self.inside:
            return f"{self.point} is inside of {self.inside}, which is to be mounted before"
        if self.folder != "/" and self.type != "btrfs":
            return f"{self.point} is a bind mount"
        if self.on_root:
            return ""
        if self.storage is None or self.storage.obstacle:
            return f"{self.point} is {self.storage.obstacle if self.storage else 'on something that the kernel does not tell'}"
        return ""


def read_mounted(root: Path, release: str, path: str) -> Mounted | None:
    """What holds a path, or None when that is what is mounted at /."""
    mounts, planned = read_mounts(root), mounts_on_the_way(read_fstab(root), path)
    way = mounts_on_the_way(mounts, path)
    deepest = way[-1] if way else None
    if planned and len(planned[-1].point) > len(deepest.point if deepest else "/"):
        return _not_mounted(planned[-1])
    return _mounted(root, release, way) if deepest and deepest.point != "/" else None


def read_mounts_of_state(root: Path, release: str) -> tuple[Mounted, ...]:
    """All mounts but that of / on the way to /var/lib/kdumpd, outermost first."""
    way = _way_to_state(read_mounts(root))
    return tuple(_mounted(root, release, way[: index + 1]) for index, mount in enumerate(way) if mount.point != "/")


def _way_to_state(mounts: tuple[MountEntry, ...]) -> tuple[MountEntry, ...]:
    return mounts_on_the_way(mounts, layout.absolute(layout.STATE))


def root_obstacle(root: Path, storage: Storage | None, command_line: str) -> str:
    """Why it takes more than an /init of a few lines to mount the root, in words; empty where it does not."""
    if storage is None:
        return "the kernel does not tell what / is on"
    if storage.obstacle:
        return f"/ is {storage.obstacle}"
    if storage.file_system not in SIMPLE_FILE_SYSTEMS:
        return f"/ is of the type {storage.file_system}"
    if mount_at(read_mounts(root), "/usr"):
        return "/usr is a file system of its own"
    named = values(command_line, "root")
    if not named:
        return "the command line does not say what / is on"
    return "" if SIMPLE_ROOT.fullmatch(named[-1]) else f"only udev knows what root={named[-1]} is"


def _mounted(root: Path, release: str, way: tuple[MountEntry, ...]) -> Mounted:
    mount, of_root = way[-1], mount_at(way, "/")
    first = {"/", *(entry.point for entry in _way_to_state(read_mounts(root)))}
    before = [entry.point for entry in way[:-1] if entry.point not in first]
    return Mounted(
        point=mount.point,
        source=stable_source(root, mount),
        type=mount.type,
        options=needed_options(mount),
        folder=mount.folder,
        on_root=of_root is not None and of_root.number == mount.number,
        inside=before[-1] if before else "",
        has_unit=has_mount_unit(root, mount.point),
        storage=read_storage(root, release, mount.point),
    )


def _not_mounted(planned: MountEntry) -> Mounted:
    return Mounted(
        point=planned.point,
        source=planned.source,
        type=planned.type,
        options=needed_options(planned),
        now=False,
        storage=None,
    )


def needed_options(mount: MountEntry) -> str:
    """What mount(8) must be told to mount the same."""
    return ",".join(dict.fromkeys(option for option in mount.options if option.startswith(NEEDED_OPTIONS)))
