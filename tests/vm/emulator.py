# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU and its firmware from Debian 13, whatever the host has: the same on every machine, and faster.

Without KVM, QEMU 10 runs what forks much in half the time of QEMU 7.2 (Debian 12), mkinitramfs first. The programs stay in a
tree of their own, beside their libraries, and are started by that tree's dynamic linker; nothing of the host changes.
"""

import functools
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vm.archive import ARCHITECTURE, Archive
from tests.vm.cache import cached, key_of

ARCHIVE = Archive("trixie")
PACKAGES = ("ovmf", "qemu-system-x86", "qemu-utils")
LIBRARIES = f"usr/lib/{ARCHITECTURE}-linux-gnu"


@dataclass(frozen=True)
class Emulator:
    """A tree with QEMU in it, and its version as Debian names it."""

    tree: Path
    version: str

    def program(self, name: str) -> list[str]:
        """The words that start one of its programs."""
        libraries = self.tree / LIBRARIES
        # The linker is what the kernel sees as the program, so QEMU looks for its own files in the wrong places.
        data = ["-L", str(self.tree / "usr/share/qemu"), "-L", str(self.tree / "usr/share/seabios")]
        return [
            str(libraries / "ld-linux-x86-64.so.2"), "--argv0", name, "--library-path", str(libraries),
            str(self.tree / "usr/bin" / name), *(data if name.startswith("qemu-system") else []),
        ]  # fmt: skip

    def firmware(self, name: str) -> Path:
        """A file of the package ovmf."""
        return self.tree / "usr/share/OVMF" / name


@functools.cache
def emulator() -> Emulator:
    """The newest QEMU of that suite, unpacked only when the cache has none.

    Raises:
        subprocess.CalledProcessError: the archive does not have it; what apt says is on the terminal.
    """
    versions = ARCHIVE.versions(*PACKAGES)
    tree = cached("emulator", key_of(*versions.values()), _unpack)
    return Emulator(tree, versions["qemu-system-x86"])


def _unpack(tree: Path) -> None:
    ARCHIVE.make_tree(tree, PACKAGES, variant="extract")


def qemu_img(*arguments: str | Path) -> None:
    """Runs qemu-img.

    Raises:
        subprocess.CalledProcessError: it failed; its output is on the terminal.
    """
    words: Sequence[str] = [str(argument) for argument in arguments]
    subprocess.run([*emulator().program("qemu-img"), *words], check=True, stdin=subprocess.DEVNULL)
