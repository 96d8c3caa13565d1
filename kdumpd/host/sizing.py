# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures what a dump kernel needs on this machine, as far as that can be seen from here."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from kdumpd.capture import status
from kdumpd.capture.status import Status
from kdumpd.files import exists, read_text
from kdumpd.host.facts import Sizing
from kdumpd.host.images import read_images
from kdumpd.host.kernel_image import KernelImage
from kdumpd.host.memory_map import MemoryMap
from kdumpd.units import KIB


def read_sizing(root: Path, *, kernel: KernelImage | None, memory_map: MemoryMap | None, stores: Iterable[str]) -> Sizing:
    """Sizes in bytes; what is not there or not ours to see comes out as None."""
    image = next(reversed(read_images(root).values()), None)
    meminfo = _meminfo(root)
    return Sizing(
        ram=memory_map.total if memory_map else _ram(root, meminfo),
        meminfo=meminfo,
        kernel=kernel,
        initrd=image.packed if image else None,
        unpacked=image.unpacked if image else None,
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
