# SPDX-License-Identifier: LGPL-2.1-or-later
"""Mounts what a capture needs, by mount(8) or by systemd, each for no longer than it may take."""

import contextlib
import os
import re
from pathlib import Path

from .doors import Door
from .program import SaveError, run
from .settings import Mount

TIMEOUT = 30.0
# systemd may have to wait for udev, LVM or a key first.
SYSTEMD_TIMEOUT = 60.0
# Field 5 of proc_pid_mountinfo(5); space, tab, newline and backslash are octal there.
POINT = 4
OCTAL = re.compile(r"\\([0-7]{3})")


def mount_points(root: Path) -> list[str]:
    """Where something is mounted, as a process below this root sees it."""
    lines = (root / "proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    return [OCTAL.sub(lambda code: chr(int(code[1], 8)), line.split(" ")[POINT]) for line in lines]


def mount(root: Path, wanted: Mount, door: Door) -> None:
    """Mounts it, unless something is mounted there already.

    Raises:
        SaveError: it can't be mounted. Nothing must be written there: that would be another file system.
        OSError: the kernel does not tell what is mounted.
    """
    if wanted.point in mount_points(root):
        return
    if not wanted.by_systemd:
        (root / wanted.point.lstrip("/")).mkdir(parents=True, exist_ok=True)
        _load_file_system(root, wanted.type)
        options = ["-o", wanted.options] if wanted.options else []
        run(["mount", "-t", wanted.type, *options, wanted.source, _below(root, wanted.point)], timeout=TIMEOUT)
    elif door is Door.SYSTEMD:
        # It makes the name of the mount's unit out of the path (systemctl(1)).
        run(["systemctl", "start", "--no-ask-password", wanted.point], timeout=SYSTEMD_TIMEOUT)
    else:
        raise SaveError(f"{wanted.point} is not mounted, and only systemd can do it, which does not run yet")
    if wanted.point not in mount_points(root):
        raise SaveError(f"{wanted.point} was to be mounted, but nothing is mounted there")


def _load_file_system(root: Path, kind: str) -> None:
    """The kernel would ask a modprobe for it that it finds in the initrd, where only the modules on the way to the root are."""
    # What it takes beyond that, mount(8) will tell.
    with contextlib.suppress(SaveError, OSError):
        if kind in (root / "proc/filesystems").read_text().split():
            return
        run(["modprobe", "-q", kind], timeout=TIMEOUT)


def make_writable(root: Path, path: str) -> None:
    """Mounts the file system that `path` is on, or will be on, for writing, if it is read-only.

    Raises:
        SaveError: it stays read-only.
        OSError: it can't be asked.
    """
    place = root / path.lstrip("/")
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    if not _read_only(existing):
        return
    point = max((point for point in mount_points(root) if f"{path}/".startswith(f"{point.rstrip('/')}/")), key=len, default="/")
    run(["mount", "-o", "remount,rw", _below(root, point)], timeout=TIMEOUT)
    if _read_only(existing):
        raise SaveError(f"{point} stays read-only")


def _below(root: Path, point: str) -> str:
    return str(root / point.lstrip("/"))


def _read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
