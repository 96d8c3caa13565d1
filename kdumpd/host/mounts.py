# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is mounted where, what /etc/fstab would mount, and what systemd calls a mount."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kdumpd.files import exists, read_text

# Where systemd finds units that people and packages brought; of /etc/fstab it makes some itself.
UNIT_FOLDERS = ("etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
UNSAFE_IN_UNIT_NAME = re.compile(r"[^A-Za-z0-9:_./]|^\.")


@dataclass(frozen=True, kw_only=True)
class MountEntry:
    """A line of /proc/self/mountinfo or /etc/fstab.

    `number` is the device number of the file system, which all mounts of it have in common; empty in fstab. `folder` is what
    of the file system is mounted.
    """

    number: str
    folder: str
    point: str
    type: str
    source: str
    options: tuple[str, ...]


def read_mounts(root: Path) -> tuple[MountEntry, ...]:
    """All that is mounted, for each place in the order of mounting (proc(5)).

    Without what would be mounted when somebody looks (autofs), and without folders that are mounted on themselves: of these the
    sandbox of the daemon is made (ReadOnlyPaths=/usr), and it must see the machine as the command line does.
    """
    found: dict[str, list[MountEntry]] = {}
    for line in (read_text(root / "proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        number, folder, point, of_mount = (_unescape(word) for word in before.split()[2:6])
        file_system, source, of_super_block = (_unescape(word) for word in (*after.split(), "")[:3])
        options = (*of_mount.split(","), *of_super_block.split(","))
        mount = MountEntry(number=number, folder=folder, point=point, type=file_system, source=source, options=options)
        if file_system != "autofs" and not _is_mounted_on_itself(mount, found):
            found.setdefault(point, []).append(mount)
    return tuple(mount for mounts in found.values() for mount in mounts)


def _is_mounted_on_itself(mount: MountEntry, before: dict[str, list[MountEntry]]) -> bool:
    place = PurePosixPath(mount.point)
    below = next((before[str(parent)][-1] for parent in place.parents if str(parent) in before), None)
    if below is None or below.number != mount.number:
        return False
    return PurePosixPath(mount.folder) == PurePosixPath(below.folder) / place.relative_to(below.point)


def read_fstab(root: Path) -> tuple[MountEntry, ...]:
    """What systemd would mount, as far as it has a place (fstab(5))."""
    found = []
    for line in (read_text(root / "etc/fstab") or "").splitlines():
        match [_unescape(word) for word in line.split()]:
            case [source, point, file_system, *more] if point.startswith("/") and not source.startswith("#"):
                found.append(
                    MountEntry(
                        number="",
                        folder="/",
                        point=str(PurePosixPath(point)),
                        type=file_system,
                        source=source.replace('"', ""),
                        options=tuple(",".join(more[:1]).split(",")),
                    )
                )
    return tuple(found)


def mount_at(mounts: Iterable[MountEntry], point: str) -> MountEntry | None:
    """What one sees there; a later mount hides an earlier one."""
    return next((mount for mount in reversed(tuple(mounts)) if mount.point == point), None)


def mounts_on_the_way(mounts: Iterable[MountEntry], path: str) -> tuple[MountEntry, ...]:
    """From the mount of / to the one that holds a path."""
    last = {mount.point: mount for mount in mounts}
    places = (*reversed(PurePosixPath(path).parents), PurePosixPath(path))
    return tuple(last[str(place)] for place in places if str(place) in last)


def mount_unit(point: str) -> str:
    """The name of systemd's unit for a mount point, as by systemd-escape(1)."""
    return f"{escape_for_unit(point.strip('/')) or '-'}.mount"


def escape_for_unit(text: str) -> str:
    """A text as the name of a unit, or as what stands behind its @ (systemd.unit(5), "String Escaping")."""
    escaped = UNSAFE_IN_UNIT_NAME.sub(lambda found: "".join(f"\\x{byte:02x}" for byte in found[0].encode()), text)
    return escaped.replace("/", "-")


def has_mount_unit(root: Path, point: str) -> bool:
    """Whether systemd knows how to mount there, in a dump kernel too."""
    if mount_at(read_fstab(root), point):
        return True
    return any(exists(root / folder / mount_unit(point)) for folder in UNIT_FOLDERS)


def _unescape(word: str) -> str:
    r"""Blanks and backslashes are written as \040 and the like."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word) if "\\" in word else word
