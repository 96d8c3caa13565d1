# SPDX-License-Identifier: LGPL-2.1-or-later
"""The dump images that are there. Each is a folder that appears whole: kernel, initrd, and what they are."""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from kdumpd.decode import read_json
from kdumpd.files import is_own
from kdumpd.host import layout

KERNEL, INITRD, ABOUT = "vmlinuz", "initrd.img", "about.json"


@dataclass(frozen=True, kw_only=True)
class AboutImage:
    """What was built, of what, and how large it is in bytes: `packed` on the disk, `unpacked` in the memory of a dump kernel.

    `kernel_size` is 0 where an older kdumpd has not measured it.
    """

    release: str
    kernel: str
    generator: str
    digest: str
    packed: int
    unpacked: int
    files: int
    modules: tuple[str, ...]
    seconds: float
    kernel_size: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"


def read_images(root: Path) -> dict[str, AboutImage]:
    """The images that are whole by the name of their folder, the newest last. Any other the next apply builds anew."""
    found = {name: about for name in _names(root / layout.IMAGES) if (about := read_image(root / layout.IMAGES / name))}
    return dict(sorted(found.items(), key=lambda item: (_age(root / layout.IMAGES / item[0]), item[0])))


def read_image(folder: Path) -> AboutImage | None:
    """What an image is; None: it is not whole, or not from a kdumpd that this one knows."""
    about = read_json(folder / ABOUT, AboutImage)
    return about if about and not damage(folder, about) else None


def damage(folder: Path, about: AboutImage | None) -> str:
    """Why the kernel or the initrd in a folder must not be loaded; empty when nothing is to be seen.

    A program that opens a FIFO in their place would wait for ever.
    """
    for name, size in ((KERNEL, about.kernel_size if about else 0), (INITRD, about.packed if about else 0)):
        file = folder / name
        if not is_own(file):
            return f"{file} is not there" if not os.path.lexists(file) else f"{file} is not a plain file that only root can write"
        found = file.stat().st_size
        if found == 0 or (size and found != size):
            return f"{file} is damaged: it has {found} bytes" + (f", expected {size}" if size else "")
    return ""


def _names(images: Path) -> list[str]:
    try:
        return [path.name for path in images.iterdir() if not path.name.startswith(".")]
    except OSError:
        return []


def _age(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return (folder / ABOUT).lstat().st_mtime_ns
    return 0
