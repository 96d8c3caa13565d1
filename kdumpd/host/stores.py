# SPDX-License-Identifier: LGPL-2.1-or-later
"""Looks at the folders for crashes."""

from pathlib import Path, PurePosixPath

from kdumpd.files import exists, free_bytes
from kdumpd.host import layout
from kdumpd.host.facts import Store
from kdumpd.host.mounted import read_mounted
from kdumpd.host.mounts import mounts_on_the_way, read_mounts


def read_store(root: Path, release: str, store: str) -> Store:
    """One store, and what it is on. Where it is not there yet, the folder above it counts."""
    path = root / store.lstrip("/")
    existing = next(parent for parent in (path, *path.parents) if exists(parent))
    there = _resolved(root, path)
    mount = read_mounted(root, release, there)
    is_mounted = mount is None or mount.now
    holder = mounts_on_the_way(read_mounts(root), there)[-1:]
    return Store(
        path=store,
        folder=str(PurePosixPath(mount.folder) / PurePosixPath(there).relative_to(mount.point)) if mount else there,
        # What is there while it is not mounted is hidden when it is.
        exists=is_mounted and exists(path),
        free=free_bytes(existing) if is_mounted else None,
        read_only=is_mounted and any("ro" in entry.options for entry in holder),
        mount=mount,
    )


def _resolved(root: Path, path: Path) -> str:
    """A store may be a symbolic link to where it really is."""
    resolved = path.resolve()
    return layout.absolute((resolved if resolved.is_relative_to(root) else path).relative_to(root))
