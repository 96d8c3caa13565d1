# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures what a dump kernel needs on this machine, as far as that can be seen from here."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from kdumpd.capture import status
from kdumpd.capture.status import Status
from kdumpd.files import exists, read_text
from kdumpd.host import layout
from kdumpd.host.facts import Sizing
from kdumpd.host.kernel_image import KernelImage
from kdumpd.host.memory_map import MemoryMap
from kdumpd.units import KIB


def read_sizing(root: Path, *, kernel: KernelImage | None, memory_map: MemoryMap | None, stores: Iterable[str]) -> Sizing:
    """Sizes in bytes; what is not there or not ours to see comes out as None."""
    initrd, unpacked = _newest_initrd(root)
    meminfo = _meminfo(root)
    return Sizing(
        ram=memory_map.total if memory_map else _ram(root, meminfo),
        meminfo=meminfo,
        kernel=kernel,
        initrd=initrd,
        unpacked=unpacked,
        captures=_captures(root, stores),
    )


def _ram(root: Path, meminfo: Mapping[str, int]) -> int:
    """RAM by the kernel's memory blocks, which everybody may count; else MemTotal, which lacks what the kernel keeps."""
    blocks = root / "sys/devices/system/memory"
    size = read_text(blocks / "block_size_bytes")
    if size:
        return int(size, 16) * sum(1 for _ in blocks.glob("memory[0-9]*"))
    return meminfo.get("MemTotal", 0)


def _meminfo(root: Path) -> dict[str, int]:
    lines = (line.split() for line in (read_text(root / "proc/meminfo") or "").splitlines())
    return {words[0].rstrip(":"): int(words[1]) * KIB for words in lines if words[2:] == ["kB"]}


def _newest_initrd(root: Path) -> tuple[int | None, int | None]:
    """Size of the dump initrd that was built last, and of what it unpacks to."""
    try:
        images = sorted((root / layout.IMAGES).glob("initrd-*.img"), key=lambda image: image.stat().st_mtime)
        if not images:
            return None, None
        about = json.loads(read_text(images[-1].with_suffix(".json")) or "{}")
        return images[-1].stat().st_size, about.get("unpacked")
    except (PermissionError, ValueError):
        return None, None


def _captures(root: Path, stores: Iterable[str]) -> tuple[Status, ...] | None:
    """The stories of all captures, or None when this user may not read them."""
    found = []
    for store in stores:
        folder = root / store.lstrip("/")
        if not exists(folder):
            continue
        for path in folder.glob(f"*/{status.FILE}"):
            try:
                found.append(Status.from_json(path.read_text()))
            except PermissionError:
                return None
            except (OSError, ValueError):
                continue
    return tuple(found)
