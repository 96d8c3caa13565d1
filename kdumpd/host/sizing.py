# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measures what a dump kernel needs on this machine, as far as that can be seen from here."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from kdumpd.capture.keep import FOLDER_NAME
from kdumpd.capture.own_files import own_folder, read_own_file
from kdumpd.capture.status import FILE, Status
from kdumpd.files import read_text
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
        captures=read_captures(root, stores),
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


def read_captures(root: Path, stores: Iterable[str]) -> tuple[Status, ...] | None:
    """Return the statuses of all captures, or None when this user may not read them.

    They decide how much memory is reserved, and a store may be a folder in which everybody can make one, such as /var/crash of
    Ubuntu's apport. So only what root has made, and nobody else can change, is one of kdumpd's own captures.
    """
    try:
        return tuple(status for store in stores for status in _captures_in(root / store.lstrip("/")))
    except PermissionError:
        return None


def _captures_in(store: Path) -> Iterator[Status]:
    try:
        folders = [path for path in store.iterdir() if FOLDER_NAME.fullmatch(path.name)]
    except PermissionError:
        raise
    except OSError:
        return
    for path in folders:
        try:
            with own_folder(path) as folder:
                yield Status.from_json(read_own_file(FILE, folder=folder))
        except PermissionError:
            raise
        except (OSError, ValueError):
            continue
