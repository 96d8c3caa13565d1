# SPDX-License-Identifier: LGPL-2.1-or-later
"""A hash of everything that a dump image is made from: the same hash, the same image, so no rebuild."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from kdumpd import __version__
from kdumpd.host import layout
from kdumpd.host.facts import Generator
from kdumpd.host.storage import LayerKind, Storage
from kdumpd.run import find_program

DIGEST_LETTERS = 12
# Whoever can make an initrd, by preference: what is installed is what makes the system's own.
PROGRAMS = {Generator.INITRAMFS_TOOLS: "mkinitramfs", Generator.DRACUT: "dracut"}
# The generator itself by content, not by version: other packages put their hooks there.
PARTS_OF_GENERATOR = {
    Generator.INITRAMFS_TOOLS: (
        Path("etc/initramfs-tools"),
        Path("usr/sbin/mkinitramfs"),
        Path("usr/share/initramfs-tools"),
        layout.INITRAMFS_HOOKS,
        layout.INITRD_FILES,
    ),
    Generator.DRACUT: (
        Path("etc/dracut.conf"),
        Path("etc/dracut.conf.d"),
        Path("usr/bin/dracut"),
        Path("usr/lib/dracut"),
        layout.INITRD_FILES,
    ),
}
SETTINGS_OF_LAYER = {
    LayerKind.LVM: ("etc/lvm/lvm.conf", "etc/lvm/lvmlocal.conf"),
    LayerKind.LUKS: ("etc/crypttab",),
    LayerKind.MD: ("etc/mdadm/mdadm.conf", "etc/mdadm.conf"),
    LayerKind.MULTIPATH: ("etc/multipath.conf", "etc/multipath"),
    LayerKind.OTHER: (),
}
# Where modules are that did not come with the kernel (DKMS, vendors' packages). The others belong to one build of the
# kernel: the kernel's own content stands for them, because it holds the key that they are signed with and their version.
OUT_OF_TREE = ("updates", "extra", "weak-updates")


def find_generator() -> Generator | None:
    """Who makes initrds here."""
    return next((generator for generator, program in PROGRAMS.items() if find_program(program)), None)


def image_digest(
    root: Path,
    *,
    release: str,
    kernel: str,
    generator: Generator,
    storage: Storage | None,
    direct: bool,
    store_modules: tuple[str, ...],
    watchdogs: tuple[str, ...],
) -> str | None:
    """None when some of it may not be read by this user.

    `direct`: /init mounts the root by itself. `store_modules` are for the stores on other disks, `watchdogs` the modules
    of what counts while a dump is saved.
    """
    digest = hashlib.blake2b()
    decides = [__version__, release, generator, _way(storage), direct, store_modules, watchdogs]
    digest.update(json.dumps(decides).encode())
    try:
        for path in _inputs(root, release, kernel, generator, storage):
            for file in _files(path):
                digest.update(f"\0{file.relative_to(root)}\0".encode(errors="surrogateescape") + _content(file))
    except PermissionError:
        return None
    return digest.hexdigest()[:DIGEST_LETTERS]


def _way(storage: Storage | None) -> object:
    """What of the storage decides about the image. Not the names of devices: they change from boot to boot."""
    if storage is None:
        return None
    return [storage.file_system, storage.modules, storage.local, [(layer.kind, layer.uuid) for layer in storage.layers]]


def _inputs(root: Path, release: str, kernel: str, generator: Generator, storage: Storage | None) -> Iterator[Path]:
    modules = root / "lib/modules" / release
    yield root / kernel.lstrip("/")
    yield from (modules / name for name in ("modules.dep", *OUT_OF_TREE))
    yield from (root / part for part in PARTS_OF_GENERATOR[generator])
    # kdumpd's own file there is no input: nothing in the image loads ramoops.
    yield from (path for path in sorted((root / "etc/modprobe.d").glob("*.conf")) if path != root / layout.RAMOOPS_OPTIONS)
    for kind in sorted(storage.kinds) if storage else ():
        yield from (root / name for name in SETTINGS_OF_LAYER[kind])


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(Path(folder, name) for folder, _, names in os.walk(path, onerror=_refuse) for name in names)


def _refuse(problem: OSError) -> None:
    raise problem


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except FileNotFoundError:
        return b""
